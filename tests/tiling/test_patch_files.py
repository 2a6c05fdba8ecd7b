"""Names of patches and palette masks: read back as written, and refused when they say nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image

from tiling.errors import DataError
from tiling.patch_files import PatchName, write_mask
from tiling.synthetic import SYNTHETIC_SCHEMA

labels = st.lists(st.booleans(), min_size=1, max_size=12).filter(any)


@given(labels, st.integers(-9, 10**6), st.floats(0, 10**6))
def test_a_cut_patch_is_called_after_its_place(label: list[bool], x: int, y: float) -> None:
    name = PatchName.at("my-slide [2]", x, y, tuple(label))
    assert PatchName.parse(f"{name}.png", len(label)) == name
    assert str(name).startswith(f"my-slide [2]-{x}-{round(y)}[")


def test_masks_are_whole_palette_files(tmp_path: Path) -> None:
    mask = np.arange(6, dtype=np.uint8).reshape(2, 3) % 5
    write_mask(tmp_path / "m.png", mask, SYNTHETIC_SCHEMA)
    with Image.open(tmp_path / "m.png") as image:
        assert image.mode == "P"
        assert np.array_equal(np.asarray(image), mask)
        assert image.getpalette()[:3] == list(SYNTHETIC_SCHEMA.classes[0].rgb)
        assert image.getpalette()[12:15] == [255, 255, 255]
    assert [p.name for p in tmp_path.iterdir()] == ["m.png"]


@given(labels, st.sampled_from(["", " ", ",", ", "]), st.sampled_from(["a-", "TCGA_x [3] y+0", ""]))
def test_label_round_trip(label: list[bool], separator: str, before: str) -> None:
    digits = separator.join("01"[b] for b in label)
    assert PatchName.parse(f"{before}[{digits}].png", len(label)) == PatchName(before, tuple(label))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a.png", "no label"),
        ("a[].png", "0 digits"),
        ("a[101].png", "3 digits"),
        ("a[1 0 2 0].png", "other than 0 and 1"),
        ("a[10 01].png", "other than 0 and 1"),
        ("a[0 0 0 0].png", "no class"),
        ("a[1 0 0 x].png", "other than 0 and 1"),
    ],
)
def test_bad_labels(name: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        PatchName.parse(name, 4)
