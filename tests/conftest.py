"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from leaks import holdings, left_behind

# Machines differ and share their cores: how long one example takes says nothing about right or wrong.
settings.register_profile("wsss", deadline=None, max_examples=40)
settings.load_profile("wsss")

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let several processes begin with the long tests, so that none of them is left for one alone at the end."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The project's shared folder beside the checkout: real slides and parity numbers."""
    if not (SHARED / "slides").is_dir():
        pytest.skip(f"needs the shared data folder at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def cmu_slide(shared_dir: Path) -> Path:
    """The real CMU-1 region, 2220 × 2967 px at 0.499 µm/px."""
    return shared_dir / "slides" / "cmu-1-small-region.svs"


FACES = tuple(
    ".".join(path.relative_to(ROOT).parts[:-1])
    for package in ("tiling", "napari_wsss", "training")
    for path in (ROOT / package).rglob("__init__.pyi")
)


@pytest.fixture(autouse=True)
def _faces_look_again() -> None:
    """Let every face find its names anew: it keeps what it found, and the test before may have patched that."""
    for name in FACES:
        face = sys.modules.get(name)
        for public in getattr(face, "__all__", ()):
            vars(face).pop(public, None)


@pytest.fixture(autouse=True)
def _nothing_left_behind(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Fail a test that leaves a thread running or a file of its own open; windows are the plugin fixtures' matter."""
    before = holdings()
    yield
    left = left_behind(before, tmp_path_factory.getbasetemp())
    if left and not request.node.get_closest_marker("leaves_behind"):
        pytest.fail("left behind: " + ", ".join(left), pytrace=False)


def _must_have_run(item: pytest.Item, report: pytest.TestReport) -> bool:
    """Whether a skip of this test would hide that CI has no display; missing data is another matter."""
    if not os.environ.get("WSSS_REQUIRE_GUI") or not report.skipped or hasattr(report, "wasxfail"):
        return False
    lacks_data = item.get_closest_marker("shared") is not None and not SHARED.is_dir()
    return item.get_closest_marker("gui") is not None and not lacks_data


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a GUI test that skips under WSSS_REQUIRE_GUI (set by .ci/run): CI must have seen a window."""
    report = yield
    if _must_have_run(item, report):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"a GUI test skipped although WSSS_REQUIRE_GUI is set: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Do the same for a whole module of the plugin's tests that skips while it is imported."""
    report = yield
    if os.environ.get("WSSS_REQUIRE_GUI") and report.skipped and "plugin" in collector.path.parts:
        report.outcome = "failed"
        report.longrepr = f"the GUI tests of {collector.path.name} skipped: {report.longrepr}"
    return report
