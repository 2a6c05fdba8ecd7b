"""`wsss-tile verify`: whether stores are complete and as their receipts say."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import typer

from napari_wsss.cli.border import FAILED

__all__ = ["verify_stores"]


def verify_stores(stores: Sequence[Path], as_json: bool) -> int:
    """Check stores one by one, in a folder all that it holds; the exit code is 0 only if all are in order."""
    from tiling.store import verify

    checked = []
    for store in _each(stores):
        result = verify(store)
        checked.append(result)
        if not as_json:
            typer.echo(f"ok   {store}" if result.ok else f"BAD  {result.problem}")
    if as_json:
        rows = [{"store": str(c.store), "ok": c.ok, "problem": c.problem} for c in checked]
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    return 0 if all(c.ok for c in checked) else FAILED


def _each(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield the stores; a folder that is none stands for the stores in it."""
    from tiling.folders import RUN

    for path in paths:
        inside = [] if (path / RUN).exists() else sorted(path.glob("*.zarr"))
        yield from inside or [path]
