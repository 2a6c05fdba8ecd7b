"""What the panel says about an error: what is wrong, and what to do here rather than on a command line."""

from __future__ import annotations

import re
import traceback

from tiling.errors import WsssError

__all__ = ["ADVICE", "explain", "in_plain_words"]

ADVICE: dict[str, str] = {
    "resolution": "Type the µm per pixel of the scan under Slide, then press Run.",
    "slide": "Choose another slide, or copy the file again if it is damaged.",
    "slide-changed": "Wait until the file is complete, then press Run.",
    "region": "Choose another region, or “Whole slide”.",
    "store-mismatch": "Press Run: you are asked whether to keep both results or to replace the old one.",
    "store-locked": "Wait until the other run has ended, or choose another folder for results under Options.",
    "store-damaged": "Press Run and choose “Replace”, or choose another folder for results under Options.",
    "disk-full": "Make room, or choose another folder for results under Options; then press Resume.",
    "store": "Check that the folder for results can be written, then press Resume or Run.",
    "export": "Choose another name or place.",
    "device": "Choose “automatic” as device under Options.",
    "memory": "Choose fewer tiles at once (a smaller batch size) under Options, or a smaller region.",
    "bundle": "Choose another model.",
    "prediction": "Choose another model, or “cpu” as device under Options.",
}
"""What to do in the panel, by the code of an error."""

_COMMAND_LINE = re.compile(r"--[a-z]|wsss-tile|python -m|\bsha256\b|\bmanifest\b|traceback", re.IGNORECASE)
_HASH = re.compile(r"\b[0-9a-f]{16,}\b")


def in_plain_words(error: WsssError | str) -> str:
    """Return the sentence of an error without what only helps on a command line: options, commands, hashes."""
    # What is wrong comes first in our messages, what to do about it after a semicolon or in brackets.
    text = re.sub(
        r"\s*\([^()]*\)", lambda part: "" if _is_technical(part.group()) else part.group(), str(error)
    )
    clauses = [clause for clause in re.split(r";\s+", text) if not _is_technical(clause)]
    text = "; ".join(clauses).rstrip(".;, ")
    return f"{text}." if text else ""


def _is_technical(text: str) -> bool:
    return bool(_COMMAND_LINE.search(text) or _HASH.search(text))


def explain(error: BaseException) -> str:
    """Return a message for the panel, in full.

    Parameters
    ----------
    error : BaseException
        One of ours (its sentence, and what to do here, found by its code), or anything else (kind, message and where
        it came from, so that a report can be made of it).
    """
    if isinstance(error, WsssError):
        codes = (
            kind.__dict__.get("code") for kind in type(error).__mro__
        )  # its own first, then more general ones
        advice = next((ADVICE[code] for code in codes if code in ADVICE), "")
        return "\n".join(text for text in (in_plain_words(error), _here(advice)) if text)
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return f"There is not enough memory: {error}\n{_here(ADVICE['memory'])}"
    where = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" ({where[0].filename}, line {where[0].lineno})" if where else ""
    return (
        f"{type(error).__name__}: {error}{place}\n"
        "This should not happen: please report it with the text above. What is done so far is kept."
    )


def _here(advice: str) -> str:
    return f"Here: {advice[:1].lower()}{advice[1:]}" if advice else ""
