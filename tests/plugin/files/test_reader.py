from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image
from wsss_far import serving

from napari_wsss.plugin.files.reader import get_reader, read_slide, read_store
from tiling.errors import SlideError
from tiling.synthetic import SyntheticSlide
from tiling.synthetic.write import write_slide

StoreOf = Callable[..., Path]


@pytest.fixture
def slide_file(tmp_path: Path) -> Path:
    path = tmp_path / "slide.tif"
    write_slide(path, SyntheticSlide(width=600, height=400, seed=1))
    return path


def test_a_slide(slide_file: Path) -> None:
    reader = get_reader(str(slide_file))
    assert reader is read_slide
    ((data, arguments, kind),) = reader(str(slide_file))
    assert kind == "image"
    assert np.asarray(data).shape == (400, 600, 3)
    assert arguments["scale"] == pytest.approx((0.5, 0.5))
    assert get_reader([str(slide_file)]) is read_slide


def test_a_slide_in_one_file_does_not_wait_for_zarr(slide_file: Path) -> None:
    """A quarter of the processor's work between the command and the first picture was loading it."""
    program = (
        "import sys\n"
        "from napari_wsss.plugin.files.reader import get_reader\n"
        "assert get_reader(sys.argv[1])(sys.argv[1])\n"
        "assert not {'zarr', 'yaozarrs', 'fsspec'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(slide_file)], check=True)


def test_labels_and_macros_of_a_file_are_never_shown(tmp_path: Path) -> None:
    """They may show a patient's name."""
    openslide = pytest.importorskip("openslide")
    path = tmp_path / "a.svs"
    head = "Aperio Image Library v1\r\n"
    with tifffile.TiffWriter(path) as tiff:
        plain = {"photometric": "rgb", "metadata": None}
        text = f"{head}240x160 (64x64)|AppMag = 40|MPP = 0.25"
        tissue = np.full((160, 240, 3), (30, 200, 30), np.uint8)
        tiff.write(tissue, tile=(64, 64), compression="zlib", description=text, **plain)
        for name, colour, kind in (
            ("", (30, 200, 30), 1),
            ("label", (250, 0, 0), 1),
            ("macro", (0, 0, 250), 9),
        ):
            page = np.full((90, 80, 3), colour, np.uint8)
            tiff.write(page, rowsperstrip=90, description=f"{head}{name} 80x90", subfiletype=kind, **plain)
    with openslide.OpenSlide(path) as slide:
        assert set(slide.associated_images) == {"thumbnail", "label", "macro"}
    ((data, arguments, _),) = read_slide(str(path))
    for level in data if arguments["multiscale"] else [data]:
        assert (np.asarray(level)[..., 1] == 200).all()


def test_a_store(store_of: StoreOf) -> None:
    path = store_of(np.ones((130, 90), np.uint8))
    reader = get_reader(str(path))
    assert reader is read_store
    assert [kind for _, _, kind in reader(str(path))] == ["image", "labels"]


def test_what_belongs_to_others_is_left_to_them(tmp_path: Path) -> None:
    zarr.create_group(tmp_path / "a.zarr")
    zarr.create_array(tmp_path / "b.zarr", shape=(4, 4), dtype="u2")
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.tif").write_text("no picture")
    for path in tmp_path.iterdir():
        assert get_reader(str(path)) is None
    assert get_reader(str(tmp_path / "missing.svs")) is None


def test_stacks_are_not_ours(slide_file: Path) -> None:
    assert get_reader([str(slide_file), str(slide_file)]) is None


def test_a_broken_slide_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "broken.svs"
    path.write_text("this is a text file")
    reader = get_reader(str(path))
    assert reader is read_slide
    with pytest.raises(SlideError, match=r"broken\.svs"):
        reader(str(path))


def test_a_plain_image_when_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(np.full((30, 40, 3), 200, np.uint8)).save(path)
    with pytest.warns(UserWarning, match="shown in pixels"):
        ((data, arguments, _),) = read_slide(str(path))
    assert np.asarray(data).shape == (30, 40, 3)
    assert arguments["units"] == ("pixel", "pixel")


def test_a_store_behind_an_address(store_of: StoreOf) -> None:
    pytest.importorskip("aiohttp")
    store = store_of(np.ones((130, 90), np.uint8))
    with serving(store.parent) as server:
        address = f"{server.address}/{store.name}"
        assert get_reader(address) is read_store
        far, near = read_store(address), read_store(str(store))
        assert [arguments["name"] for _, arguments, _ in far] == [
            arguments["name"] for _, arguments, _ in near
        ]
        for (theirs, _, _), (ours, _, _) in zip(far, near, strict=True):
            theirs, ours = (data[0] if isinstance(data, list) else data for data in (theirs, ours))
            np.testing.assert_array_equal(np.asarray(theirs), np.asarray(ours))
