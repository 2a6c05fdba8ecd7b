"""The Compare dock: two segmentations of a slide, agreement shown and counted."""
