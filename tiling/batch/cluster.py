"""Slides spread over processes and machines with Dask: one slide per task, a dead worker's slide goes to another."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiling.batch.isolated import RunOne
from tiling.batch.jobs import SlideJob
from tiling.batch.summary import SlideOutcome, Status
from tiling.errors import ClusterError

__all__ = ["DaskScheduler", "worker_number"]

GPU = "GPU"
"""Name of the Dask resource by which workers say how many GPUs they have (``--resources GPU=1``)."""

_LOOK_AGAIN_S = 2.0  # how often new workers of a growing cluster are noticed
_WAIT_FOR_SCHEDULER_S = 30


@dataclass(frozen=True)
class DaskScheduler:
    """A scheduler for :func:`tiling.batch.isolated.run_batch`.

    No worker has more than one slide waiting: when it dies, only the slide that it worked on is tried elsewhere.
    Dask gives a slide up after it has seen four workers die with it.

    Attributes
    ----------
    workers : int
        Processes to start on this machine, when there is no ``address``.
    address : str or None
        A running scheduler (``tcp://host:8786``), or the path of its scheduler file.
    gpu : bool
        Ask for workers with a GPU (resource ``GPU``); for an ``address`` only.
    """

    workers: int = 1
    address: str | None = None
    gpu: bool = False

    def __call__(self, run_one: RunOne, jobs: Sequence[SlideJob]) -> Iterator[SlideOutcome]:
        """Yield outcomes as slides finish, in any order.

        Raises
        ------
        ClusterError
            When Dask is missing or the scheduler does not answer.
        """
        try:
            dask: Any = importlib.import_module("distributed")
        except ImportError as error:
            raise ClusterError(
                "Spreading slides over processes needs Dask; install napari-wsss[cluster]."
            ) from error
        resources = {GPU: 1} if self.gpu and self.address else None
        waiting, running = deque(jobs), dict[Any, SlideJob]()
        with self._client(dask) as client:
            while waiting or running:
                free = max(1, sum(client.nthreads().values())) - len(running)
                for _ in range(min(free, len(waiting))):
                    job = waiting.popleft()
                    future = client.submit(run_one, job, pure=False, resources=resources)
                    running[future] = job
                try:
                    done = dask.wait(list(running), timeout=_LOOK_AGAIN_S, return_when="FIRST_COMPLETED").done
                except TimeoutError:
                    continue
                for future in done:
                    yield _outcome(future, running.pop(future))

    @contextmanager
    def _client(self, dask: Any) -> Iterator[Any]:
        with ExitStack() as stack:
            if self.address is None:
                threads = max(1, (os.cpu_count() or 1) // self.workers)
                # Dask itself sets one; a user's own setting wins.
                number = os.environ.get("OMP_NUM_THREADS", str(threads))
                settings = {
                    "distributed.nanny.pre-spawn-environ": {
                        "OMP_NUM_THREADS": number,
                        "MKL_NUM_THREADS": number,
                    },
                    "distributed.worker.profile.enabled": False,
                }
                config: Any = importlib.import_module("dask.config")
                stack.enter_context(config.set(settings))
                try:
                    with _children_ignore_interrupts():
                        cluster = dask.LocalCluster(
                            n_workers=self.workers,
                            threads_per_worker=1,
                            memory_limit=0,  # the engine keeps to its formula; Dask must not kill at a guess
                            dashboard_address=None,
                            silence_logs=logging.CRITICAL,
                        )
                except (OSError, RuntimeError) as error:  # no shared memory, no more processes, no port
                    raise ClusterError(
                        f"No worker processes can be started here ({error}); run without --workers."
                    ) from error
                yield stack.enter_context(dask.Client(stack.enter_context(cluster)))
                return
            try:
                key = "scheduler_file" if Path(self.address).is_file() else "address"
                client = dask.Client(**{key: self.address}, timeout=_WAIT_FOR_SCHEDULER_S)
            except (OSError, ValueError, TimeoutError) as error:
                raise ClusterError(
                    f"The Dask scheduler {self.address} cannot be reached: {error}."
                ) from error
            yield stack.enter_context(client)


@contextmanager
def _children_ignore_interrupts() -> Iterator[None]:
    """Start processes that leave Ctrl-C to this one: a terminal sends it to all, and each would print where it was.

    What is ignored here is ignored in processes started meanwhile; one that comes at this moment is lost.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is None:
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def worker_number() -> int | None:
    """Return the number of the local Dask worker that this code runs in, or None outside of one.

    Workers of one machine share its GPUs by this number.
    """
    try:
        from distributed import get_worker

        name = get_worker().name
    except (ImportError, ValueError):
        return None
    return int(name) if str(name).isdecimal() else None


def _outcome(future: Any, job: SlideJob) -> SlideOutcome:
    """Return what a task returned; a task that Dask gave up becomes a failed slide."""
    if future.status == "finished":
        outcome: SlideOutcome = future.result()
        return outcome
    error = future.exception() if future.status == "error" else future.status
    reason = type(error).__name__ if isinstance(error, BaseException) else str(error)
    advice = "run again to resume, with fewer workers if memory was short"
    sentence = f"Its worker was lost again and again ({reason}); {advice}."
    return SlideOutcome(job.slide_id, job.path, Status.FAILED, error=sentence, code=ClusterError.code)
