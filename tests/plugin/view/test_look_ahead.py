"""Tiles around the view are decoded while somebody moves it, in a thread that ends when nothing is wanted."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from napari_wsss.backends.courtesy import Hand
from napari_wsss.plugin.view import pyramid
from napari_wsss.plugin.view.look_ahead import LookAhead
from napari_wsss.plugin.view.pyramid import UNREADABLE, OpenSlide, SlideLevel
from tiling.byte_cache import ByteCache
from tiling.geometry import Box
from tiling.slides.readers.array import ArrayReader
from tiling.slides.slide import Slide

HERE = threading.get_ident


def finish(ahead: LookAhead) -> None:
    """Wait until nothing is wanted any more: there is one thread, and what comes last is done last."""
    ahead._thread.submit(int).result(60)
    assert not ahead._is_working


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Hand:
    hand = Hand(lambda: 0.0)
    monkeypatch.setattr(pyramid, "HAND", hand)
    monkeypatch.setattr(pyramid, "TILE", 16)
    return hand


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> Iterator[LookAhead]:
    ahead = LookAhead()
    monkeypatch.setattr(pyramid, "LOOK_AHEAD", ahead)
    yield ahead
    ahead.close()


def level_of(reader: ArrayReader) -> SlideLevel:
    return SlideLevel(OpenSlide(Slide(reader), ByteCache(10**6)), 0)


def noise(side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, (side, side, 3), dtype=np.uint8)


def test_the_next_step_of_a_move_decodes_nothing_in_the_thread_of_the_viewer(
    hand: Hand, ahead: LookAhead
) -> None:
    pixels = noise(96)
    reader = ArrayReader(pixels)
    level = level_of(reader)
    hand.note()
    level[32:64, 32:64]
    finish(ahead)
    assert len(reader.reads) == 16  # four that were asked for, and twelve around them
    hand._last = float("-inf")  # what is looked at below looks no further ahead
    np.testing.assert_array_equal(level[16:80, 16:80], pixels[16:80, 16:80])
    assert len(reader.reads) == 16
    level[0:16, 0:16]  # outside the ring, so that the count can tell
    assert len(reader.reads) == 17


def test_at_the_edge_there_is_nothing_beyond(hand: Hand, ahead: LookAhead) -> None:
    reader = ArrayReader(noise(40))
    level = level_of(reader)
    hand.note()
    level[0:40, 24:40]
    finish(ahead)
    assert len(reader.reads) == 9
    assert all(Box(0, 0, 40, 40).intersection(box) == box for _, box in reader.reads)


def test_while_nobody_moves_and_around_a_large_view_nothing_is_decoded(
    hand: Hand, ahead: LookAhead, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = ArrayReader(noise(96))
    level = level_of(reader)
    level[32:64, 32:64]
    hand.note()
    monkeypatch.setattr(pyramid, "MOST_AHEAD", 11)
    level[32:64, 32:64]
    finish(ahead)
    assert len(reader.reads) == 4


def test_an_unreadable_tile_is_said_when_it_comes_into_view(hand: Hand, ahead: LookAhead) -> None:
    level = level_of(ArrayReader(noise(64), fail_at=Box(20, 20, 2, 2)))
    hand.note()
    level[32:48, 32:48]  # a warning would be an error
    finish(ahead)
    with pytest.warns(UserWarning, match="mauve"):
        shown = level[16:32, 16:32]
    finish(ahead)
    assert (shown == UNREADABLE).all()


def test_what_was_wanted_before_and_has_not_begun_is_forgotten(ahead: LookAhead) -> None:
    begun, go_on = threading.Event(), threading.Event()
    called: list[str] = []
    threads: set[int] = set()

    def first() -> None:
        threads.add(HERE())
        begun.set()
        assert go_on.wait(60)

    ahead.want([first, lambda: called.append("old")])
    assert begun.wait(60)
    ahead.want([lambda: called.append("new"), lambda: threads.add(HERE())])
    go_on.set()
    finish(ahead)
    assert called == ["new"]
    ahead.want([lambda: called.append("once more"), lambda: threads.add(HERE())])
    finish(ahead)
    assert called == ["new", "once more"]
    assert len(threads) == 1  # the same one: starting one takes the viewer's time
    assert HERE() not in threads


def test_a_call_that_fails_is_logged_and_does_not_end_looking_ahead(
    ahead: LookAhead, caplog: pytest.LogCaptureFixture
) -> None:
    called: list[int] = []
    ahead.want([lambda: 1 // 0])
    finish(ahead)
    assert "ZeroDivisionError" in caplog.text
    ahead.want([lambda: called.append(1)])
    finish(ahead)
    assert called == [1]


def test_what_is_begun_when_all_is_closed_is_waited_for(ahead: LookAhead) -> None:
    begun, go_on = threading.Event(), threading.Event()
    called: list[str] = []

    def first() -> None:
        begun.set()
        assert go_on.wait(60)
        called.append("begun")

    ahead.want([first, lambda: called.append("not begun")])
    assert begun.wait(60)
    closing = threading.Thread(target=ahead.close)
    closing.start()
    go_on.set()
    closing.join(60)
    assert called[:1] == ["begun"]
