"""A slide that crashes, hangs or fills a process is found out in a process of its own, and costs itself only."""

from __future__ import annotations

import os
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tiling.batch.first_contact import FirstContact, Guarded
from tiling.batch.isolated import run_batch
from tiling.batch.jobs import SlideJob
from tiling.batch.summary import SlideOutcome, Status
from tiling.errors import SlideContactError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals have no names there")


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    path = tmp_path / "fine.png"
    Image.fromarray(np.full((40, 50, 3), 200, np.uint8)).save(path)
    return path


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A slide format, installed for other processes only, whose decoder does what the file says; a folder for files."""
    site = tmp_path / "site"
    facts = site / "odd-1.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1\n")
    (facts / "entry_points.txt").write_text("[napari_wsss.slide_formats]\nodd = odd_format:ODD\n")
    (site / "odd_format.py").write_text(
        textwrap.dedent(
            """
            import ctypes, pathlib, time
            import numpy as np
            from tiling.slides import SlideFormat

            def open_reader(path):
                what = pathlib.Path(path).read_text()
                if what == "crash":
                    ctypes.string_at(0)
                if what == "hang":
                    time.sleep(600)
                if what == "fill":
                    np.ones(1 << 30, np.uint64)
                raise ValueError("no slide of ours")

            ODD = SlideFormat("odd", "odd_format:open_reader", (".odd",))
            """
        )
    )
    here = [str(Path(__file__).parents[3]), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), *here]))
    return tmp_path


def file_of(folder: Path, what: str) -> Path:
    path = folder / f"{what}.odd"
    path.write_text(what)
    return path


def test_what_can_be_opened_is_not_refused(slide: Path, tmp_path: Path) -> None:
    with FirstContact() as contact:
        contact(slide)
        contact(tmp_path / "is not there.svs")  # the run says it
        contact(slide)


def test_a_crash_and_an_endless_decoder_are_one_sentence_each(odd: Path, slide: Path) -> None:
    with FirstContact() as contact:
        contact(slide)
        with pytest.raises(
            SlideContactError, match=r"crash\.odd crashes the program that decodes it \(SIGSEGV\)"
        ):
            contact(file_of(odd, "crash"))
        contact(slide)  # in a new process
        contact(file_of(odd, "mistake"))
        contact._limit_s = 1.0
        with pytest.raises(SlideContactError, match=r"hang\.odd did not open within 1 s"):
            contact(file_of(odd, "hang"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the limit needs /proc")
def test_a_slide_that_fills_the_memory_is_one_sentence(odd: Path) -> None:
    with (
        FirstContact(most_bytes=2 << 30) as contact,
        pytest.raises(SlideContactError, match=r"fill\.odd takes more than 2 GiB of memory"),
    ):
        contact(file_of(odd, "fill"))


def test_a_batch_goes_on_after_a_slide_that_crashes(odd: Path, slide: Path, tmp_path: Path) -> None:
    jobs = [SlideJob("a", slide), SlideJob("bad", file_of(odd, "crash")), SlideJob("b", slide)]

    def work(job: SlideJob) -> SlideOutcome:
        assert job.slide_id != "bad", "this process would have crashed"
        return SlideOutcome(job.slide_id, job.path, Status.DONE)

    with FirstContact() as contact:
        outcomes = list(run_batch(jobs, Guarded(work, contact), tmp_path / "out"))
    assert [(o.status.value, o.code) for o in outcomes] == [
        ("done", ""),
        ("failed", "slide-contact"),
        ("done", ""),
    ]


@pytest.mark.parametrize("command", [["/nowhere/python"], [sys.executable, "-c", "raise SystemExit(3)"]])
def test_without_another_process_nothing_is_refused(command: list[str], slide: Path) -> None:
    with FirstContact(command=command) as contact:
        contact(slide)
        contact(slide)


def test_it_ends_with_its_owner(slide: Path) -> None:
    with FirstContact() as contact:
        contact(slide)
        process = contact._process
        assert process is not None
    assert process.poll() is not None


def test_modules_of_the_current_folder_are_not_found(
    slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of a stranger's slides may hold a json.py."""
    here = tmp_path / "here"
    here.mkdir()
    (here / "json.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    monkeypatch.chdir(here)
    with FirstContact() as contact:
        contact(slide)
    assert not (tmp_path / "ran").exists()
