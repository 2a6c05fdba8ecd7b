"""Loaded networks that wait for their next run: loading them takes seconds, keeping them some memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_wsss.models import Bundle

if TYPE_CHECKING:
    from napari_wsss.pipeline import Settings
    from napari_wsss.predictor import BundlePredictor

__all__ = ["NetworkShelf", "borrow_networks"]

Load = Callable[[Bundle, "Settings"], "BundlePredictor"]


def _load(bundle: Bundle, settings: Settings) -> BundlePredictor:
    from napari_wsss.pipeline import make_predictor

    return make_predictor(bundle, settings)


class NetworkShelf:
    """Lends loaded networks to one borrower at a time, and keeps those that came back last.

    Two borrowers at once get networks of their own: a queue holds its for hours, and networks are not made to be called
    from two threads. Only what was borrowed for a moment is waited for.

    Parameters
    ----------
    load : callable
        Loads the networks of a bundle for settings.
    """

    def __init__(self, load: Load = _load) -> None:
        self._load = load
        self._change = threading.Condition()
        self._kept: tuple[Bundle, str, BundlePredictor] | None = None
        self._soon_back: list[tuple[Bundle, str]] = []

    @contextmanager
    def borrow(
        self, bundle: Bundle, settings: Settings, *, briefly: bool = False
    ) -> Iterator[BundlePredictor]:
        """Lend the networks of a bundle, with the gate of the settings; loaded only when they are not here.

        Parameters
        ----------
        bundle : Bundle
        settings : Settings
            Device and gate are taken.
        briefly : bool
            They come back within moments: who wants the same ones waits rather than loads them a second time.

        Raises
        ------
        BundleError, DeviceError
        """
        wanted = (bundle, settings.device)
        with self._change:
            self._change.wait_for(lambda: wanted not in self._soon_back)
            kept, self._kept = self._kept, None  # another bundle's are let go before new ones are loaded
            if briefly:
                self._soon_back.append(wanted)
        predictor = kept[2] if kept is not None and kept[:2] == wanted else None
        del kept
        try:
            if predictor is None:
                predictor = self._load(bundle, settings)
            yield predictor.with_gate(settings.gate, settings.gate_threshold)
        finally:
            with self._change:
                if predictor is not None:
                    self._kept = (*wanted, predictor)
                if briefly:
                    self._soon_back.remove(wanted)
                self._change.notify_all()


borrow_networks = NetworkShelf().borrow
"""Of the one shelf of this process."""
