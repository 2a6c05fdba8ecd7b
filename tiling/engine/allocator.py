"""Freed memory stays with the process while a network works, for the next batch to use.

By default glibc gives large blocks back to the system as soon as they are free, and every batch of a network on a CPU
gets its activations as new, zeroed pages. With torch this costs a fifth of the time of a slide
(``docs/performance.md``); with a GPU or OpenVINO, which manage their own memory, next to nothing.
"""

from __future__ import annotations

import ctypes
import functools
import platform
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["kept_memory"]

# Constants of <malloc.h>.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGE = 1 << 30
_USUAL = 32 << 20, 64 << 20  # what glibc arrives at by itself in a process that has freed large blocks


@functools.cache
def _libc() -> ctypes.CDLL | None:
    """Return glibc, None where the process uses another library."""
    if platform.libc_ver()[0] != "glibc":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


@contextmanager
def kept_memory() -> Iterator[None]:
    """Keep freed memory within the block, give it back to the system at the end; does nothing without glibc.

    The setting is the process's. Where two blocks run at once, the end of one takes the speed of the other, no more.
    """
    libc = _libc()
    if libc is None:
        yield
        return
    libc.mallopt(_M_MMAP_THRESHOLD, _LARGE)
    libc.mallopt(_M_TRIM_THRESHOLD, _LARGE)
    try:
        yield
    finally:
        for parameter, value in zip((_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD), _USUAL, strict=True):
            libc.mallopt(parameter, value)
        libc.malloc_trim(0)
