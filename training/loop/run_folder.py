"""One training run on disk: what identifies it, where its files lie, and what it may be continued with.

A run folder holds ``run.json`` (settings, data digest, seed), ``checkpoints/`` (to continue from), ``log.csv`` and, at
the end, ``bundle/``. The bundle is the proof that the run is complete.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiling.errors import DataError
from tiling.files import read_json, replacing, write_json_atomic
from tiling.words import differences

__all__ = ["RunFolder"]


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run and its identity file."""

    path: Path

    @property
    def identity_file(self) -> Path:
        """``run.json``."""
        return self.path / "run.json"

    @property
    def last(self) -> Path:
        """Checkpoint after the last finished epoch."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def sums(self) -> Path:
        """Digests of the checkpoint that lies there and of the one that may take its place."""
        return self.path / "checkpoints" / "last.json"

    @property
    def best(self) -> Path:
        """Weights of the best epoch on val."""
        return self.path / "checkpoints" / "best.safetensors"

    @property
    def log(self) -> Path:
        """One row per finished epoch."""
        return self.path / "log.csv"

    @property
    def bundle(self) -> Path:
        """The model bundle, there only when the run is complete."""
        return self.path / "bundle"

    @property
    def is_complete(self) -> bool:
        """Whether the bundle was written."""
        return (self.bundle / "model.json").is_file()

    def open(self, identity: Mapping[str, Any], restart: bool = False) -> None:
        """Start the run, or make sure that the run in the folder is the same one.

        Parameters
        ----------
        identity : mapping
            JSON-ready facts that decide the result.
        restart : bool
            Forget what is there.

        Raises
        ------
        DataError
            When the folder holds another run, or files that are no run.
        """
        wanted = json.loads(json.dumps(identity))
        if self.identity_file.is_file() and not restart:
            try:
                found = read_json(self.identity_file)
            except (OSError, ValueError) as error:
                raise DataError(f"{self.identity_file} is damaged; pass --restart to start over.") from error
            if found != wanted:
                changes = "; ".join(differences(found, wanted))
                raise DataError(
                    f"{self.path} holds a run with other settings ({changes}); pass --restart to replace it, "
                    "or another --out."
                )
            return
        if self.path.is_dir() and not self.identity_file.is_file() and any(self.path.iterdir()):
            raise DataError(f"{self.path} is not empty and holds no run; choose another --out.")
        for part in (self.bundle, self.last.parent):
            if part.is_dir():
                shutil.rmtree(part)
        self.last.parent.mkdir(parents=True, exist_ok=True)
        self.log.unlink(missing_ok=True)
        write_json_atomic(self.identity_file, wanted)

    def write_log(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the whole log, so that it never disagrees with the checkpoint."""
        text = io.StringIO()
        names = list(dict.fromkeys(name for row in rows for name in row))
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        with replacing(self.log) as file:
            file.write(text.getvalue().encode())
