"""Training from patch-level labels: stage 1, pseudo masks, stage 2."""
