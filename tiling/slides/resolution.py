"""The one place that decides the µm per pixel of a slide: pure, and never a guess.

The order is: the user's ``--mpp``, then the manifest, then what the file itself says. A file may say it several
times, and every statement is weighed: one about another picture is not believed, those that agree count as one, and
those that do not are refused with their values. A value outside 0.05–5 µm, or axes that differ by more than one per
cent, is refused. "40x" is never turned into a resolution: an objective power says nothing about the camera's pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tiling.errors import ResolutionError
from tiling.slides.statements import Statement

__all__ = [
    "ANISOTROPY_TOLERANCE",
    "CONFLICT_TOLERANCE",
    "MAX_MPP",
    "MIN_MPP",
    "Resolution",
    "WeighedStatement",
    "contradicted",
    "exact_downsample",
    "is_plausible",
    "resolve_mpp",
    "weigh",
]

MIN_MPP = 0.05
"""Smallest plausible µm per pixel (finer than any light microscope scans)."""

MAX_MPP = 5.0
"""Largest plausible µm per pixel of level 0 (print resolutions such as 72 dpi = 353 µm lie far above)."""

ANISOTROPY_TOLERANCE = 0.01
"""Largest relative difference of the two axes: 1 % of a tile is two pixels; scanners stay below 0.3 %."""

CONFLICT_TOLERANCE = 0.03
"""Largest relative difference of two statements that count as one: more than scanners calibrate, less than any mix-up
of units or sizes."""

_SIZE_TOLERANCE = 0.01
"""Largest relative difference of the size that a statement names from the picture's: padding, but no resizing."""

Verdict = Literal["taken", "agrees", "in conflict", "not believed", "not understood"]


@dataclass(frozen=True)
class Resolution:
    """A resolution that may be computed with.

    Attributes
    ----------
    mpp : float
        µm per level-0 pixel, the same on both axes.
    source : str
        Where it came from (``--mpp``, ``manifest``, ``openslide.mpp-x`` …).
    """

    mpp: float
    source: str


@dataclass(frozen=True)
class WeighedStatement:
    """A statement and what became of it.

    Attributes
    ----------
    statement : Statement
    verdict : str
        ``taken``: its value stands for the slide. ``agrees``: it says the same. ``in conflict``: it says something
        else than another one that is as good. ``not believed``, ``not understood``: see ``reason``.
    reason : str
        Why, in words that follow the verdict; may be empty.
    """

    statement: Statement
    verdict: Verdict
    reason: str = ""


def is_plausible(statement: Statement) -> bool:
    """Say whether a statement gives both axes values that a slide scanner could have."""
    return len(statement.numbers) == 2 and all(_in_range(value) for value in statement.numbers)


def weigh(statements: Sequence[Statement], size: tuple[int, int]) -> tuple[WeighedStatement, ...]:
    """Decide which of a file's statements are believed.

    Parameters
    ----------
    statements : sequence of Statement
        The most trustworthy place first: of those that agree, its value is taken.
    size : (int, int)
        Width and height of the picture in which they stand.

    Returns
    -------
    tuple of WeighedStatement
        In the order given. Exactly one is ``taken`` unless some are ``in conflict`` or none is believed.
    """
    weighed: list[WeighedStatement] = []
    believed: list[int] = []
    for statement in statements:
        verdict, reason = _alone(statement, size)
        if verdict is None:
            believed.append(len(weighed))
        weighed.append(WeighedStatement(statement, verdict or "taken", reason))
    if any(is_plausible(weighed[i].statement) for i in believed):
        # Where a good number stands elsewhere, 72 dpi is a habit of programs, not a contradiction.
        for i in [i for i in believed if statements[i].printed and not _within(statements[i])]:
            believed.remove(i)
            reason = f"a resolution for printing, outside {MIN_MPP}–{MAX_MPP:g} µm"
            weighed[i] = WeighedStatement(statements[i], "not believed", reason)
    agree = _agree([statements[i] for i in believed])
    # One axis alone is taken only where nobody gives both.
    first = next((i for i in believed if len(statements[i].numbers) == 2), believed[0] if believed else None)
    for i in believed:
        kind: Verdict = "in conflict" if not agree else ("taken" if i == first else "agrees")
        weighed[i] = WeighedStatement(statements[i], kind)
    return tuple(weighed)


