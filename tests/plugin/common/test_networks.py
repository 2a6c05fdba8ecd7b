from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from napari_wsss.pipeline import Settings
from napari_wsss.plugin.common.networks import NetworkShelf

CPU, GPU = Settings(device="cpu"), Settings(device="cuda")


class Networks:
    """Stands for loaded networks; ``gate`` is what they were lent with."""

    def __init__(self, bundle: str, gate: Any = None, root: Networks | None = None) -> None:
        self.bundle, self.gate, self.root = bundle, gate, root or self

    def with_gate(self, gate: bool, threshold: float | None) -> Networks:
        return Networks(self.bundle, (gate, threshold), self.root)


@pytest.fixture
def shelf() -> Any:
    loaded: list[str] = []

    def load(bundle: Any, settings: Settings) -> Any:
        if bundle == "broken":
            raise OSError
        loaded.append(bundle)
        return Networks(bundle)

    return SimpleNamespace(borrow=NetworkShelf(load).borrow, loaded=loaded)


def test_they_are_loaded_once_whatever_the_gate(shelf: Any) -> None:
    with shelf.borrow("a", CPU) as first:
        assert first.gate == (True, None)
    with shelf.borrow("a", Settings(device="cpu", gate=False, gate_threshold=0.3)) as second:
        assert second.gate == (False, 0.3)
        assert second.root is first.root
    assert shelf.loaded == ["a"]


@pytest.mark.parametrize("other", [("b", CPU), ("a", GPU)])
def test_others_take_their_place(shelf: Any, other: Any) -> None:
    for bundle, settings in (("a", CPU), other, ("a", CPU)):
        with shelf.borrow(bundle, settings):
            pass
    assert len(shelf.loaded) == 3


def test_two_borrowers_have_their_own_and_what_fails_is_not_kept(shelf: Any) -> None:
    with shelf.borrow("a", CPU) as first, shelf.borrow("a", CPU) as second:
        assert first.root is not second.root
    with pytest.raises(OSError), shelf.borrow("broken", CPU):
        pass
    with pytest.raises(ZeroDivisionError), shelf.borrow("a", CPU):
        raise ZeroDivisionError  # the borrower's own trouble: the networks are as good as before
    with shelf.borrow("a", CPU):
        pass
    assert shelf.loaded == ["a", "a", "a"]


def test_what_is_soon_back_is_waited_for(shelf: Any) -> None:
    got: list[Any] = []

    def run() -> None:
        with shelf.borrow("a", CPU) as networks:
            got.append(networks.root)

    with shelf.borrow("a", CPU, briefly=True) as first:
        thread = threading.Thread(target=run)
        thread.start()
        with shelf.borrow("b", CPU):  # others do not wait
            pass
        thread.join(0.2)
        assert not got
    thread.join(60)
    assert got == [first.root]
