from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from napari_wsss.plugin.common.job import NICENESS, Job, limit_compute_threads, start_in_thread
from tiling.engine.events import Event, TilesDone


def event(n: int) -> TilesDone:
    return TilesDone(0, (n,), n, 100)


def test_events_come_in_order_and_the_job_finishes() -> None:
    def source() -> Generator[Event]:
        yield from map(event, range(5))

    job = Job(source)
    start_in_thread(job)
    assert job.wait(60)
    assert [e.done for e in job.poll()] == [0, 1, 2, 3, 4]
    assert job.poll() == []
    assert job.outcome == "finished"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere priorities are not asked for")
def test_work_is_done_where_priorities_may_not_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: int) -> None:
        raise PermissionError("not in this sandbox")

    monkeypatch.setattr(os, "setpriority", forbidden)
    job = Job(lambda: (n for n in range(2)))
    start_in_thread(job)
    assert job.wait(60)
    assert job.poll() == [0, 1]


def test_cancelling_closes_the_generator_in_its_own_thread() -> None:
    closed_in: list[int] = []
    started_in: list[int] = []

    def source() -> Generator[Event]:
        started_in.append(threading.get_ident())
        try:
            for n in range(100_000):  # longer than any test machine stands still
                yield event(n)
                time.sleep(0.001)
        finally:
            closed_in.append(threading.get_ident())

    job = Job(source)
    start_in_thread(job)
    while not job.poll():
        time.sleep(0.001)
    job.cancel()
    assert job.is_cancelling or job.has_ended
    assert job.wait(60)
    assert job.outcome == "cancelled"
    assert closed_in == started_in != [threading.get_ident()]
    assert not job.is_cancelling


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), ValueError("bad"), KeyboardInterrupt()])
def test_no_error_is_lost(error: BaseException) -> None:
    def source() -> Generator[Event]:
        yield event(1)
        raise error

    job = Job(source)
    job.run()
    assert job.outcome == "failed"
    assert job.error is error
    assert len(job.poll()) == 1


def test_an_error_before_the_first_event() -> None:
    def source() -> Generator[Event]:
        raise ValueError("no such bundle")

    job = Job(source)
    job.run()
    assert (job.outcome, str(job.error)) == ("failed", "no such bundle")


def test_a_run_leaves_one_core_to_the_viewer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, banded_slide: Path
) -> None:
    import torch

    from napari_wsss.plugin.common.preferences import Preferences
    from napari_wsss.plugin.segment.request import RunRequest

    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    for cores in (1, 2, 8):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        limit_compute_threads()
    assert threads == [1, 1, 7]
    # The run itself asks for it, in its own thread.
    monkeypatch.setattr("napari_wsss.pipeline.segment_events", lambda *_, **__: iter(()))
    monkeypatch.setattr("napari_wsss.plugin.segment.request.borrow_networks", lambda *_: nullcontext())
    bundle: Any = None
    list(RunRequest(banded_slide, bundle, tmp_path, None, None, None, Preferences()).events())
    assert threads == [1, 1, 7, 7]


def test_a_job_ends_though_closing_it_fails() -> None:
    """Review 11: the panel said "Cancelling…" for ever."""

    def events() -> Generator[int]:
        try:
            while True:
                yield 1
        finally:
            raise OSError("the disk has gone")

    job = Job(events)
    job.cancel()
    job.run()
    assert job.has_ended
    assert job.outcome == "failed"
    assert "the disk has gone" in str(job.error)


@pytest.mark.parametrize("error", [None, ValueError("bad")])
def test_what_is_done_last_is_done_in_the_same_thread_before_the_end(error: Exception | None) -> None:
    told: list[tuple[str, int, bool]] = []

    def note(what: str) -> None:
        told.append((what, threading.get_ident(), job.has_ended))

    def source() -> Generator[Event]:
        try:
            yield event(1)
            if error is not None:
                raise error
        finally:
            note("closed")

    job = Job(source, lambda: note("last"))
    start_in_thread(job)
    assert job.wait(60)
    assert [what for what, _, _ in told] == ["closed", "last"]
    assert len({thread for _, thread, _ in told}) == 1
    assert not any(ended for _, _, ended in told)
    assert job.error is error


@pytest.mark.skipif(sys.platform != "linux", reason="priorities belong to threads on Linux only")
def test_work_and_the_threads_that_it_starts_stay_behind_the_viewer() -> None:
    def levels() -> Generator[int]:
        yield os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        with ThreadPoolExecutor(1) as pool:
            yield pool.submit(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())).result()

    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    job = Job(levels)
    start_in_thread(job)
    assert job.wait(60)
    assert job.poll() == [min(19, before + NICENESS)] * 2
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
