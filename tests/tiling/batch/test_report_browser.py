"""The report in a browser: real clicks in headless Chromium, from ``file://``, without a network."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tiling.batch import write_report

DRIVER, CHROMIUM = shutil.which("chromedriver"), shutil.which("chromium")
pytestmark = pytest.mark.skipif(not (DRIVER and CHROMIUM), reason="needs chromium and chromedriver")

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_ARGUMENTS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]


class Browser:
    """A headless Chromium, spoken to by the WebDriver protocol."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"
        chrome = {"binary": CHROMIUM, "args": [*_ARGUMENTS, "--window-size=1200,900"]}
        answer = self._call("/session", {"capabilities": {"alwaysMatch": {"goog:chromeOptions": chrome}}})
        self._url += f"/session/{answer['sessionId']}"

    def _call(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def open(self, path: Path) -> None:
        self._call("/url", {"url": path.as_uri()})

    def run(self, script: str) -> Any:
        return self._call("/execute/sync", {"script": script, "args": []})

    def _find(self, css: str) -> str:
        return str(self._call("/element", {"using": "css selector", "value": css})[_ELEMENT])

    def click(self, css: str) -> None:
        self._call(f"/element/{self._find(css)}/click", {})

    def type(self, css: str, text: str) -> None:
        self._call(f"/element/{self._find(css)}/value", {"text": text})

    def names(self) -> list[str]:
        script = (
            "return [...document.querySelectorAll('#rows td.name > :first-child')].map(e => e.textContent)"
        )
        return list(self.run(script))

    def close(self) -> None:
        request = urllib.request.Request(self._url, method="DELETE")
        urllib.request.urlopen(request, timeout=60).close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen(
        [str(DRIVER), f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as driver:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        found = Browser(port)
        yield found
        found.close()
        driver.terminate()


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


def test_thousands_of_slides_are_painted_at_once(browser: Browser, index: Path) -> None:
    browser.open(index)
    painted = browser.run("return performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0")
    assert 0 <= painted < 3000  # a second on a machine with nothing else to do
