"""Fuzz everything that strangers' files reach, and print a table of outcomes (``make fuzz``).

Each case runs in a process of its own, forked, with a limit of time and memory: a crash of a library or a hang costs
that case and is counted. Every module beside this one that has ``prepare`` (writes what is intact), ``mutants`` and
``outcome`` takes part. Outcomes: what came out is the truth (*read*), one of our errors in one line (*refused*), and
five that must not be. Seconds are of the slowest case.

    python tests/fuzz/fuzz.py --cases 2000 --seed 7
"""

from __future__ import annotations

import argparse
import collections
import importlib.util
import itertools
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from types import ModuleType
from typing import NoReturn

HERE = Path(__file__).parent
LIMIT_S = 20.0
MOST_MEMORY_MB = 1500
"""That a case may take on top of the program."""


def families() -> dict[str, ModuleType]:
    """Load the modules that make mutants."""
    found = {}
    for path in sorted(HERE.glob("*.py")):
        if path.name.startswith(("test_", "fuzz")):
            continue
        spec = importlib.util.spec_from_file_location(f"wsss_fuzz_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        if all(hasattr(module, name) for name in ("prepare", "mutants", "outcome")):
            found[path.stem] = module
    return found


def guarded(work: Callable[[], str], limit_s: float = LIMIT_S) -> tuple[str, float]:
    """Run a case in a fork.

    Returns
    -------
    str
        Its outcome, ``crash``, ``hang`` or the raw error.
    float
        Seconds that it took, without those in which it waited for a busy processor.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _answer(work, writing)
    os.close(writing)
    started, seconds = time.monotonic(), 0.0
    try:
        while not wait([reading], 0.25):  # select knows no handle above 1,023
            seconds = time.monotonic() - started - _starved(pid)
            if seconds > limit_s:
                os.kill(pid, signal.SIGKILL)
                return "hang", seconds
        seconds = time.monotonic() - started - _starved(pid)
        return os.read(reading, 4000).decode() or "crash", seconds
    finally:
        os.waitpid(pid, 0)
        os.close(reading)


def _answer(work: Callable[[], str], writing: int) -> NoReturn:
    """Do the work of a fork and end it, whatever happens: what came back from here would go on as its parent."""
    try:
        _worked(work, writing)
    finally:
        os._exit(0)


def _worked(work: Callable[[], str], writing: int) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # What fills the memory ends with MemoryError, before it takes that of others.
    resource.setrlimit(resource.RLIMIT_DATA, (4 * MOST_MEMORY_MB << 20, resource.RLIM_INFINITY))
    try:
        answer = work()
    except BaseException as error:  # noqa: BLE001 - that is what is looked for
        place = traceback.extract_tb(error.__traceback__)[-1]
        answer = f"raw {type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
    taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    if taken > MOST_MEMORY_MB:
        answer = f"memory {taken:.0f} MB, {answer}"
    os.write(writing, answer.encode("utf-8", "backslashreplace")[:2000])


def _starved(pid: int) -> float:
    """Return the seconds for which a process was ready and had no processor; 0 where the system does not tell."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def main() -> int:
    """Fuzz and print; the exit code is 1 when anything but reading and refusing was seen."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=2000, help="in all")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", nargs="+")
    arguments = parser.parse_args()
    modules = {n: m for n, m in families().items() if not arguments.only or n in arguments.only}
    names = ("read", "refused", "raw", "hang", "crash", "memory", "wrong")
    bad = 0
    sys.stdout.write(f"seed {arguments.seed}\n\n| input | mutants | {' | '.join(names)} | seconds |\n")
    sys.stdout.write("|---" * (len(names) + 3) + "|\n")
    for name, module in modules.items():
        with tempfile.TemporaryDirectory(prefix="wsss-fuzz-") as folder:
            bad += fuzzed(
                name, module, -(-arguments.cases // len(modules)), arguments.seed, Path(folder), names
            )
    return int(bad > 0)


def fuzzed(name: str, module: ModuleType, cases: int, seed: int, work: Path, columns: Sequence[str]) -> int:
    """Fuzz one kind of input, print its line, and return how many cases ended as none must."""
    intact = work / "intact"
    intact.mkdir()
    # In a fork: what is prepared may start threads, which the next fork would not have.
    told, _ = guarded(lambda: module.prepare(intact) or "made", 120)
    if told != "made":
        raise SystemExit(f"{name} could not be prepared: {told}")
    seen = collections.Counter[str]()
    slowest, bad = 0.0, 0
    for number, (case, build) in enumerate(itertools.islice(module.mutants(seed, intact), cases)):
        folder = work / str(number)
        folder.mkdir()
        answer, seconds = guarded(lambda f=folder, b=build: module.outcome(b(f), intact))
        slowest = max(slowest, seconds)
        shutil.rmtree(folder, ignore_errors=True)
        kind = answer.split()[0].rstrip(":").replace("said", "wrong")
        seen[kind] += 1
        if kind not in ("read", "refused"):
            bad += 1
            sys.stderr.write(f"{name} {case}: {answer[:300]}\n")
    counts = " | ".join(str(seen[kind]) for kind in columns)
    sys.stdout.write(f"| {name} | {seen.total()} | {counts} | {slowest:.1f} |\n")
    sys.stdout.flush()
    return bad


if __name__ == "__main__":
    sys.exit(main())
