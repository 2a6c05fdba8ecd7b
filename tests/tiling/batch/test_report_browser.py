"""The report in a browser: real clicks in headless Chromium, from ``file://``, without a network."""

from __future__ import annotations

from pathlib import Path

import pytest
from wsss_browser import Browser, needs_browser

from tiling.batch import write_report
from tiling.store import open_store

pytestmark = needs_browser


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of 5,000 slides; every fiftieth failed, with a message that would like to be markup."""
    folder = tmp_path_factory.mktemp("big")
    lines = ["slide_id,path,status,tiles,seconds,tiles_per_s,area_mm2_TUM,area_mm2_STR,error"]
    for i in range(5000):
        status, error = ("done", "") if i % 50 else ("failed", "<b id=evil>cannot be opened</b>")
        lines.append(f"s{i:04},/night/{i}.svs,{status},{i},1,1,{i / 7:.3f},{5000 - i},{error}")
    (folder / "summary.csv").write_text("\n".join(lines))
    return write_report(folder)


def test_clicks_sort_filter_and_turn_pages(browser: Browser, index: Path) -> None:
    browser.open(index)
    assert browser.names() == [f"s{i:04}" for i in range(50)]
    browser.click("button[data-key=class0]")
    assert browser.names()[:2] == ["s4999", "s4998"]
    browser.click("button[data-key=class0]")
    assert browser.names()[0] == "s0000"
    browser.click("button[data-status=failed]")
    assert browser.names()[1] == "s0050"
    assert browser.run("return document.getElementById('count').textContent") == "100 of 5,000 slides"
    browser.click("#after")
    assert len(browser.names()) == 50
    assert browser.run("return document.getElementById('page').textContent") == "2 / 2"
    assert browser.run("return document.getElementById('after').disabled")


def test_search_finds_names_paths_and_errors(browser: Browser, index: Path) -> None:
    browser.open(index)
    browser.type("#search", "night/4321")
    assert browser.names() == ["s4321"]
    browser.open(index)
    browser.type("#search", "cannot s00")
    assert browser.names() == ["s0000", "s0050"]


def test_nothing_from_files_becomes_markup_or_fails(browser: Browser, index: Path) -> None:
    browser.open(index)
    assert browser.run("return document.getElementById('evil')") is None
    assert browser.run("return document.querySelectorAll('#histogram rect').length") == 24
    assert browser.run("return performance.getEntriesByType('resource').length") == 0


def test_what_was_not_measured_is_no_zero(browser: Browser, tmp_path: Path) -> None:
    """Of a broken slide, and of a class that another model knows: the cells are empty, and no zero is counted."""
    lines = ["slide_id,path,status,tiles,seconds,tiles_per_s,area_mm2_TUM,area_mm2_STR,error"]
    lines += ["a,/a.svs,done,4,1,4,2.0,,", "b,/b.svs,failed,0,1,0,,,broken", "c,/c.svs,done,4,1,4,,0.0,"]
    lines += ["d,/d.svs,done,4,1,4,nan,odd,"]
    (tmp_path / "summary.csv").write_text("\n".join(lines))
    browser.open(write_report(tmp_path))
    cells = "return [...document.querySelectorAll('#rows tr')].map(r => [...r.cells].slice(-3).map(c => c.textContent))"
    empty = ["", "", ""]
    assert browser.run(cells) == [["2.00", "2.00", ""], empty, ["0.00", "", "0.00"], empty]
    counted = (
        "return [...document.querySelectorAll('#histogram title')].map(t => +t.textContent.split(': ')[1][0])"
    )
    assert sum(browser.run(counted)) == 2
    browser.click("button[data-key=total]")
    assert browser.names()[:2] == ["a", "c"]


def test_thousands_of_slides_are_painted_at_once(browser: Browser, index: Path) -> None:
    browser.open(index)
    painted = browser.run("return performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0")
    assert 0 <= painted < 3000  # a second on a machine with nothing else to do


def test_one_zooms_into_slide_and_classes(browser: Browser, zoomable: Path) -> None:
    """From the list to the slide to its picture, by clicks, from ``file://``."""
    write_report(zoomable, zoom=str)
    browser.open(zoomable / "index.html")
    browser.click("#rows td.name a")
    browser.click("a[href$='.zoom.html']")
    browser.until(
        "return viewer.world.getItemCount() === 2 && [0, 1].every(i => viewer.world.getItemAt(i).getFullyLoaded())"
    )
    browser.click("#in")
    browser.until("return viewer.viewport.getZoom(true) > 1.9 * viewer.viewport.getHomeZoom()")
    browser.run("document.getElementById('opacity').value = 100; see();")
    browser.until("return [0, 1].every(i => viewer.world.getItemAt(i).getFullyLoaded())")
    place = browser.run(
        "const r = viewer.container.getBoundingClientRect(); return [r.x, r.y, r.width, r.height]"
    )
    x, y, width, height = map(int, place)

    def shown() -> set[tuple[int, ...]]:
        middle = browser.pixels()[y + height // 4 : y + height // 2, x + width // 4 : x + width // 2]
        return set(map(tuple, middle.reshape(-1, 3).tolist()))

    classes = {tissue.rgb for tissue in open_store(zoomable / "a & b.zarr").schema.classes}
    browser.wait(lambda: len(shown() & classes) > 1)
    browser.run("document.getElementById('opacity').value = 0; see();")
    browser.wait(lambda: not shown() & classes and len(shown()) > 5)
    assert browser.run("return document.getElementById('length').textContent").endswith("µm")
    assert browser.run(
        "return performance.getEntriesByType('resource').every(e => e.name.startsWith('file:'))"
    )
