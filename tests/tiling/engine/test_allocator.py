"""Freed memory is used again within the block and given back after it."""

from __future__ import annotations

import ctypes
import json
import platform
import subprocess
import sys

import pytest

from tiling.engine import allocator
from tiling.engine.allocator import kept_memory

MEASURE = """
import ctypes, json, resource
from tiling.engine.allocator import kept_memory
SIZE = 48 << 20
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]

def batches():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        block = libc.malloc(SIZE)
        ctypes.memset(block, 1, SIZE)
        libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

without = batches()
with kept_memory():
    inside = batches()
    held = resident()
given_back = held - resident()
print(json.dumps({"without": without, "within": inside, "given_back": given_back, "after": batches()}))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators are left alone")
def test_blocks_are_used_again_and_given_back() -> None:
    words = [sys.executable, "-c", MEASURE]
    found = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    assert found["within"] < found["without"] / 5
    assert found["given_back"] > 40 << 20
    assert found["after"] > found["without"] / 2  # as before: what is freed goes


@pytest.mark.parametrize("library", ["musl", ""])
def test_another_c_library_is_not_touched(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    """mallopt's numbers mean something else there, or nothing: not even a handle on the library is taken."""

    def taken(*_: object) -> None:
        raise AssertionError("the process's library was opened")

    monkeypatch.setattr(platform, "libc_ver", lambda *_: (library, ""))
    monkeypatch.setattr(ctypes, "CDLL", taken)
    monkeypatch.setattr(allocator, "_libc", allocator._libc.__wrapped__)
    with kept_memory():
        pass


def test_the_usual_ways_come_back_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[int, int]] = []

    class Libc:
        def mallopt(self, parameter: int, value: int) -> None:
            said.append((parameter, value))

        def malloc_trim(self, pad: int) -> None:
            said.append((0, pad))

    monkeypatch.setattr(allocator, "_libc", Libc)
    with pytest.raises(KeyError), kept_memory():
        raise KeyError("in the middle of a run")
    assert {value for _, value in said[:2]} == {1 << 30}
    assert [value for _, value in said[2:]] == [32 << 20, 64 << 20, 0]
