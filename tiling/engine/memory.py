"""How much memory a run needs: a formula of the slide's width, the tile and the batch, not of its height."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from tiling.engine.read_ahead import LOOKAHEAD_PER_THREAD
from tiling.errors import RunTooLargeError
from tiling.grid import TileGrid
from tiling.plan import OVERVIEW_SIDE
from tiling.slides import CACHE_BYTES, MAX_PIXELS_PER_READ

__all__ = ["MemoryEstimate", "available_memory", "estimate_memory", "refuse_what_cannot_fit"]

_CGROUP = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")
_VERSION_2 = ("memory.max", "memory.current", "inactive_file")
_VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that a run needs above the loaded program and network weights.

    Attributes
    ----------
    terms : tuple of (str, int)
        What each part is for, with its formula in words, and its bytes.
    """

    terms: tuple[tuple[str, int], ...]

    @property
    def total(self) -> int:
        """Sum of all parts in bytes."""
        return sum(value for _, value in self.terms)


def estimate_memory(
    grid: TileGrid,
    classes: int,
    batch_size: int,
    read_threads: int,
    probabilities: bool = False,
    cam_factor: int | None = None,
    reader_bytes: int = CACHE_BYTES,
) -> MemoryEstimate:
    """Apply the memory formula.

    Parameters
    ----------
    grid : TileGrid
    classes : int
        Number of classes C.
    batch_size, read_threads : int
    probabilities : bool
        Whether blended probabilities are kept.
    cam_factor : int, optional
        Canvas pixels per CAM pixel, when CAMs are kept.
    reader_bytes : int
        What the open slide keeps and decodes with, see :meth:`tiling.slides.Slide.reader_bytes`.

    Returns
    -------
    MemoryEstimate
        Network activations are not in it: they depend on the network and the batch only.
    """
    width, tile, stride, shared = grid.padded_width, grid.tile, grid.stride, grid.shared
    carried = grid.held + shared
    planes = 1 + (classes if probabilities else 0)
    in_flight = LOOKAHEAD_PER_THREAD * read_threads + 2
    strip = batch_size * stride + shared
    terms = [
        # One carry in use, one being written to the journal.
        (
            "carry: 2 · 4 B · (classes + 1) · (overlap lines + lines held for the presence below) · width",
            2 * 4 * (classes + 1) * carried * width,
        ),
        # A row being filled, one being written and one shown, with masks; pyramid lines in no chunk yet (all levels:
        # 2 ×), and what halving them takes where many labels meet.
        ("lines: 1 B · (6 · stride + 5 · stride per pyramid) · width", (6 + 5 * planes) * stride * width),
        ("pixels: 3 B · (read-ahead + 2) · batch · tile²", 2 * 3 * in_flight * batch_size * tile * tile),
        (
            "prediction, and two batches behind: 4 B · batch · (5 · classes + 3) · tile²",
            4 * batch_size * (5 * classes + 3) * tile * tile,
        ),
        ("blending: 4 B · 2 · (classes + 1) · tile · batch strip", 4 * 2 * (classes + 1) * tile * strip),
        ("overview and tissue mask: constant", OVERVIEW_SIDE * OVERVIEW_SIDE * 40),
        (
            "slide reader: decoded pieces of this file and one part of a level",
            reader_bytes + 3 * MAX_PIXELS_PER_READ,
        ),
    ]
    if cam_factor:
        carry = 2 * 4 * (classes + 1) * shared * width // cam_factor**2
        lines = 6 * classes * stride * width // cam_factor**2
        terms.append(("CAMs: carry and lines / factor²", carry + lines))
    return MemoryEstimate(tuple(terms))


def available_memory(cgroup: Path = _CGROUP, own: Path = _OWN_CGROUP) -> int:
    """Return the bytes that this process may still use: free memory, or what its container allows if less.

    Parameters
    ----------
    cgroup : Path
        Where the kernel shows control groups (version 2; of version 1, its memory controller).
    own : Path
        The file that names the group of this process.
    """
    free = int(psutil.virtual_memory().available)
    return max(0, min([free, *_left_in_groups(cgroup, own)]))


def _left_in_groups(cgroup: Path, own: Path) -> Iterator[int]:
    """Yield what each group that this process belongs to has left; a limit may be set at any height."""
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:  # no Linux
        return
    for _, controllers, path in (line for line in lines if len(line) == 3):
        if controllers not in ("", "memory"):
            continue
        root = cgroup / controllers
        names = _VERSION_1 if controllers else _VERSION_2
        # Inside a container the path may be the host's: then only the root is there.
        for group in {
            root,
            *(root / part for part in [Path(path.lstrip("/")), *Path(path.lstrip("/")).parents]),
        }:
            with contextlib.suppress(OSError, ValueError, KeyError):  # no such group, or no limit ("max")
                yield _left(group, *names)


def _left(group: Path, limit: str, used: str, inactive: str) -> int:
    """Return the bytes that a group has left."""
    statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    # Pages of files that nobody reads count as used until somebody needs the memory: then the kernel drops them.
    return int((group / limit).read_text()) - int((group / used).read_text()) + int(statistics[inactive])


def refuse_what_cannot_fit(needed: MemoryEstimate, available: int) -> None:
    """Raise when a run would not fit, before it starts.

    Raises
    ------
    RunTooLargeError
        With both figures and what to change.
    """
    if needed.total > available:
        raise RunTooLargeError(
            f"The run needs about {needed.total / 2**20:.0f} MB beside the model and {available / 2**20:.0f} MB "
            "are free; use a smaller --batch-size, --read-threads or --overlap, or leave out --probabilities."
        )
