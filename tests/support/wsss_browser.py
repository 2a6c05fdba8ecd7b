"""A headless Chromium for tests of pages: real clicks, from ``file://``, without a network."""

from __future__ import annotations

import base64
import io
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

DRIVER, CHROMIUM = shutil.which("chromedriver"), shutil.which("chromium")
needs_browser = pytest.mark.skipif(not (DRIVER and CHROMIUM), reason="needs chromium and chromedriver")

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

    def until(self, script: str) -> None:
        """Wait until a script returns something true."""
        self.wait(lambda: bool(self.run(script)))

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds."""
        for _ in range(600):
            if condition():
                return
            time.sleep(0.1)
        raise AssertionError("it never came true")

    def pixels(self) -> NDArray[np.uint8]:
        """What is shown, (h, w, 3)."""
        picture = base64.b64decode(self._call("/screenshot"))
        return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))

    def close(self) -> None:
        request = urllib.request.Request(self._url, method="DELETE")
        urllib.request.urlopen(request, timeout=60).close()


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Start one; it ends with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen(
        [str(DRIVER), f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as driver:
        try:
            for _ in range(200):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            found = Browser(port)
            yield found
            found.close()
        finally:
            driver.terminate()
