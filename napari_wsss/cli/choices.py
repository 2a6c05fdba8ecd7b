"""What users choose in words: the model, a region, export formats."""

from __future__ import annotations

from tiling.errors import UsageProblem
from tiling.geometry import Box

__all__ = ["parse_exports", "parse_region"]


def parse_region(text: str | None) -> Box | None:
    """Read ``X,Y,W,H`` in level-0 pixels."""
    if text is None:
        return None
    try:
        x, y, width, height = (int(part) for part in text.split(","))
        box = Box(x, y, width, height)
    except ValueError as error:
        raise UsageProblem(
            f"Region {text!r} is not X,Y,W,H in whole level-0 pixels, such as 0,0,4096,4096."
        ) from error
    if box.is_empty:
        raise UsageProblem(f"Region {text!r} is empty; give a width and a height above 0.")
    return box


def parse_exports(text: str) -> tuple[str, ...]:
    """Read a list of formats, separated by commas: ours, and those of installed packages."""
    from tiling.export import OWN_EXPORTS, other_exports

    names = tuple(dict.fromkeys(part.strip().casefold() for part in text.split(",") if part.strip()))
    known = (*OWN_EXPORTS, *other_exports()) if names else ()
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageProblem(f"There is no export {', '.join(unknown)}; choose from {', '.join(known)}.")
    return names
