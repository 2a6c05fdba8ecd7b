"""A hundred fixed mutants of stores: each is refused in one sentence, or what comes out of it is the truth."""

from __future__ import annotations

import faulthandler
import importlib.util
import itertools
import os
from collections import Counter
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location("wsss_fuzz_stores", Path(__file__).with_name("stores.py"))
assert _SPEC is not None and _SPEC.loader is not None  # noqa: PT018
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)

SEED, COUNT = 11, 100


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes and links")
def test_mutants_are_refused_or_end_in_the_truth(tmp_path: Path) -> None:
    """Whatever is no error of ours fails the test, under the mutant's name; a hang ends the process with its stack."""
    seen, wrong = Counter[str](), []
    for name, build in itertools.islice(_MODULE.mutants(SEED), COUNT):
        folder = tmp_path / name.split()[0]
        folder.mkdir()
        faulthandler.dump_traceback_later(60, exit=True)
        try:
            got = _MODULE.outcome(build(folder))
        except Exception as error:  # noqa: BLE001 - what must not happen, with the mutant's name
            got = f"raw {error!r}"
        finally:
            faulthandler.cancel_dump_traceback_later()
        seen[got] += 1
        if got not in ("read", "refused"):
            wrong.append(f"{name}: {got}"[:300])
    assert not wrong
    assert min(seen["read"], seen["refused"]) >= 2, "mutants must hit, and not only where all is lost"
