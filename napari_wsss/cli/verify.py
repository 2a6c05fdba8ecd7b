"""`wsss-tile verify`: whether stores are complete and as their receipts say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from napari_wsss.cli.border import FAILED, answer, answer_json

__all__ = ["verify_stores"]


def verify_stores(stores: Sequence[Path], as_json: bool) -> int:
    """Check stores one by one, in a folder all that it holds; the exit code is 0 only if all are in order."""
    from tiling.store import verify

    checked = []
    for store in _each(stores):
        result = verify(store)
        checked.append(result)
        if not as_json:
            answer(f"ok   {store}" if result.ok else f"BAD  {result.problem}")
    if as_json:
        rows = [{"store": str(c.store), "ok": c.ok, "problem": c.problem, "code": c.code} for c in checked]
        answer_json(rows)
    return 0 if all(c.ok for c in checked) else FAILED


def _each(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield the stores; a folder that is none stands for the stores in it."""
    from tiling.folders import RUN

    for path in paths:
        try:
            inside = [] if (path / RUN).exists() else sorted(path.glob("*.zarr"))
        except OSError:  # the check of the path itself says why
            inside = []
        yield from inside or [path]
