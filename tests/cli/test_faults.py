"""`wsss-tile` where something is missing or goes away: one sentence, the right exit code, and the run can go on.

Each command is a fork of a process that has everything loaded (``tests/support/fault_zygote.py``).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest

from tiling.store.journal import Journal
from tiling.store.receipt import read_receipt, verify
from tiling.synthetic import SyntheticSlide, write_slide

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and signals")

ROOT = Path(__file__).resolve().parents[2]
SUPPORT = ROOT / "tests" / "support"
PATIENCE_S = 120.0
UNEXPECTED = 70  # of fault_zygote
NO_HOME = {"HOME": None, "XDG_CACHE_HOME": None}


as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs to become somebody else"
)


@dataclass(frozen=True)
class End:
    """How a command ended."""

    code: int
    out: str
    err: str


class Commands:
    """Starts commands under faults."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        path = os.pathsep.join((str(ROOT), str(SUPPORT), *filter(None, [os.environ.get("PYTHONPATH")])))
        self._process = subprocess.Popen(
            [sys.executable, str(SUPPORT / "fault_zygote.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        )
        self.pid = 0

    def start(
        self, *arguments: object, fault: str = "none", environment: dict[str, str | None] | None = None
    ) -> None:
        """Start a command; :meth:`end` must follow."""
        request = {
            "arguments": [str(argument) for argument in arguments],
            "fault": fault,
            "environment": environment or {},
            "folder": str(self._folder),
        }
        assert self._process.stdin is not None
        if self.pid:  # of a test that has failed
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self._line()
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        self.pid = int(self._line())

    def until_it_says(self, word: str) -> None:
        """Wait for a word on standard error."""
        deadline = time.monotonic() + PATIENCE_S
        while word not in (self._folder / "err").read_text(errors="replace"):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def end(self) -> End:
        """Wait for the end of the command."""
        code = int(self._line())
        self.pid = 0
        out, err = (self._folder.joinpath(name).read_text(errors="replace") for name in ("out", "err"))
        assert code != UNEXPECTED, err
        return End(code, out, err)

    def __call__(
        self, *arguments: object, fault: str = "none", environment: dict[str, str | None] | None = None
    ) -> End:
        """Run a command to its end."""
        self.start(*arguments, fault=fault, environment=environment)
        return self.end()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the process that runs the commands has ended"
        return line

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE_S)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def wsss(tmp_path_factory: pytest.TempPathFactory, slide: Path, bundle: Path) -> Iterator[Commands]:
    commands = Commands(tmp_path_factory.mktemp("commands"))
    words = ["--model", bundle, "--out", tmp_path_factory.mktemp("first"), "--backend", "torch"]
    assert commands("run", slide, *words).code == 0  # what it loads is loaded once for all
    yield commands
    commands.close()


@pytest.fixture
def place(tmp_path: Path, slide: Path, bundle: Path) -> Iterator[Path]:
    """A folder that everybody may go through, with a slide and a model that everybody may read; nobody may write."""
    opened = [
        folder for folder in tmp_path.parents if folder.is_relative_to("/tmp") and folder != Path("/tmp")
    ]
    modes = {folder: folder.stat().st_mode for folder in opened}
    for folder in opened:
        folder.chmod(0o755)
    tmp_path.chmod(0o755)
    shutil.copy(slide, tmp_path / "small.tif")
    shutil.copytree(bundle, tmp_path / "tiny")
    for path in (tmp_path / "tiny").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(0o777)
    yield tmp_path
    for folder, mode in modes.items():
        folder.chmod(mode)


def command(place: Path, *more: object) -> list[object]:
    """Run the slide of a place, tile by tile."""
    fast = ("--backend", "torch", "--precision", "fp32", "--batch-size", 1, "--read-threads", 1)
    return ["run", place / "small.tif", "--model", place / "tiny", "--out", place / "out", *fast, *more]


def until_a_row(place: Path, pid: int) -> None:
    """Wait until the run has committed something: the file of its first row is there a moment before it is whole."""
    journal = Journal(place / "out" / "small.zarr" / "journal")
    deadline = time.monotonic() + PATIENCE_S
    while not journal.committed().rows:
        assert time.monotonic() < deadline
        assert Path("/proc", str(pid)).exists(), "the run has ended"
        time.sleep(0.01)


def goes_on(wsss: Commands, place: Path, finished: Path) -> None:
    """The same command goes on, and its result is that of a run without a fault."""
    again = wsss(*command(place))
    assert (again.code, again.out) == (0, f"{place / 'out' / 'small.zarr'}\n"), again.err
    assert "done earlier" in again.err
    assert same_result(place / "out" / "small.zarr", finished)


def same_result(store: Path, other: Path) -> bool:
    """Whether two stores hold the same labels and areas, and the first is what its receipt says."""
    name = "labels/tissue/0/c"
    chunks = [
        {path.relative_to(s): path.read_bytes() for path in (s / name).rglob("*") if path.is_file()}
        for s in (store, other)
    ]
    receipts = [read_receipt(s) or {} for s in (store, other)]
    return (
        verify(store).ok and chunks[0] == chunks[1] and receipts[0]["areas_mm2"] == receipts[1]["areas_mm2"]
    )


# --- signals ---


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_the_first_signal_ends_a_run_in_good_order(
    wsss: Commands, place: Path, finished: Path, number: signal.Signals, code: int
) -> None:
    wsss.start(*command(place), fault="a slow disk")
    until_a_row(place, wsss.pid)
    os.kill(wsss.pid, number)
    end = wsss.end()
    assert end.code == code
    assert end.err.endswith("Interrupted; the same command goes on where this one stopped.\n")
    assert not list((place / "out").glob("*.owner"))
    goes_on(wsss, place, finished)


@pytest.mark.parametrize(
    "numbers",
    [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT)],
    ids=lambda numbers: "-".join(number.name for number in numbers),
)
def test_the_second_signal_ends_it_at_once_whatever_a_disk_does(
    wsss: Commands, place: Path, finished: Path, numbers: Sequence[signal.Signals]
) -> None:
    """The first waits for reads that never end."""
    wsss.start(*command(place), fault="a stuck disk")
    wsss.until_it_says("stuck")
    os.kill(wsss.pid, numbers[0])
    with contextlib.suppress(ProcessLookupError):
        while True:  # two of a kind that come at once are one
            time.sleep(0.2)
            os.kill(wsss.pid, numbers[1])
    end = wsss.end()
    assert end.code == 128 + numbers[1]
    assert end.err.endswith("Stopped at once; the same command goes on after the last complete row.\n")
    goes_on(wsss, place, finished)


def test_a_signal_that_shall_be_ignored_is(wsss: Commands, place: Path) -> None:
    wsss.start(*command(place), fault="nohup")
    until_a_row(place, wsss.pid)
    os.kill(wsss.pid, signal.SIGHUP)
    assert wsss.end().code == 0


@pytest.mark.slow
def test_a_terminals_interrupt_of_local_workers_shows_no_traceback(place: Path) -> None:
    pytest.importorskip("distributed")
    other = place / "other.tif"
    shutil.copy(place / "small.tif", other)
    words = [str(word) for word in [*command(place, "--workers", 2), other]]
    process = subprocess.Popen(
        [sys.executable, "-m", "napari_wsss.cli", *words],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    until_a_row(place, process.pid)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert "Traceback" not in err
    assert process.returncode in (0, 130), err  # the slides are small: it may have been too late


# --- what a process may have ---


@pytest.mark.parametrize("most", [7, 9, 11])
def test_too_many_open_files_are_never_damage(wsss: Commands, place: Path, finished: Path, most: int) -> None:
    fault, table = f"{most} open files", place / "out" / "table.csv"
    for words in (
        command(place),
        ["verify", finished],
        ["export", finished, "--csv", table],
        ["info", finished],
    ):
        end = wsss(*words, fault=fault)
        said = end.out + end.err
        assert "damaged" not in said
        assert end.code == 0 or "Too many open files" in said
    shutil.rmtree(place / "out" / "small.zarr", ignore_errors=True)
    assert wsss(*command(place)).code == 0


@pytest.mark.parametrize("most", [0, 300, 2_000, 30_000])
def test_files_that_may_not_grow_fail_each_slide_by_name(
    wsss: Commands, place: Path, finished: Path, most: int
) -> None:
    """With ``ulimit -f``; of 300 bytes not even the summary can be written, of none nothing can be said."""
    shutil.copy(place / "small.tif", place / "other.tif")
    end = wsss(*command(place), place / "other.tif", fault=f"files of {most} bytes")
    assert (end.code, end.out) == (1, "")
    if most >= 2_000:
        for name in ("small", "other"):
            assert f"{name}.zarr cannot be written" in end.err
        assert end.err.count("File too large; allow larger ones (ulimit -f) and run again") == 2
    assert not any(verify(store).ok for store in (place / "out").glob("*.zarr"))
    assert wsss(*command(place)).code == 0
    assert same_result(place / "out" / "small.zarr", finished)


@pytest.mark.skipif(
    "WSSS_LITTLE_MEMORY" not in os.environ,
    reason="now and then zarr's event loop dies of it (and is waited for) or CPython loses an error: "
    "WSSS_LITTLE_MEMORY=1 runs it",
)
@pytest.mark.parametrize("most", [0, 10, 60])
def test_too_little_memory_is_said_and_is_nobodys_damage(
    wsss: Commands, place: Path, finished: Path, most: int
) -> None:
    """With ``ulimit -v``, so many MB above what the program has when it starts."""
    if metadata.version("torch").startswith("2.6."):
        pytest.skip("torch 2.6 was seen to abort, or never to end, where its own threads find no memory")
    write_slide(place / "large.tif", SyntheticSlide(width=3000, height=2600, mpp=0.5, seed=3, region_um=60))
    end = wsss(*command(place), place / "large.tif", fault=f"{most} MB more")
    assert end.code == 1
    assert "There is not enough memory" in end.err
    assert "damaged" not in end.err
    complete = [store for store in sorted((place / "out").glob("*.zarr")) if verify(store).ok]
    assert end.out == "".join(f"{store}\n" for store in complete)
    assert wsss(*command(place)).code == 0
    assert same_result(place / "out" / "small.zarr", finished)


@as_root
def test_a_user_without_a_name_and_a_home_can_run(wsss: Commands, place: Path, finished: Path) -> None:
    end = wsss(*command(place), fault="a stranger", environment={**NO_HOME, "TMPDIR": "/nowhere"})
    assert end.code == 0, end.err
    assert same_result(place / "out" / "small.zarr", finished)


@as_root
def test_a_home_that_cannot_be_written_costs_nothing_but_the_cache(wsss: Commands, place: Path) -> None:
    (place / "home").mkdir()
    end = wsss(*command(place), fault="a stranger", environment={**NO_HOME, "HOME": str(place / "home")})
    assert end.code == 0, end.err
    assert not list((place / "home").iterdir())


@as_root
@pytest.mark.parametrize("out", ["out", "out/deep/er"])
def test_an_output_one_may_not_write_starts_nothing(wsss: Commands, place: Path, out: str) -> None:
    (place / "out").chmod(0o755)
    words = [place / out if word == place / "out" else word for word in command(place)]
    end = wsss(*words, fault="a stranger")
    assert (end.code, end.err.count("\n")) == (2, 1)
    assert f"{place / out} cannot be written to: Permission denied" in end.err
    assert not list((place / "out").iterdir())


@as_root
def test_a_slide_one_may_not_read_fails_alone(wsss: Commands, place: Path) -> None:
    shutil.copy(place / "small.tif", place / "other.tif")
    (place / "other.tif").chmod(0)
    end = wsss(*command(place), place / "other.tif", fault="a stranger")
    assert end.code == 1
    assert "1 done, 1 failed" in end.err
    assert "other.tif cannot be read: Permission denied" in end.err


@as_root
def test_a_folder_one_may_not_list_is_one_sentence(wsss: Commands, place: Path) -> None:
    closed = place / "in" / "closed"
    closed.mkdir(parents=True)
    shutil.copy(place / "small.tif", place / "in" / "small.tif")
    closed.chmod(0)
    words = [place / "in" if word == place / "small.tif" else word for word in command(place)]
    end = wsss(*words, fault="a stranger")
    closed.chmod(0o755)
    assert (end.code, end.err.count("\n")) == (2, 1)
    assert f"{place / 'in'} cannot be" in end.err
    assert "Permission denied" in end.err


# --- what goes away in the middle ---


@as_root
def test_an_output_made_read_only_in_the_middle(wsss: Commands, place: Path, finished: Path) -> None:
    wsss.start(*command(place), fault="a stranger, slowly")
    until_a_row(place, wsss.pid)
    folders = [place / "out" / "small.zarr", *(place / "out" / "small.zarr").rglob("*")]
    closed = [path for path in folders if path.exists()]
    for path in closed:
        path.chmod(0o555 if path.is_dir() else 0o444)
    end = wsss.end()
    assert end.code == 1
    assert "small.zarr cannot be written any more: Permission denied; mend it and run again" in end.err
    for path in closed:
        path.chmod(0o777 if path.is_dir() else 0o666)
    goes_on(wsss, place, finished)


def test_an_output_removed_in_the_middle(wsss: Commands, place: Path) -> None:
    wsss.start(*command(place), fault="a slow disk")
    until_a_row(place, wsss.pid)
    (place / "out").rename(place / "elsewhere")
    end = wsss.end()
    assert end.code == 1
    assert "small.zarr was deleted or moved while it was being written; run the slide again" in end.err
    assert wsss(*command(place)).code == 0


@pytest.mark.parametrize("fault", ["a clock that jumps", "no fsync"])
def test_results_do_not_depend_on(wsss: Commands, place: Path, finished: Path, fault: str) -> None:
    end = wsss(*command(place, "--export", "csv"), fault=fault)
    assert end.code == 0, end.err
    assert same_result(place / "out" / "small.zarr", finished)
    assert wsss(*command(place), fault=fault).err.count("receipt checked") == 1
    assert wsss("report", place / "out", fault=fault).code == 0
    # Stopped and gone on with, while the clock is another one.
    shutil.rmtree(place / "out" / "small.zarr")
    wsss.start(*command(place), fault="a slow disk")
    until_a_row(place, wsss.pid)
    os.kill(wsss.pid, signal.SIGKILL)
    assert wsss.end().code == -signal.SIGKILL
    assert "done earlier" in wsss(*command(place), fault=fault).err
    assert same_result(place / "out" / "small.zarr", finished)


# --- what only another interpreter can have ---


@pytest.mark.slow
@pytest.mark.parametrize(
    "locale", [{"LANG": "C"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_names_of_any_bytes_in_a_poor_locale(place: Path, locale: dict[str, str]) -> None:
    names = ["🔬 Präparat", os.fsdecode(b"Pr\xe4parat 2"), "-v\nb"]
    folder = place / "in"
    folder.mkdir()
    for name in names:
        shutil.copy(place / "small.tif", os.fsencode(folder / f"{name}.tif"))
    clean = {
        key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTHONUTF8"))
    }
    words = [folder if word == place / "small.tif" else word for word in command(place, "--json")]
    done = subprocess.run(
        [sys.executable, "-m", "napari_wsss.cli", *map(str, words)],
        env={**clean, **locale},
        capture_output=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
    rows = json.loads(done.stdout)
    assert [row["status"] for row in rows] == ["done"] * len(names)
    assert sorted(os.fsencode(path.stem) for path in (place / "out").glob("*.zarr")) == sorted(
        map(os.fsencode, names)
    )
    assert all(verify(store).ok for store in (place / "out").glob("*.zarr"))


@pytest.mark.slow
def test_without_shared_memory_one_process_does_and_workers_are_refused_in_a_sentence(place: Path) -> None:
    pytest.importorskip("distributed")
    hide = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o ro none /dev/shm && exec "$@"', "sh"]
    if shutil.which("unshare") is None or subprocess.run([*hide, "true"], capture_output=True).returncode:
        pytest.skip("needs the right to hide /dev/shm")
    for words, code in ((command(place), 0), (command(place, "--restart", "--workers", 2), None)):
        done = subprocess.run(
            [*hide, sys.executable, "-m", "napari_wsss.cli", *map(str, words)],
            capture_output=True,
            check=False,
            timeout=PATIENCE_S,
            text=True,
        )
        assert "Traceback" not in done.stderr
        assert done.returncode == code or (code is None and "run without --workers" in done.stderr), (
            done.stderr
        )
