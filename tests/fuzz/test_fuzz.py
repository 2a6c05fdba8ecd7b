"""Two hundred fixed mutants of what strangers make: each is refused in one sentence, or what is read is the truth.

``make fuzz`` runs thousands, each in a process of its own; these run in one, and a hang ends it with its stack.
"""

from __future__ import annotations

import faulthandler
import importlib.util
import itertools
import os
import resource
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes and links")

SEED = 20
COUNTS = {"slides": 65, "stores": 40, "documents": 50, "bundles": 15, "checkpoints": 15, "projects": 15}


def family(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"wsss_fuzz_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", COUNTS)
def test_mutants_are_refused_or_end_in_the_truth(name: str, tmp_path: Path) -> None:
    module, intact = family(name), tmp_path / "intact"
    intact.mkdir()
    module.prepare(intact)
    seen, wrong = Counter[str](), []
    for case, build in itertools.islice(module.mutants(SEED, intact), COUNTS[name]):
        folder = tmp_path / case.split()[0]
        folder.mkdir()
        faulthandler.dump_traceback_later(60, exit=True)
        try:
            got = module.outcome(build(folder), intact)
        except Exception as error:  # noqa: BLE001 - what must not happen, with the mutant's name
            got = f"raw {error!r}"
        finally:
            faulthandler.cancel_dump_traceback_later()
        seen[got] += 1
        if got not in ("read", "refused"):
            wrong.append(f"{case}: {got}"[:300])
    assert not wrong
    assert min(seen["read"], seen["refused"]) >= 2, "mutants must hit, and not only where all is lost"


@pytest.mark.parametrize("name", COUNTS)
def test_every_family_is_found_by_the_command(name: str) -> None:
    assert name in family("fuzz").families()


def test_what_is_unharmed_is_read(tmp_path: Path) -> None:
    """A family that refuses all would find nothing."""
    module = family("documents")
    module.prepare(tmp_path)
    assert {module.outcome(path, tmp_path) for path in sorted(tmp_path.iterdir())} == {"read"}


def test_a_seed_gives_the_same_mutants(tmp_path: Path) -> None:
    module = family("documents")
    for name in ("intact", "1", "2"):
        (tmp_path / name).mkdir()
    module.prepare(tmp_path / "intact")
    first, again = (list(itertools.islice(module.mutants(3, tmp_path / "intact"), 12)) for _ in range(2))
    assert [name for name, _ in first] == [name for name, _ in again]
    for (_, one), (_, two) in zip(first, again, strict=True):
        assert one(tmp_path / "1").is_file() == two(tmp_path / "2").is_file()


@pytest.mark.parametrize(
    ("answer", "work"),
    [
        ("crash", lambda: os.kill(os.getpid(), 11)),
        ("raw ZeroDivisionError", lambda: 1 // 0),
        ("hang", lambda: __import__("time").sleep(60)),
        ("crash", lambda: None),  # what came back from a fork would go on as its parent
    ],
)
def test_the_command_notices(answer: str, work: object) -> None:
    assert family("fuzz").guarded(work, 0.5)[0].startswith(answer)


def test_the_command_works_with_many_open_handles() -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 2000:
        pytest.skip("no process may have so many here")
    held = [os.dup(0) for _ in range(1100)]
    try:
        assert family("fuzz").guarded(lambda: "read", 5)[0] == "read"
    finally:
        for handle in held:
            os.close(handle)
