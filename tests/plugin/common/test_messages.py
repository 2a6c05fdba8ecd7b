from __future__ import annotations

import re

import pytest

from napari_wsss.plugin.common import NOTE_COLORS, explain
from napari_wsss.plugin.common.messages import ADVICE, in_plain_words
from tiling import errors
from tiling.errors import StoreError, StoreMismatchError, WsssError


def all_errors(kind: type[WsssError] = WsssError) -> list[type[WsssError]]:
    return [kind, *(each for sub in kind.__subclasses__() for each in all_errors(sub))]


def test_advice_is_for_codes_that_exist() -> None:
    assert set(ADVICE) <= {kind.code for kind in all_errors()}
    assert errors.__all__


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.code)
def test_no_message_of_the_panel_speaks_of_a_command_line(kind: type[WsssError]) -> None:
    """Fault 19."""
    error = kind(
        "/data/a.zarr was made differently (sha256: 1ec5aabbccddeeff00 → 556a); run with --restart to replace it "
        "or choose another --out."
    )
    text = explain(error)
    assert "/data/a.zarr was made differently" in text
    assert not re.search(r"--|sha256|1ec5aabb|wsss-tile|manifest", text)


def test_what_says_something_stays() -> None:
    error = StoreError("a.zarr cannot be written (no space left on device); check the disk; pass --out.")
    assert in_plain_words(error) == "a.zarr cannot be written (no space left on device); check the disk."
    assert "keep both" in explain(StoreMismatchError("a.zarr differs."))


def luminance(color: str) -> float:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("kind", NOTE_COLORS)
def test_notes_are_readable_in_every_theme(kind: str) -> None:
    """Fault 22: ink and paper of a note are its own, so the theme behind it does not matter; 4.5 : 1 is the norm."""
    lighter, darker = sorted(map(luminance, NOTE_COLORS[kind]), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5
