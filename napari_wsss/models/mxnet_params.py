"""Reading MXNet ``.params`` files without MXNet: plain arrays by name, nothing executed.

Little-endian layout (MXNet's NDArray serialisation, versions up to 1.9): a header of three uint64 (magic
0x112, reserved, count), then the arrays, then uint64 count and the names, each as uint64 length and bytes.
"""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from tiling.errors import BundleError
from tiling.files import refuse_special

__all__ = ["is_mxnet_params", "read_mxnet_params"]

_LIST_MAGIC = 0x112
_V2_MAGIC = 0xF993FAC9
_V1_MAGIC = 0xF993FAC8
_DTYPES = {0: "<f4", 1: "<f8", 2: "<f2", 3: "u1", 4: "<i4", 5: "i1", 6: "<i8"}
_MAX_DIMENSIONS = 32


class _Malformed(ValueError):
    """The bytes cannot be such a file."""


def is_mxnet_params(path: Path) -> bool:
    """Whether a file starts like a ``.params`` file.

    Raises
    ------
    BundleError
        When the file cannot be read.
    """
    try:
        refuse_special(path)
        with path.open("rb") as stream:
            return stream.read(8) == _LIST_MAGIC.to_bytes(8, "little")
    except FileNotFoundError as error:
        raise BundleError(f"{path}: the weights file is missing.") from error
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}).") from error


def read_mxnet_params(path: str | Path) -> dict[str, NDArray[np.generic]]:
    """Read all arrays of a ``.params`` file.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    dict of str to ndarray
        Under their MXNet names, with the prefixes ``arg:`` and ``aux:``; shapes and dtypes as stored.

    Raises
    ------
    BundleError
        When the file is missing, truncated, no ``.params`` file, or claims sizes beyond its own.
    """
    path = Path(path)
    try:
        refuse_special(path)
        with path.open("rb") as stream:
            return _Reader(stream).read()
    except FileNotFoundError as error:
        raise BundleError(f"{path}: the weights file is missing.") from error
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}).") from error
    except _Malformed as error:
        raise BundleError(
            f"{path}: not a complete MXNet .params file ({error}); get the file again."
        ) from error


class _Reader:
    """Reads forward and never asks for more than the file holds."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._left = os.fstat(stream.fileno()).st_size

    def read(self) -> dict[str, NDArray[np.generic]]:
        magic, _, count = self._numbers("<3Q")
        if magic != _LIST_MAGIC:
            raise _Malformed("it starts with other bytes")
        # The smallest array takes four bytes: a larger count cannot be true.
        if count * 4 > self._left:
            raise _Malformed(f"it claims {count} arrays")
        arrays = [self._array() for _ in range(count)]
        (names,) = self._numbers("<Q")
        if names != count:
            raise _Malformed(f"it names {names} of {count} arrays")
        found = dict(zip((self._name() for _ in range(count)), arrays, strict=True))
        if len(found) != count:
            raise _Malformed("a name occurs twice")
        return found

    def _claim(self, size: int) -> None:
        if size > self._left:
            raise _Malformed(f"{size} bytes should follow where {self._left} are left")
        self._left -= size

    def _numbers(self, form: str) -> tuple[int, ...]:
        size = struct.calcsize(form)
        self._claim(size)
        return struct.unpack(form, self._stream.read(size))

    def _name(self) -> str:
        (length,) = self._numbers("<Q")
        self._claim(length)
        try:
            return self._stream.read(length).decode("utf-8")
        except UnicodeDecodeError as error:
            raise _Malformed("a name is not text") from error

    def _array(self) -> NDArray[np.generic]:
        (word,) = self._numbers("<I")
        if word == _V2_MAGIC:
            (storage,) = self._numbers("<i")
            if storage != 0:
                raise _Malformed(f"an array has the sparse storage type {storage}")
        (dimensions,) = self._numbers("<I") if word in (_V1_MAGIC, _V2_MAGIC) else (word,)
        if dimensions > _MAX_DIMENSIONS:
            raise _Malformed(f"an array has {dimensions} dimensions")
        if dimensions == 0:  # MXNet's "no array": nothing follows
            return np.zeros(0, np.float32)
        letter = "q" if word in (_V1_MAGIC, _V2_MAGIC) else "I"
        shape = self._numbers(f"<{dimensions}{letter}")
        _device_type, _device_id, code = self._numbers("<3i")
        if min(shape) < 0 or code not in _DTYPES:
            raise _Malformed(f"an array has the shape {shape} and the type number {code}")
        dtype = np.dtype(_DTYPES[code])
        count = math.prod(shape)
        self._claim(count * dtype.itemsize)
        values = np.fromfile(self._stream, dtype, count)
        return values.reshape(shape).astype(dtype.newbyteorder("="), copy=False)