def resolve_mpp(
    name: str,
    *,
    override: float | None = None,
    statements: Sequence[WeighedStatement] = (),
    override_source: str = "--mpp",
) -> Resolution:
    """Decide the µm per pixel of a slide: what the user says of it, then the file.

    Parameters
    ----------
    name : str
        File name for messages.
    override : float, optional
        What the user said.
    statements : sequence of WeighedStatement
        What the file says, see :func:`weigh`.
    override_source : str
        How the user gave ``override``.

    Returns
    -------
    Resolution

    Raises
    ------
    ResolutionError
        When the first source that has a value has an implausible one, when the file contradicts itself, or when none
        has a value. A worse source never stands in for a bad one: that would hide the mistake.
    """
    if override is not None:
        _check_range(name, override, override_source)
        return Resolution(float(override), override_source)
    conflicting = [w.statement for w in statements if w.verdict == "in conflict"]
    if conflicting:
        said = " and ".join(_in_words(statement) for statement in _different(conflicting))
        raise ResolutionError(f"{name} contradicts itself about its µm per pixel: {said}; {_ADVICE}.")
    taken = next((w.statement for w in statements if w.verdict == "taken"), None)
    if taken is None:
        unused = "; ".join(f"{w.statement.source}: {w.reason}" for w in statements if w.reason)
        why = f" ({unused})" if unused else ""
        raise ResolutionError(f"{name} does not say how many µm a pixel is{why}; {_ADVICE}.")
    x, y, origin = taken.mpp_x, taken.mpp_y, taken.source
    if x is None or y is None:
        raise ResolutionError(f"{name} gives µm per pixel for one axis only ({origin}); {_ADVICE}.")
    _check_range(name, x, origin)
    _check_range(name, y, origin)
    if abs(x - y) > ANISOTROPY_TOLERANCE * max(x, y):
        raise ResolutionError(
            f"{name} has pixels that are not square ({x:.6g} × {y:.6g} µm, {origin}); {_ADVICE}."
        )
    return Resolution(x if x == y else (x + y) / 2, origin)


def contradicted(statements: Sequence[WeighedStatement], mpp: float) -> str:
    """Return what a file says where a user's value is another one, in words; empty where it is not."""
    for weighed in statements:
        said = weighed.statement
        if weighed.verdict == "taken" and is_plausible(said) and not _agree([said, Statement(mpp, mpp)]):
            return _in_words(said)
    return ""


_ADVICE = "pass the µm per pixel with --mpp, or fill the mpp column of the manifest"


def _alone(statement: Statement, size: tuple[int, int]) -> tuple[Verdict | None, str]:
    """Judge a statement by itself: None when nothing speaks against it."""
    if statement.problem:
        return "not understood", statement.problem
    if not statement.numbers:
        return "not understood", "gives no number"
    named = statement.speaks_of
    if named is not None and any(
        abs(a - b) > _SIZE_TOLERANCE * max(a, b) for a, b in zip(named, size, strict=True)
    ):
        return (
            "not believed",
            f"speaks of a picture of {named[0]} × {named[1]} px, not {size[0]} × {size[1]} px",
        )
    return None, ""


def _agree(statements: Sequence[Statement]) -> bool:
    """Say whether all statements mean the same, axis by axis."""
    if len(statements) < 2:
        return True
    for values in ([s.mpp_x for s in statements], [s.mpp_y for s in statements]):
        there = [value for value in values if value is not None]
        if not all(_positive(value) for value in there):
            return False
        if there and max(there) > (1 + CONFLICT_TOLERANCE) * min(there):
            return False
    return True


def _different(statements: Sequence[Statement]) -> list[Statement]:
    """Return the statements without those that repeat an earlier one."""
    kept: list[Statement] = []
    for statement in statements:
        if not any(_agree([statement, other]) for other in kept):
            kept.append(statement)
    return kept if len(kept) > 1 else list(statements)


def _in_words(statement: Statement) -> str:
    x, y = statement.mpp_x, statement.mpp_y
    numbers = " × ".join(dict.fromkeys(f"{value:.4g}" for value in (x, y) if value is not None))
    return f"{numbers} µm ({statement.source})"


def _within(statement: Statement) -> bool:
    return all(_in_range(value) for value in statement.numbers)


def _in_range(mpp: float) -> bool:
    return math.isfinite(mpp) and MIN_MPP <= mpp <= MAX_MPP


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _check_range(name: str, mpp: float, source: str) -> None:
    """Refuse a value that no slide scanner makes."""
    if not _in_range(mpp):
        raise ResolutionError(
            f"{name} would have {mpp:.6g} µm per pixel ({source}), outside {MIN_MPP}–{MAX_MPP:g}; {_ADVICE}."
        )


def exact_downsample(base: tuple[int, int], level: tuple[int, int]) -> float | None:
    """Recover the downsample of a pyramid level from its rounded size.

    A level of 11500 × 8228 px under one of 46000 × 32914 px was made with a factor of 4: the ratio of the
    heights, 4.00024, only shows that 8228.5 was cut. Taking the ratio at its word would move the far corner
    of such a slide by several level-0 pixels.

    Parameters
    ----------
    base, level : (width, height)
        Sizes in pixels of level 0 and of the level.

    Returns
    -------
    float or None
        The integer that explains both sizes up to rounding (a power of two if one does), else the ratio of the
        longer side, which rounding moved least; None when the axes disagree by more than that, so that the level
        is no scaled copy of level 0.
    """
    ratios = [b / n for b, n in zip(base, level, strict=True)]
    mean = sum(ratios) / 2
    low = max(b / (n + 1) for b, n in zip(base, level, strict=True))
    high = min(b / (n - 1) if n > 1 else math.inf for b, n in zip(base, level, strict=True))
    # Small levels fit several integers; scanners halve.
    for nearest in (2 ** max(0, round(math.log2(mean))), max(1, round(mean))):
        if low < nearest < high:
            return float(nearest)
    if low < high:
        longer = ratios[0] if level[0] >= level[1] else ratios[1]
        return longer if low < longer < high else (low + high) / 2
    # Vendors that stitch overlapping camera fields size their levels a few pixels off.
    slack = max(2 / n for n in level)
    if abs(ratios[0] - ratios[1]) > mean * (ANISOTROPY_TOLERANCE + slack):
        return None
    return mean
