"""Synthetic tissue on disk: slides that OpenSlide opens, patches in the reference's naming, the command line."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image

from tiling.classes import ClassSchema
from tiling.errors import DataError
from tiling.synthetic import SYNTHETIC_SCHEMA, SyntheticSlide, paint_patches, write_slide
from tiling.synthetic.__main__ import main
from tiling.synthetic.patches import PRESENT

ODD = SyntheticSlide(1301, 1091, seed=6, region_um=60)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("slide") / "new"
    write_slide(folder / "slide.tif", ODD, truth=folder / "truth.tif")
    return folder / "slide.tif", folder / "truth.tif"


def test_openslide_opens_the_slide_with_its_resolution(files: tuple[Path, Path]) -> None:
    with openslide.OpenSlide(files[0]) as slide:
        assert slide.properties["openslide.vendor"] == "generic-tiff"
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.5)
        assert float(slide.properties["openslide.mpp-y"]) == pytest.approx(0.5)
        assert slide.level_dimensions == ((1301, 1091), (650, 545), (325, 272))
        assert slide.properties["openslide.level[0].tile-width"] == "256"
        read = np.asarray(slide.read_region((0, 0), 0, ODD.dimensions).convert("RGB")).astype(int)
    error = np.abs(read - ODD.render(0, 0, *ODD.dimensions))
    assert error.mean() < 5
    # The lower right tile must not be worse than the rest: that is where padding could go wrong.
    assert error[1024:, 1280:].mean() < 5


def test_lower_levels_are_the_same_picture_to_the_last_line(tmp_path: Path) -> None:
    write_slide(tmp_path / "lossless.tif", ODD, compression="zlib")
    with tifffile.TiffFile(tmp_path / "lossless.tif") as file:
        levels = [page.asarray().astype(float) for page in file.pages]
        assert [bool(page.tags["NewSubfileType"].value & 1) for page in file.pages] == [False, True, True]
    np.testing.assert_array_equal(levels[0], ODD.render(0, 0, *ODD.dimensions))
    for fine, coarse in itertools.pairwise(levels):
        height, width = coarse.shape[:2]
        mean = fine[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3).mean(axis=(1, 3))
        assert np.abs(mean - coarse).max() <= 0.5


def test_truth_is_written_without_a_changed_label(files: tuple[Path, Path]) -> None:
    whole = ODD.truth(0, 0, *ODD.dimensions)
    with tifffile.TiffFile(files[1]) as file:
        for number, page in enumerate(file.pages):
            labels = page.asarray()
            step = 2**number
            np.testing.assert_array_equal(labels, whole[::step, ::step][: labels.shape[0], : labels.shape[1]])
        colours = file.pages[0].colormap[:, : len(SYNTHETIC_SCHEMA) + 1].T // 257
    np.testing.assert_array_equal(colours, SYNTHETIC_SCHEMA.palette)


def test_memory_does_not_grow_with_the_height(tmp_path: Path) -> None:
    peaks = []
    for height in (2048, 8192):
        slide = SyntheticSlide(1024, height, seed=2, repeat=512)
        slide.render(0, 0, 512, 512)  # the painted block is kept; both runs shall find it
        tracemalloc.start()
        write_slide(tmp_path / f"{height}.tif", slide, truth=tmp_path / f"{height}-truth.tif")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.25 * peaks[0]
    assert peaks[1] < 1024 * 8192 * 3


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_slide(
        tmp_path / "a.tif", SyntheticSlide(600, 1100, repeat=512), on_strip=lambda *at: seen.append(at)
    )
    assert seen == [(512, 1100), (1024, 1100), (1100, 1100)]


def test_an_interrupted_slide_leaves_nothing(tmp_path: Path) -> None:
    def stop(_done: int, _all: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_slide(tmp_path / "a.tif", SyntheticSlide(64, 64), on_strip=stop)
    assert list(tmp_path.iterdir()) == []


def test_unwritable_places_are_one_sentence(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("x")
    with pytest.raises(DataError, match=r"file/a\.tif' cannot be written.*choose another place"):
        write_slide(blocker / "a.tif", SyntheticSlide(64, 64))
    with pytest.raises(DataError, match="choose another folder"):
        paint_patches(blocker, count=1, val=0, test=0)


@pytest.mark.parametrize("tile", [0, 100, 1024])
def test_impossible_tiles_are_refused(tmp_path: Path, tile: int) -> None:
    with pytest.raises(ValueError, match="tile"):
        write_slide(tmp_path / "a.tif", SyntheticSlide(64, 64), tile=tile)


@pytest.fixture(scope="module")
def patches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("patches")
    assert paint_patches(folder, count=30, val=12, test=6, size=112) == {"train": 30, "val": 12, "test": 6}
    return folder


def _label(name: str) -> list[bool]:
    return [digit == "1" for digit in name.split("[")[-1].split("]")[0]]


def test_patches_lie_where_the_reference_looks(patches: Path) -> None:
    assert {p.name for p in patches.iterdir()} == {"train", "val", "test", "schema.json"}
    assert len(list((patches / "train").iterdir())) == 30
    for split, count in (("val", 12), ("test", 6)):
        images = {p.name for p in (patches / split / "img").iterdir()}
        assert images == {p.name for p in (patches / split / "mask").iterdir()}
        assert len(images) == count
    for path in patches.rglob("*.png"):
        with Image.open(path) as image:
            assert image.size == (112, 112)
            assert image.mode == ("P" if path.parent.name == "mask" else "RGB")
    schema = json.loads((patches / "schema.json").read_text(encoding="utf-8"))
    assert ClassSchema.from_dict(schema) == SYNTHETIC_SCHEMA


def test_labels_in_names_agree_with_masks(patches: Path) -> None:
    masks = [*(patches / "val" / "mask").iterdir(), *(patches / "test" / "mask").iterdir()]
    for path in masks:
        with Image.open(path) as mask:
            indexes = np.asarray(mask)
            palette = np.array(mask.getpalette(), np.uint8).reshape(-1, 3)[:5]
        assert indexes.max() <= 4
        counts = np.bincount(indexes.ravel(), minlength=5)
        assert _label(path.name) == [bool(c >= PRESENT * indexes.size) for c in counts[:4]]
        np.testing.assert_array_equal(palette, [*SYNTHETIC_SCHEMA.palette[1:], (255, 255, 255)])


def test_training_labels_are_mixed(patches: Path) -> None:
    labels = np.array([_label(p.name) for p in (patches / "train").iterdir()])
    assert labels.shape == (30, 4)
    assert labels.any(axis=1).all()
    assert (labels.sum(axis=0) >= 5).all(), "each class is shown often enough"
    assert 0.2 < float((labels.sum(axis=1) == 1).mean()) < 0.8


def test_sets_come_from_different_slides(patches: Path) -> None:
    seeds = [{p.name.split("-")[1] for p in (patches / s).rglob("*.png")} for s in ("train", "val", "test")]
    assert not (seeds[0] & seeds[1])
    assert not (seeds[0] & seeds[2])
    assert not (seeds[1] & seeds[2])
    assert len(seeds[0]) > 1, "more than one slide, so more than one stain"


def test_the_same_arguments_give_the_same_patches(patches: Path, tmp_path: Path) -> None:
    paint_patches(tmp_path, count=3, val=0, test=2, size=112)
    for path in tmp_path.rglob("*.png"):
        assert path.read_bytes() == (patches / path.relative_to(tmp_path)).read_bytes()


def test_command_line_writes_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slide, truth = tmp_path / "s.tif", tmp_path / "t.tif"
    size = ["--width", "300", "--height", "200", "--seed", "5"]
    assert main(["slide", str(slide), *size, "--truth", str(truth)]) == 0
    with tifffile.TiffFile(truth) as file:
        assert file.pages[0].shape == (200, 300)
    counts = ["--count", "2", "--val", "1", "--test", "0", "--size", "64"]
    assert main(["patches", str(tmp_path / "p"), *counts]) == 0
    assert len(list((tmp_path / "p" / "train").iterdir())) == 2
    assert capsys.readouterr().out.splitlines() == [str(slide), f"2 train, 1 val, 0 test: {tmp_path / 'p'}"]


def test_command_line_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("x")
    assert main(["slide", str(tmp_path / "file" / "s.tif"), "--width", "64", "--height", "64"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(SystemExit, match="2"):
        main(["slide", str(tmp_path / "s.tif"), "--mpp", "9"])
    with pytest.raises(SystemExit, match="2"):
        main([])


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, runpy; sys.argv = ['x', '--help']\n"
        "try: runpy.run_module('tiling.synthetic', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'napari', 'qtpy', 'zarr'} & set(sys.modules), 'heavy'"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "slide" in done.stdout
