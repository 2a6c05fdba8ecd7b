"""Names of strangers cannot drive a terminal or a spreadsheet, and come back as they were."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, strategies as st

from tiling.untrusted import plain_cell, printable, safe_cell

ANYTHING = st.text(st.characters())  # halves of surrogates included: bytes of names that are no UTF-8


@given(ANYTHING)
def test_nothing_printed_controls_a_terminal(text: str) -> None:
    shown = printable(text)
    shown.encode()
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in shown)


@pytest.mark.parametrize("text", ["", "Präparat 1 µm², 標本.svs", "1\u202f024 µm", "a\xa0b"])
def test_what_can_be_read_stays(text: str) -> None:
    assert printable(text).replace("\\xa0", "\xa0") == text


def test_escapes_tell_what_was_there() -> None:
    assert printable("a\x1b[2J\nb\udce4\u202e") == r"a\x1b[2J\nb\udce4\u202e"


@pytest.mark.parametrize(
    "text", ["=1+2", "@SUM(1)", "+cmd|' /C calc'!A0", "-2", "\t=1", "\r=1", "'=1", "''=1"]
)
def test_no_cell_starts_a_formula(text: str) -> None:
    assert safe_cell(text) == f"'{text}"


@given(ANYTHING | st.from_regex(r"'{0,3}[=+@-]?\w*", fullmatch=True))
def test_cells_come_back(text: str) -> None:
    cell = safe_cell(text)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert plain_cell(cell) == text
