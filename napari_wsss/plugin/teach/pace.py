"""Minutes spent on labelling, from the times of the decisions alone."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

__all__ = ["LONGEST_THOUGHT", "minutes_spent"]

LONGEST_THOUGHT = 60.0
"""Seconds: a longer gap between two decisions is a pause, of which this much counts as thinking."""


def minutes_spent(times: Sequence[float]) -> float:
    """Return the minutes that a person worked.

    Parameters
    ----------
    times : sequence of float
        Seconds since any moment, one per decision, in any order.
    """
    ordered = sorted(times)
    gaps = [min(b - a, LONGEST_THOUGHT) for a, b in itertools.pairwise(ordered)]
    return sum(gaps) / 60
