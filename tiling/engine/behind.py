"""Blending one batch behind: a thread assembles rows while the caller's thread predicts the next tiles."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from tiling.engine.assemble import RowAssembler
from tiling.engine.commit import FinishedRow
from tiling.engine.predictor import Prediction
from tiling.engine.read_ahead import BatchPixels

__all__ = ["BlendBehind"]

_WAITING = 1
"""Batches that may wait while one is blended: more would only take memory."""


class BlendBehind:
    """Does what a :class:`~tiling.engine.assemble.RowAssembler` does, in a thread of its own and in the same order.

    A context manager: leaving it waits for what was handed over. Networks let the interpreter go while they work, so
    that neither a GPU nor the cores of a processor wait for the blending.

    Parameters
    ----------
    assembler : RowAssembler
        Used by nobody else until the end.
    """

    def __init__(self, assembler: RowAssembler) -> None:
        self._assembler = assembler
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="wsss-blend")
        self._waiting: deque[Future[FinishedRow | None]] = deque()

    def __enter__(self) -> BlendBehind:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def begin(self, row: int) -> None:
        """Start a row after the one before."""
        self._waiting.append(self._pool.submit(self._assembler.begin, row))

    def add(self, tiles: BatchPixels, prediction: Prediction) -> None:
        """Add a predicted batch of the row.

        An error of the blending is raised by a later :meth:`finished`.
        """
        self._waiting.append(
            self._pool.submit(self._assembler.add, tiles.batch, prediction, tiles.unreadable, tiles.doubts)
        )

    def finish(self) -> None:
        """End the row; what it became is among the :meth:`finished`."""
        self._waiting.append(self._pool.submit(self._assembler.finish))

    def finished(self, *, all_of_them: bool = False) -> Iterator[FinishedRow]:
        """Yield the rows that are done; wait while more than one batch is waiting, or for all that was handed over.

        Raises
        ------
        PredictionError
            See :meth:`~tiling.engine.assemble.RowAssembler.add`.
        """
        while self._waiting:
            first = self._waiting[0]
            if not (all_of_them or len(self._waiting) > 1 + _WAITING or first.done()):
                return
            row = self._waiting.popleft().result()
            if row is not None:
                yield row
