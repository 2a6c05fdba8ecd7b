"""The report of a night: one file that works without a network, text that stays text, and nothing made twice."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from wsss_toys import ColourPredictor, colourful

from tiling.batch import SlideOutcome, Status, write_report
from tiling.batch.summary import Summary
from tiling.engine import run
from tiling.errors import ExportError
from tiling.plan import RunOptions
from tiling.slides import Slide, open_slide
from tiling.slides.readers.array import ArrayReader
from tiling.synthetic import SyntheticSlide
from tiling.synthetic.write import write_slide
from tiling.untrusted import printable

EVIL = "</script><img src=x onerror=alert(1)>&amp;\u2028"


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished slides, one that failed with an evil message, one whose store is gone."""
    out = tmp_path_factory.mktemp("night")
    image = np.kron(colourful(60, 90), np.ones((4, 4, 1), np.uint8))
    summary = Summary(out / "summary.csv")
    for name in ("a", "b"):
        with Slide(ArrayReader(image, mpp=0.5)) as slide:
            list(run(slide, ColourPredictor(32), out / f"{name}.zarr", RunOptions(mpp=0.5, tissue=None)))
        summary.add(
            SlideOutcome(name, Path(f"/s/{name}.svs"), Status.DONE, 12, 3.0, {"RED": 0.01, "GRE": 0.02})
        )
    summary.add(SlideOutcome("bad", Path("/s/bad.svs"), Status.FAILED, error=EVIL))
    summary.add(SlideOutcome("gone", Path("/s/gone.svs"), Status.DONE, 5, 1.0, {"RED": 1.0}))
    summary.close()
    return out


def data_of(index: Path) -> dict[str, Any]:
    found = re.search(
        r'<script id="data" type="application/json">(.*?)</script>', index.read_text(), re.DOTALL
    )
    assert found
    return dict(json.loads(found[1]))


def test_the_index_holds_every_slide(night: Path) -> None:
    index = write_report(night)
    assert index == night / "index.html"
    rows = {row[0]: row for row in data_of(index)["rows"]}
    assert list(rows) == ["a", "b", "bad", "gone"]
    assert rows["a"][1] == "done"
    assert rows["a"][7] == "report/a.html"
    assert rows["a"][8].startswith("data:image/jpeg;base64,")
    assert rows["gone"][7] == rows["gone"][8] == ""
    assert {c["name"] for c in data_of(index)["classes"]} == {"RED", "GRE"}


def test_text_of_strangers_stays_text(night: Path) -> None:
    """An error message cannot end the script that holds it."""
    index = write_report(night)
    assert "onerror=alert(1)>" not in index.read_text()
    assert index.read_text().count("</script>") == 2
    assert {row[0]: row for row in data_of(index)["rows"]}["bad"][6].startswith("</script><img")


def test_nothing_comes_from_a_network(night: Path) -> None:
    write_report(night)
    for page in (night / "index.html", night / "report" / "a.html"):
        text = page.read_text()
        assert "default-src 'none'" in text
        assert not re.search(r"""(src|href)=["'](https?:)?//""", text)
        assert "http" not in re.sub(r"http://www\.w3\.org/2000/svg|http-equiv", "", text)


def test_a_slides_page_tells_what_decided_its_result(night: Path) -> None:
    (night / "a.geojson").touch()
    shutil.rmtree(night / "report", ignore_errors=True)
    write_report(night)
    text = (night / "report" / "a.html").read_text()
    assert text.count("data:image/jpeg") == 3
    for word in ("mm²", "Doubtful", "Model", "Parameters", "../index.html", 'href="../a.geojson"', "overlap"):
        assert word in text


