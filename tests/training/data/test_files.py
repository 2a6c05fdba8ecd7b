from __future__ import annotations

import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tiling.classes import ClassSchema
from tiling.errors import DataError
from training.data import read_data, read_image
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


def deep_png(bits: int, colour: int, pixels: NDArray[Any]) -> bytes:
    """Encode a PNG of a depth that Pillow does not write; colour 0: gray, 2: RGB."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    if bits == 16:
        rows = [row.astype(">u2").tobytes() for row in pixels]
    else:
        split = np.unpackbits(pixels[..., None], axis=2)[..., -bits:]
        rows = [np.packbits(row.ravel()).tobytes() for row in split]
    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], bits, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_depths_that_pillow_changes_on_the_way_are_named(tiny_root: Path) -> None:
    """Of 12 bits in 16 nothing would be left, and labels 0 … 3 in two bits would be 0, 85, 170, 255."""
    deep = deep_png(16, 2, np.full((32, 32, 3), 3000, np.uint16))
    next((tiny_root / "train").iterdir()).write_bytes(deep)
    patches, problems = check_patches(tiny_root / "train", 3)
    assert len(patches) == 23
    assert "16 bits a colour" in problems[0].reason
    shallow = deep_png(2, 0, np.eye(32, dtype=np.uint8) * 3)
    next((tiny_root / "val" / "mask").iterdir()).write_bytes(shallow)
    pairs, problems = check_pairs(tiny_root / "val", 3)
    assert len(pairs) == 3
    assert "2-bit gray labels" in problems[0].reason


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


def save(folder: Path, name: str, pixels: NDArray[np.uint8], **options: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / name, **options)
    return folder / name


@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".png", ".bmp"])
@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_a_cut_off_patch_is_found_before_training(tmp_path: Path, suffix: str, kept: float) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for i in range(3):
        path = save(tmp_path, f"p{i}[1 0]{suffix}", pixels)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    patches, problems = check_patches(tmp_path, 2)
    assert [p.path.name for p in patches] == [f"p0[1 0]{suffix}", f"p1[1 0]{suffix}"]
    assert [(p.path, "cut off" in p.reason) for p in problems] == [(path, True)]


def test_pipes_and_bombs_are_one_sentence_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, "a[1 0].png", np.zeros((32, 32, 3), np.uint8))
    large = save(tmp_path, "b[1 0].png", np.zeros((64, 64, 3), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1500)
    patches, problems = check_patches(tmp_path, 2)
    assert [p.path.name for p in patches] == ["a[1 0].png"]
    assert [(p.path, p.reason) for p in problems] == [
        (large, "has more than 0 million pixels; cut it into patches")
    ]
    with pytest.raises(DataError, match="not a readable image"):
        read_image(large)
    assert read_image(tmp_path / "a[1 0].png").shape == (32, 32, 3)


GLASS, TISSUE = 250, 120


def masks(root: Path, *labels: NDArray[np.uint8], bright: tuple[int, ...] = ()) -> Path:
    for i, mask in enumerate(labels):
        gray = np.where(np.isin(mask, bright), GLASS, TISSUE).astype(np.uint8)
        save(root / "img", f"{i}.png", np.repeat(gray[..., None], 3, 2))
        save(root / "mask", f"{i}.png", mask)
    return root


def stripes(*values: int) -> NDArray[np.uint8]:
    return np.repeat(np.array(values, np.uint8), 8)[None].repeat(16, 0)


@pytest.mark.parametrize(
    ("labels", "bright", "match"),
    [
        ([stripes(0, 255), stripes(0)], (), "black-and-white"),
        ([stripes(255)], (), "black-and-white"),
        ([stripes(1, 2), stripes(2, 3)], (), "counted from 1"),
        ([stripes(1, 3, 255)], (), "counted from 1"),
        ([stripes(0, 1, 2, 3)], (0,), "0 for background"),
    ],
)
def test_an_encoding_that_only_happens_to_be_legal(
    tmp_path: Path, labels: list[NDArray[np.uint8]], bright: tuple[int, ...], match: str
) -> None:
    root = masks(tmp_path, *labels, bright=bright)
    pairs, problems = check_pairs(root, 3)
    assert (len(pairs), len(problems)) == (0, 1)
    assert match in problems[0].reason
    assert len(check_pairs(root, 3, trust_masks=True)[0]) == len(labels)


@pytest.mark.parametrize(
    ("labels", "bright"),
    [
        ([stripes(0, 1, 2, 3)], (3,)),
        ([stripes(0, 1), stripes(2, 3)], (0, 3)),  # fat is as white as glass
        ([stripes(0, 1, 255)], ()),
        ([stripes(1, 2)], ()),
        ([stripes(0)], (0,)),
    ],
)
def test_the_right_encoding_is_no_problem(
    tmp_path: Path, labels: list[NDArray[np.uint8]], bright: tuple[int, ...]
) -> None:
    assert check_pairs(masks(tmp_path, *labels, bright=bright), 3)[1] == []


def test_a_cut_off_pseudo_mask_is_found(tiny_root: Path) -> None:
    patches, _ = check_patches(tiny_root / "train", 3)
    for patch in patches:
        save(tiny_root / "PM" / "PM_x", f"{patch.path.stem}.png", np.eye(32, dtype=np.uint8) * 2)
    assert check_pseudo_masks(tiny_root / "PM", ("x",), patches, 3) == []
    path = tiny_root / "PM" / "PM_x" / f"{patches[3].path.stem}.png"
    path.write_bytes(path.read_bytes()[:-30])
    assert [p.path for p in check_pseudo_masks(tiny_root / "PM", ("x",), patches, 3)] == [path]


def test_remarks_are_made_about_what_is_seldom_meant(tiny_root: Path, schema: ClassSchema) -> None:
    assert read_data(tiny_root, schema).remarks == []
    for path in list((tiny_root / "train").iterdir()):
        if path.stem[-2] == "1" or "[1 0" not in path.name:
            path.unlink()
    remarks = read_data(tiny_root, schema).remarks
    assert [r.partition(";")[0] for r in remarks] == [
        "No patch holds stripes, pale",
        "All patches have the same label, so nothing tells the classes apart.",
    ]
    one = ClassSchema("one", schema.classes[:1])
    shutil.rmtree(tiny_root / "val")
    for path in list((tiny_root / "train").iterdir()):
        path.rename(path.with_name(path.name.replace("[1 0 0]", "[1]")))
    assert ["one class" in r for r in read_data(tiny_root, one).remarks] == [True]


def test_patches_below_every_tile_are_refused(tmp_path: Path, schema: ClassSchema) -> None:
    for i in range(3):
        save(tmp_path / "train", f"p{i}[1 0 0].png", np.full((15, 15, 3), 90, np.uint8))
    with pytest.raises(DataError, match="15 px, and networks need 16"):
        read_data(tmp_path, schema)


def test_the_digest_sees_contents(tiny_root: Path, schema: ClassSchema) -> None:
    before = read_data(tiny_root, schema).digest
    path = next((tiny_root / "val" / "mask").iterdir())
    pixels = np.array(Image.open(path))
    changed = bytearray(path.read_bytes())
    assert read_data(tiny_root, schema).digest == before
    image = Image.open(path)
    palette = image.getpalette()
    replaced = Image.fromarray(
        np.where(pixels == pixels[0, 0], pixels[0, -1], pixels).astype(np.uint8), mode="P"
    )
    replaced.putpalette(palette)
    replaced.save(path)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + bytes(max(0, len(changed) - size)))  # of the same size, even
    assert read_data(tiny_root, schema).digest != before
