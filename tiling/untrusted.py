"""Text of strangers (names of files, ids, messages) made harmless where it is shown: terminals and spreadsheets."""

from __future__ import annotations

__all__ = ["plain_cell", "printable", "safe_cell"]

_STARTS_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def printable(text: str) -> str:
    r"""Return text for a terminal: what is no visible character is written as an escape (``\x1b``).

    Control characters could recolour, retitle or rewrite a terminal, and a line break would split a line that a
    script reads; halves of surrogates stand for bytes of a file name that is no UTF-8.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or (c.isspace() and c > "\xa0" and c not in "\u2028\u2029") else _escaped(c)
        for c in text
    )


def safe_cell(text: str) -> str:
    """Return text for a cell of a CSV file that no spreadsheet takes for a formula; see :func:`plain_cell`."""
    return f"'{text}" if text.lstrip("'").startswith(_STARTS_FORMULA) else text


def plain_cell(cell: str) -> str:
    """Return the text that :func:`safe_cell` was given."""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(_STARTS_FORMULA) else cell


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
