from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tiling.errors import DataError
from training.data.files import check_pairs, check_patches, check_pseudo_masks, report_or_raise


def test_clean_root(tiny_root: Path) -> None:
    patches, problems = check_patches(tiny_root / "train", 3)
    pairs, more = check_pairs(tiny_root / "val", 3)
    assert (len(patches), len(pairs), problems, more) == (24, 4, [], [])
    assert patches[0].single is not None
    assert patches[1].single is None
    assert patches[0].size == (32, 32)


def test_every_bad_file_is_listed_at_once(tiny_root: Path) -> None:
    train, val = tiny_root / "train", tiny_root / "val"
    good = np.zeros((32, 32, 3), np.uint8)
    Image.fromarray(good).save(train / "long[1 0 0 1].png")
    Image.fromarray(good).save(train / "digit[1 0 7].png")
    Image.fromarray(good).save(train / "empty[0 0 0].png")
    Image.fromarray(good).save(train / "none.png")
    Image.fromarray(good[:16]).save(train / "small[1 0 0].png")
    (train / "fake[1 0 0].png").write_text("not an image")
    whole = (
        (train / "p000-[0 0 1].png") if (train / "p000-[0 0 1].png").exists() else next(train.glob("p000*"))
    )
    (train / "cut[1 0 0].png").write_bytes(whole.read_bytes()[:-40])
    (train / ".DS_Store").write_bytes(b"x")
    (train / "notes.txt").write_text("x")
    (train / "folder").mkdir()
    Image.fromarray(good).save(val / "mask" / "v0.png")  # RGB
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(val / "mask" / "v1.png")
    Image.fromarray(np.full((32, 32), 9, np.uint8)).save(val / "mask" / "v2.png")
    (val / "mask" / "v3.png").unlink()
    Image.fromarray(good[..., 0]).save(val / "mask" / "orphan.png")
    problems = check_patches(train, 3)[1] + check_pairs(val, 3)[1]
    with pytest.raises(DataError) as caught:
        report_or_raise(problems, str(tiny_root), skip_bad=False)
    text = str(caught.value)
    expected = {
        "long[1 0 0 1].png": "4 digits",
        "digit[1 0 7].png": "other than 0 and 1",
        "empty[0 0 0].png": "no class",
        "none.png": "no label",
        "small[1 0 0].png": "32 × 16 px, the others are 32 × 32",
        "fake[1 0 0].png": "not a readable image",
        "cut[1 0 0].png": "cut off",
        ".DS_Store": "stray file",
        "notes.txt": "stray file",
        "folder": "stray folder",
        "mask/v0.png": "RGB mask",
        "mask/v1.png": "8 × 8 px, its image is 32 × 32",
        "mask/v2.png": "holds label 9",
        "img/v3.png": "has no mask",
        "orphan.png": "without an image",
    }
    for name, reason in expected.items():
        line = next((line for line in text.splitlines() if f"{name}: " in line), None)
        assert line is not None, name
        assert reason in line
    assert "has 15 bad files" in text


def test_skipping_bad_files_keeps_the_good_ones(tiny_root: Path) -> None:
    (tiny_root / "train" / "none.png").write_bytes(b"")
    patches, problems = check_patches(tiny_root / "train", 3)
    assert len(patches) == 24
    assert {p.path.name for p in problems} == {"none.png"}
    report_or_raise(problems, "data", skip_bad=True)


def test_ignore_labels_are_no_problem(tiny_root: Path) -> None:
    for label in (3, 255):
        Image.fromarray(np.full((32, 32), label, np.uint8)).save(tiny_root / "val" / "mask" / "v0.png")
        assert check_pairs(tiny_root / "val", 3)[1] == []


def test_pseudo_masks(tiny_root: Path) -> None:
    patches, _ = check_patches(tiny_root / "train", 3)
    masks = tiny_root / "train_PM"
    (masks / "PM_a").mkdir(parents=True)
    for patch in patches[:-1]:
        Image.fromarray(np.zeros((32, 32), np.uint8)).save(masks / "PM_a" / patch.path.name)
    Image.fromarray(np.zeros((32, 30), np.uint8)).save(masks / "PM_a" / patches[0].path.name)
    problems = check_pseudo_masks(masks, ("a",), patches, 3)
    reasons = {p.path.name: p.reason for p in problems}
    assert "30 × 32 px" in reasons.pop(patches[0].path.name)
    assert "missing" in reasons.pop(patches[-1].path.name)
    assert not reasons


def test_missing_folder_and_empty_folder(tmp_path: Path) -> None:
    assert "does not exist" in check_patches(tmp_path / "train", 3)[1][0].reason
    (tmp_path / "train").mkdir()
    assert "no training patches" in check_patches(tmp_path / "train", 3)[1][0].reason
