"""Slides in, tiles out, predictions back into one pyramid."""
