"""A package of somebody else adds a slide format, an encoder and an export by entry points alone, or is broken."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

PACKAGE = '''
"""A slide format (a line of numbers), and what else a package may add."""

from pathlib import Path

import numpy as np

from napari_wsss.models.encoders import EncoderRecipe
from tiling.export import Export
from tiling.slides import ArrayReader, SlideFormat


def open_reader(path):
    text = path.read_text()
    if not text.startswith("squares"):
        return None
    _, side, mpp = text.split()
    reader = ArrayReader(np.full((int(side), int(side), 3), 120, np.uint8), mpp=float(mpp), path=path)
    reader.format = "squares"
    return reader


def write_names(store, path):
    path.write_text("\\n".join(store.schema.names))


SQUARES = SlideFormat("squares", open_reader, (".sqr",))
NAMES = Export("names", ".names.txt", write_names)
TINY = EncoderRecipe("tiny-of-mine", "napari_wsss.models.vit:VisionTransformer", {"dim": 24, "depth": 2, "heads": 2})
'''

USE = """
import sys
from pathlib import Path
from tiling.batch import find_jobs
from tiling.slides import open_slide

folder = Path(sys.argv[1])
(folder / "a.sqr").write_text("squares 96 0.5")
[job] = find_jobs([folder])
with open_slide(job.path) as slide:
    assert (slide.format, slide.dimensions, slide.mpp) == ("squares", (96, 96), 0.5), slide
    assert slide.read(0, 0, 8, 8).shape == (8, 8, 3)

from napari_wsss.models.encoders import encoder_names, find_encoder
assert "tiny-of-mine" in encoder_names()
assert find_encoder("tiny-of-mine").make() is not None

from napari_wsss.cli import app
from typer.testing import CliRunner
out = folder / "out"
options = ["--model", "synthetic-demo", "--backend", "torch", "--no-tissue-mask", "--export", "names"]
done = CliRunner().invoke(app, ["run", str(job.path), "--out", str(out), *options])
assert done.exit_code == 0, done.stderr
assert (out / "a.names.txt").read_text().count("\\n") == 3
done = CliRunner().invoke(app, ["export", str(out / "a.zarr"), "--to", f"names={folder / 'b.txt'}"])
assert done.exit_code == 0, done.stderr
assert (folder / "b.txt").read_text() == (out / "a.names.txt").read_text()
done = CliRunner().invoke(app, ["export", str(out / "a.zarr"), "--to", "nobody=b.txt"])
assert done.exit_code == 2
assert "names" in done.stderr
"""


def install(site: Path, package: str, entry_points: str, source: str) -> None:
    """Lay a package down as an installer does: its module and the metadata that names its entry points."""
    (site / package).mkdir(parents=True)
    (site / package / "__init__.py").write_text(source)
    info = site / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(textwrap.dedent(entry_points))


def run(site: Path, code: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], env=environment, capture_output=True, text=True
    )


def test_a_package_adds_a_slide_format_an_encoder_and_an_export(tmp_path: Path) -> None:
    points = """
        [napari_wsss.slide_formats]
        squares = squares_slides:SQUARES
        [napari_wsss.encoders]
        tiny = squares_slides:TINY
        [napari_wsss.exports]
        names = squares_slides:NAMES
    """
    install(tmp_path / "site", "squares_slides", points, PACKAGE)
    (tmp_path / "slides").mkdir()
    done = run(tmp_path / "site", USE, tmp_path / "slides")
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr


@pytest.mark.parametrize(
    "source",
    ["raise RuntimeError('of an older version')", "SQUARES = 7", "", "import a_library_that_is_missing"],
)
def test_a_broken_package_is_warned_of_once_and_stops_nothing(tmp_path: Path, source: str) -> None:
    points = """
        [napari_wsss.slide_formats]
        squares = broken_slides:SQUARES
    """
    install(tmp_path / "site", "broken_slides", points, source)
    code = """
        import sys
        import numpy as np, tifffile
        from tiling.slides import open_slide
        path = sys.argv[1]
        tifffile.imwrite(path, np.zeros((32, 32, 3), np.uint8), photometric="rgb")
        for _ in range(2):
            with open_slide(path) as slide:
                assert slide.dimensions == (32, 32)
    """
    done = run(tmp_path / "site", textwrap.dedent(code), tmp_path / "a.tif")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("RuntimeWarning") == 1
    assert "'squares' of broken_slides" in done.stderr


ANNOTATIONS = """
from tiling.annotations import AnnotationFormat

