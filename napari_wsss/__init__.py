"""Weakly supervised tissue segmentation of whole slides (research use, not for diagnosis)."""

__version__ = "0.1.0"
