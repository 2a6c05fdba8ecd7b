"""Many slides, one after another in the background, with the batch code of the command line."""

from __future__ import annotations
