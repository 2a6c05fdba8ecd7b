"""Readers: one module per family of slide formats, each a :class:`tiling.slides.level.LevelReader`."""
