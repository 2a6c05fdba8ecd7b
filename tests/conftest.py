"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The project's shared folder beside the checkout: real slides and parity numbers."""
    if not (SHARED / "slides").is_dir():
        pytest.skip(f"needs the shared data folder at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def cmu_slide(shared_dir: Path) -> Path:
    """The real CMU-1 region, 2220 × 2967 px at 0.499 µm/px."""
    return shared_dir / "slides" / "cmu-1-small-region.svs"
