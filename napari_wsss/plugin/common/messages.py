"""What the panel says about an error: the sentence itself, and what to do here rather than on a command line."""

from __future__ import annotations

import traceback

from tiling.errors import (
    BundleError,
    DeviceError,
    RegionError,
    ResolutionError,
    SlideError,
    StoreError,
    StoreLockedError,
    StoreMismatchError,
    WsssError,
)

__all__ = ["explain"]

# More special errors first.
_ADVICE: tuple[tuple[type[WsssError], str], ...] = (
    (ResolutionError, "Here: type the µm per pixel into the field “µm/px” and press Run again."),
    (SlideError, "Here: choose another slide, or copy the file again if it is damaged."),
    (RegionError, "Here: choose another region, or “Whole slide”."),
    (StoreMismatchError, "Here: press “Replace” to make the result anew, or choose another results folder."),
    (StoreLockedError, "Here: wait until the other run has ended, or choose another results folder."),
    (StoreError, "Here: check the results folder (space, permissions), then press Resume."),
    (DeviceError, "Here: choose the device “auto”."),
    (BundleError, "Here: choose another model."),
)


def explain(error: BaseException) -> str:
    """Return a message for the panel, in full.

    Parameters
    ----------
    error : BaseException
        One of ours (one sentence and advice), or anything else (kind, message and where it came from, so that a
        report can be made of it).
    """
    for kind, advice in _ADVICE:
        if isinstance(error, kind):
            return f"{error}\n{advice}"
    if isinstance(error, WsssError):
        return str(error)
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return f"There is not enough memory: {error}\nHere: choose a smaller batch size, or the device “cpu”."
    where = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" ({where[0].filename}, line {where[0].lineno})" if where else ""
    return (
        f"{type(error).__name__}: {error}{place}\n"
        "This should not happen: please report it with the text above. What is done so far is kept."
    )