def read(content, into):
    for line in content.decode().splitlines()[1:]:
        into.begin()
        name, x, y, side = line.split()
        x, y, side = float(x), float(y), float(side)
        into.add([[[(x, y), (x + side, y), (x + side, y + side), (x, y + side)]]], name, name)

SQUARES = AnnotationFormat("Squares", lambda head: head.startswith(b"squares"), read, (".squares",))
OURS = AnnotationFormat("GeoJSON", lambda head: True, read)
"""


def test_a_package_adds_an_annotation_format(tmp_path: Path) -> None:
    points = """
        [napari_wsss.annotation_formats]
        squares = squares_drawn:SQUARES
        ours = squares_drawn:OURS
        gone = squares_drawn:GONE
    """
    install(tmp_path / "site", "squares_drawn", points, ANNOTATIONS)
    code = """
        import sys
        from pathlib import Path
        from tiling.annotations import AnnotationFormat, annotation_formats, annotations_of
        from tiling.annotations import read_annotation_file, register_annotation_format
        from tiling.errors import AnnotationError
        folder = Path(sys.argv[1])
        (folder / "a.squares").write_text("squares\\nTumour 10 20 5\\n")
        (folder / "b.squares").write_text("squares\\nTumour 10\\n")
        (folder / "c.geojson").write_text("[]")
        file = read_annotation_file(annotations_of(folder, "a"))
        assert (file.format, file.annotations[0].class_name) == ("Squares", "Tumour")
        assert file.annotations[0].polygon.area == 25
        assert read_annotation_file(folder / "c.geojson").format == "GeoJSON"
        assert annotation_formats()[-1] == "Squares"
        try:
            read_annotation_file(folder / "b.squares")
        except AnnotationError as error:
            assert "'Squares'" in str(error) and "tell its makers" in str(error)
        else:
            raise SystemExit("read")
        mine = AnnotationFormat("Mine", lambda head: head == b"mine", lambda content, into: None)
        register_annotation_format(mine)
        (folder / "d").write_text("mine")
        assert read_annotation_file(folder / "d").format == "Mine"
        try:
            register_annotation_format(mine)
        except ValueError:
            raise SystemExit(0)
        raise SystemExit("twice")
    """
    done = run(tmp_path / "site", textwrap.dedent(code), tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("RuntimeWarning") == 2
    assert "'ours' of squares_drawn" in done.stderr
    assert "'gone' of squares_drawn" in done.stderr


def test_a_reader_of_another_package_that_fails_is_named(tmp_path: Path) -> None:
    points = """
        [napari_wsss.slide_formats]
        squares = squares_slides:SQUARES
    """
    install(tmp_path / "site", "squares_slides", points, PACKAGE)
    code = """
        import sys
        from pathlib import Path
        from tiling.errors import SlideError
        from tiling.slides import open_slide
        Path(sys.argv[1]).write_text("squares many small")
        try:
            open_slide(sys.argv[1])
        except SlideError as error:
            print(error)
    """
    done = run(tmp_path / "site", textwrap.dedent(code), tmp_path / "a.sqr")
    assert done.returncode == 0, done.stderr
    assert "slide format 'squares'" in done.stdout


ENCODERS = """
from napari_wsss.models import EncoderRecipe
from napari_wsss.models.vit import VisionTransformer

TINY = EncoderRecipe("their-vit", VisionTransformer, {"dim": 16, "depth": 2, "heads": 2, "side": 64})
TAKEN = EncoderRecipe("uni", VisionTransformer)
"""


def test_a_package_adds_an_encoder(tmp_path: Path) -> None:
    points = """
        [napari_wsss.encoders]
        fine = their_encoders:TINY
        taken = their_encoders:TAKEN
        gone = their_encoders:GONE
    """
    install(tmp_path / "site", "their_encoders", points, ENCODERS)
    code = """
        from napari_wsss.models import build_stage1, build_stage2, encoder_names, find_encoder
        assert "their-vit" in encoder_names()
        assert find_encoder("uni").licence
        assert build_stage1("encoder", 3, encoder="their-vit").num_classes == 3
        assert build_stage2("deeplabv3plus", 3, backbone="their-vit").num_classes == 3
    """
    done = run(tmp_path / "site", textwrap.dedent(code))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("RuntimeWarning") == 2
    assert "'taken' of their_encoders" in done.stderr
    assert "'gone' of their_encoders" in done.stderr
