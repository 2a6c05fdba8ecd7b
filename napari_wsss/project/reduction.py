"""How wide features become a few values per place: principal components, fixed once per project."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tiling.errors import FeaturesError, disk_errors_as
from tiling.files import read_regular, replacing

__all__ = ["REDUCTION_NPZ", "VALUES", "Reduction", "principal_components"]

REDUCTION_NPZ = "reduction.npz"
VALUES = 64
"""Values kept per place: 30,000 tiles of 7 × 7 places are 188 MB in half precision."""

_OVERSAMPLING = 16
_POWER_STEPS = 2


@dataclass(frozen=True)
class Reduction:
    """A linear map from normalised layers to values.

    Attributes
    ----------
    matrix : (V, K) float32
    offset : (V,) float32
    """

    matrix: NDArray[np.float32]
    offset: NDArray[np.float32]

    @cached_property
    def content(self) -> bytes:
        """The bytes of ``reduction.npz``."""
        file = io.BytesIO()
        np.savez(file, matrix=self.matrix, offset=self.offset)
        return file.getvalue()

    @property
    def sha256(self) -> str:
        """Digest of the numbers (an archive also holds the time at which it was made)."""
        return hashlib.sha256(self.matrix.tobytes() + self.offset.tobytes()).hexdigest()

    def write(self, folder: Path) -> None:
        """Write ``reduction.npz`` atomically.

        Raises
        ------
        FeaturesError
        """
        path = folder / REDUCTION_NPZ
        what = f"{path} cannot be written"
        with disk_errors_as(FeaturesError, what, "mend it and prepare again"), replacing(path) as file:
            file.write(self.content)

    @classmethod
    def read(cls, folder: Path, sha256: str) -> Reduction | None:
        """Return the project's reduction; None when the file is missing, damaged or another than ``sha256`` says.

        Features can be made again from the slides, so this is no error: they are.
        """
        try:
            content = io.BytesIO(read_regular(folder / REDUCTION_NPZ))
            with np.load(content, allow_pickle=False) as data:
                found = cls(data["matrix"].astype(np.float32), data["offset"].astype(np.float32))
        except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zlib.error):
            return None
        return found if found.sha256 == sha256 else None


def principal_components(sample: NDArray[np.float32], values: int = VALUES, seed: int = 0) -> Reduction:
    """Fit the reduction on a sample of places.

    Parameters
    ----------
    sample : (n, K) float32
        Normalised layers of some places; n at least 2.
    values : int, optional
        V; components that the sample does not have are 0.
    seed : int, optional

    Returns
    -------
    Reduction
        The scale is one for all values, so that the variance of the first is 1: what is left out is small, as it is.

    Notes
    -----
    Randomised range finder with power steps (Halko, Martinsson and Tropp, SIAM Review 2011): a full decomposition of
    1,664 channels takes ten times as long and gives the same.
    """
    mean = sample.mean(0, dtype=np.float64).astype(np.float32)
    centred = sample - mean
    count = min(values, *centred.shape)
    width = min(count + _OVERSAMPLING, *centred.shape)
    start = np.random.default_rng(seed).standard_normal((centred.shape[1], width), np.float32)
    basis = np.linalg.qr(centred @ start)[0]
    for _ in range(_POWER_STEPS):
        basis = np.linalg.qr(centred.T @ basis)[0]
        basis = np.linalg.qr(centred @ basis)[0]
    _, lengths, rows = np.linalg.svd(basis.T @ centred, full_matrices=False)
    rows = rows[:count]
    # The sign of a component is arbitrary; a fixed one makes the result repeatable.
    largest = np.abs(rows).argmax(1)
    rows *= np.where(rows[np.arange(count), largest] < 0, -1, 1)[:, None]
    deviation = float(lengths[0]) / max(1.0, np.sqrt(len(sample))) if len(lengths) else 1.0
    matrix = np.zeros((values, sample.shape[1]), np.float32)
    matrix[:count] = rows / max(deviation, 1e-6)
    return Reduction(matrix, -(matrix @ mean))
