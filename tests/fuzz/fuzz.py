"""Fuzz everything that strangers' files reach, and print a table of outcomes (``make fuzz``).

Each case runs in a process of its own, forked, with a limit of time: a crash of a library or a hang costs that case and
is counted. Every module beside this one that has ``mutants`` and ``outcome`` takes part.

    python tests/fuzz/fuzz.py --cases 2000 --seed 7
"""

from __future__ import annotations

import argparse
import collections
import importlib.util
import itertools
import os
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
LIMIT_S = 20.0


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
        if hasattr(module, "mutants") and hasattr(module, "outcome"):
            found[path.stem] = module
    return found


def guarded(build: Callable[[Path], Path], outcome: Callable[[Path], str], folder: Path) -> str:
    """Run one case in a fork; return its outcome, ``crash``, ``hang`` or the raw error."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            answer = outcome(build(folder))
        except BaseException as error:  # noqa: BLE001 - that is what is looked for
            answer = f"raw {type(error).__name__}: {error}"
        os.write(writing, answer.encode("utf-8", "backslashreplace")[:2000])
        os._exit(0)
    os.close(writing)
    try:
        ready, _, _ = select.select([reading], [], [], LIMIT_S)
        if not ready:
            os.kill(pid, signal.SIGKILL)
            return "hang"
        answer = os.read(reading, 4000).decode()
        return answer or "crash"
    finally:
        os.waitpid(pid, 0)
        os.close(reading)


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
    bad = 0
    sys.stdout.write(
        f"seed {arguments.seed}\n\n| input | mutants | read | refused | raw error | hang | crash | wrong |\n"
    )
    sys.stdout.write("|---|---|---|---|---|---|---|---|\n")
    for name, module in modules.items():
        seen = collections.Counter[str]()
        cases = itertools.islice(module.mutants(arguments.seed), arguments.cases // len(modules))
        for case, build in cases:
            folder = Path(tempfile.mkdtemp(prefix="wsss-fuzz-"))
            answer = guarded(build, module.outcome, folder)
            shutil.rmtree(folder, ignore_errors=True)
            kind = answer.split()[0].rstrip(":")
            kind = {"said": "wrong"}.get(kind, kind)
            seen[kind] += 1
            if kind not in ("read", "refused"):
                bad += 1
                sys.stderr.write(f"{name} {case}: {answer[:300]}\n")
        columns = " | ".join(str(seen[kind]) for kind in ("read", "refused", "raw", "hang", "crash", "wrong"))
        sys.stdout.write(f"| {name} | {seen.total()} | {columns} |\n")
        sys.stdout.flush()
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
