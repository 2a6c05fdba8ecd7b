"""Assertions of the shared contract show what they compared."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tiling.slides.contract")
