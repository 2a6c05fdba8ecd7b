"""Work in a thread of its own: results come out of a queue, cancelling closes the generator between two of them.

Plain Python: a widget polls :class:`Job` from a timer, a script from a loop.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any, Generic, Literal, TypeVar

from napari_wsss.backends import lower_priority

__all__ = ["Job", "Starter", "limit_compute_threads", "start_in_thread"]

_log = logging.getLogger(__name__)

T = TypeVar("T")
Outcome = Literal["finished", "cancelled", "failed"]


class Job(Generic[T]):
    """Iterates a generator of events in whatever thread calls :meth:`run`.

    Parameters
    ----------
    source : callable
        Makes the generator. It is called, iterated and closed in one thread.
    last : callable, optional
        What is done in that thread when the generator is closed, however it ended; it raises nothing.
    """

    def __init__(self, source: Callable[[], Generator[T]], last: Callable[[], object] | None = None) -> None:
        self._source = source
        self._last = last
        self._events: deque[T] = deque()
        self._cancel = threading.Event()
        self._ended = threading.Event()
        self._outcome: Outcome | None = None
        self._error: BaseException | None = None

    @property
    def is_cancelling(self) -> bool:
        """Whether :meth:`cancel` was called and the job has not ended yet."""
        return self._cancel.is_set() and not self._ended.is_set()

    @property
    def has_ended(self) -> bool:
        """Whether the generator is closed: the store is free, no more events will come."""
        return self._ended.is_set()

    @property
    def outcome(self) -> Outcome | None:
        """How the job ended; None while it goes on."""
        return self._outcome

    @property
    def error(self) -> BaseException | None:
        """What ended the job, when it failed."""
        return self._error

    def run(self) -> None:
        """Iterate to the end; never raises."""
        try:
            with closing(
                self._source()
            ) as events:  # closing may raise as well, and ends the job all the same
                for event in events:
                    self._events.append(event)
                    if self._cancel.is_set():
                        break
            self._outcome = "cancelled" if self._cancel.is_set() else "finished"
        except BaseException as error:  # noqa: BLE001 - whatever ends the run is shown in the panel
            self._error = error
            self._outcome = "failed"
            _log.info("the work failed", exc_info=error)
        finally:
            try:
                if self._last is not None:
                    self._last()
            finally:  # nobody waits for ever, whatever happens
                self._ended.set()

    def poll(self) -> list[T]:
        """Take the events that have come since the last call."""
        taken: list[T] = []
        while self._events:
            taken.append(self._events.popleft())
        return taken

    def cancel(self) -> None:
        """Ask the job to stop after the batch that is being computed; what is committed can be resumed."""
        self._cancel.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the job has ended; tell whether it has."""
        return self._ended.wait(timeout)


Starter = Callable[[Job[Any]], object]
"""Starts a job's :meth:`Job.run` in another thread."""

_RUNNING: weakref.WeakSet[Job[Any]] = weakref.WeakSet()
EXIT_SECONDS = 10.0
NICENESS = 5
"""Steps of priority by which work stays behind the viewer: of a core that both want, it gets a quarter."""


def start_in_thread(job: Job[Any]) -> None:
    """Run a job in a thread of plain Python.

    Not a Qt worker: its signals would outlive the application, and it swallows ``RuntimeError``, which torch raises.
    The thread is a daemon, so that a viewer closed in the middle of a batch can end; the job is cancelled first.
    """
    _RUNNING.add(job)
    threading.Thread(target=_run_behind, args=(job,), name="napari-wsss", daemon=True).start()


def _run_behind(job: Job[Any]) -> None:
    # Readers, writers and the networks' own pools inherit it, as far as this thread starts them.
    lower_priority(NICENESS)
    job.run()


@atexit.register
def cancel_all() -> None:
    """Cancel all jobs and wait for the batches in work: native code must not run while Python is taken down."""
    for job in list(_RUNNING):
        job.cancel()
    deadline = time.monotonic() + EXIT_SECONDS
    for job in list(_RUNNING):
        job.wait(max(0.0, deadline - time.monotonic()))


def limit_compute_threads() -> None:
    """Leave one core to the viewer: the network's threads would starve its event loop on a small machine.

    Affects the calling thread and those that torch starts for it.
    """
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))
