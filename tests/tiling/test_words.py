"""Spans of time and differences in words."""

from __future__ import annotations

import pytest

from tiling.words import clock, differences


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59.6, "1:00"), (3599.4, "59:59"), (3599.5, "1:00:00"), (7325, "2:02:05")],
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_differences_name_the_leaves() -> None:
    old = {"a": 1, "b": {"c": [1, 2], "d": 5}, "gone": True}
    new = {"a": 1, "b": {"c": (1, 2), "d": [5]}, "new": None}
    assert list(differences(old, new)) == ["b.d: 5 → [5]", "gone: True → None"]
    assert list(differences({"x": {}}, {"x": 3})) == ["x: {} → 3"]