@pytest.mark.parametrize("hours", [1, -1])
def test_pages_are_made_anew_only_when_their_store_is_another(night: Path, hours: int) -> None:
    """Whichever way the clock went meanwhile."""
    write_report(night)
    page, receipt = night / "report" / "a.html", night / "a.zarr" / "receipt.json"
    keeping_its_date(page)
    write_report(night)
    assert page.read_text() == "kept"
    then = receipt.stat().st_mtime_ns + hours * 3600 * 10**9
    os.utime(receipt, ns=(then, then))
    write_report(night)
    assert page.read_text() != "kept"


def keeping_its_date(page: Path) -> None:
    """Write something else into a page that looks as if nothing had been done to it."""
    then = page.stat().st_mtime_ns
    page.write_text("kept")
    os.utime(page, ns=(then, then))


def test_a_damaged_store_is_a_row_with_its_error(night: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(night, copy)
    (copy / "a.zarr" / "receipt.json").write_text("{")
    row = next(row for row in data_of(write_report(copy))["rows"] if row[0] == "a")
    assert "cannot be shown" in row[6]
    assert row[7] == ""


@pytest.mark.skipif(os.name == "nt", reason="such names cannot be there")
@pytest.mark.parametrize("name", [b"Pr\xe4parat", b"a\x1b[31m\nb", b"a\\b", b"\xff" * 235])
def test_slides_whose_names_are_shown_with_escapes_have_their_pages(tmp_path: Path, name: bytes) -> None:
    image = np.kron(colourful(60, 90), np.ones((4, 4, 1), np.uint8))
    slide_id, out = os.fsdecode(name), tmp_path / "out"
    with Slide(ArrayReader(image, mpp=0.5)) as slide:
        list(run(slide, ColourPredictor(32), out / f"{slide_id}.zarr", RunOptions(mpp=0.5, tissue=None)))
    (out / f"{slide_id}.geojson").touch()
    summary = Summary(out / "summary.csv")
    summary.add(SlideOutcome(slide_id, Path(f"/s/{slide_id}.png"), Status.DONE, 12, 3.0, {"RED": 0.01}))
    (row,) = data_of(write_report(out, zoom=lambda name: None))["rows"]
    assert row[0] == printable(slide_id)
    assert row[8].startswith("data:image/jpeg")
    assert row[7].isascii()
    assert "\\" not in row[7]
    page = (out / row[7]).read_text()
    assert html.escape(printable(slide_id)) in page
    links = [
        out / "report" / unquote(link, errors="surrogateescape")
        for link in re.findall('href="([^"]+)"', page)
    ]
    assert len(links) == 3
    assert all(link.resolve().is_file() for link in links)


@pytest.mark.skipif(os.name == "nt", reason="such names cannot be there")
def test_one_zooms_into_a_slide_whose_name_is_shown_with_escapes(tmp_path: Path) -> None:
    path, out = tmp_path / os.fsdecode(b"Pr\xe4parat.tif"), tmp_path / "out"
    write_slide(path, SyntheticSlide(width=300, height=200, mpp=0.5, seed=3, region_um=60))
    with open_slide(path) as slide:
        list(run(slide, ColourPredictor(32), out / f"{path.stem}.zarr", RunOptions(mpp=0.5, tissue=None)))
    Summary(out / "summary.csv").add(SlideOutcome(path.stem, path, Status.DONE, 12, 3.0, {"RED": 0.01}))
    write_report(out, zoom=lambda name: None)
    (page,) = (out / "report").glob("*.zoom.html")
    assert "class=bad" not in page.read_text()


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_folder_without_a_summary_is_one_sentence(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "summary.csv").write_bytes(content)
    with pytest.raises(ExportError, match=r"summary\.csv"):
        write_report(tmp_path)


def test_five_thousand_rows(tmp_path: Path) -> None:
    lines = ["slide_id,path,status,tiles,seconds,tiles_per_s,area_mm2_TUM,error"]
    lines += [f"s{i:04},/s/{i}.svs,done,{i},1,1,{i / 7:.3f}," for i in range(5000)]
    (tmp_path / "summary.csv").write_text("\n".join(lines))
    assert len(data_of(write_report(tmp_path))["rows"]) == 5000
