"""Two hundred fixed mutants of slides: each is read or refused in one sentence, soon."""

from __future__ import annotations

import faulthandler
import importlib.util
import itertools
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location("wsss_fuzz_slides", Path(__file__).with_name("slides.py"))
assert _SPEC is not None and _SPEC.loader is not None  # noqa: PT018
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)
mutants, outcome = _MODULE.mutants, _MODULE.outcome

SEED, COUNT = 20, 200


def test_mutants_are_read_or_refused(tmp_path: Path) -> None:
    """Whatever is no `SlideError` fails the test, under the mutant's name; a hang ends the process with its stack."""
    seen: dict[str, int] = {}
    wrong = []
    for name, build in itertools.islice(mutants(SEED), COUNT):
        folder = tmp_path / name.split()[0]
        folder.mkdir()
        faulthandler.dump_traceback_later(60, exit=True)
        try:
            got = outcome(build(folder))
        except Exception as error:  # noqa: BLE001  what must not happen, with the mutant's name
            got = repr(error)
        finally:
            faulthandler.cancel_dump_traceback_later()
        seen[got] = seen.get(got, 0) + 1
        if got not in ("read", "refused"):
            wrong.append(f"{name}: {got}"[:300])
    assert not wrong
    assert min(seen.get("read", 0), seen.get("refused", 0)) > COUNT // 10, (
        "mutants must hit, and not only the head"
    )


def test_a_seed_gives_the_same_mutants(tmp_path: Path) -> None:
    first, again = (list(itertools.islice(mutants(3), 12)) for _ in range(2))
    assert [name for name, _ in first] == [name for name, _ in again]
    for (name, one), (_, two) in zip(first, again, strict=True):
        if "zarr" not in name:
            (tmp_path / "1").mkdir(exist_ok=True)
            (tmp_path / "2").mkdir(exist_ok=True)
            assert one(tmp_path / "1").read_bytes() == two(tmp_path / "2").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_more_mutants(tmp_path: Path, seed: int) -> None:
    for name, build in itertools.islice(mutants(seed), 300):
        folder = tmp_path / name.split()[0]
        folder.mkdir()
        assert outcome(build(folder)) in ("read", "refused"), name
