"""The newest wish wins: work is put off while wishes keep coming, runs one at a time, and stale results are dropped."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Debouncer"]


class Debouncer:
    """Decides when to work; it does not work itself.

    Parameters
    ----------
    quiet_seconds : float
        Work starts this long after the last wish.
    at_most_seconds : float
        Wishes that never pause do not put it off for longer than this.
    clock : callable
        Seconds, never going back.
    """

    def __init__(self, quiet_seconds: float, at_most_seconds: float, clock: Callable[[], float]) -> None:
        self._quiet = quiet_seconds
        self._at_most = at_most_seconds
        self._clock = clock
        self._first: float | None = None  # of the wishes that nobody works on yet
        self._last = 0.0
        self._wished = 0
        self._working_on: int | None = None

    @property
    def is_stale(self) -> bool:
        """Whether something was wished since the work in hand began."""
        return self._first is not None

    def wish(self, *, at_once: bool = False) -> None:
        """Ask for work; ``at_once`` does not wait for a pause."""
        now = self._clock()
        self._wished += 1
        self._last = now if not at_once else float("-inf")
        if self._first is None:
            self._first = now

    def take(self) -> bool:
        """Tell whether work begins now; the caller gives it back with :meth:`done`."""
        if self._first is None or self._working_on is not None:
            return False
        now = self._clock()
        if now - self._last < self._quiet and now - self._first < self._at_most:
            return False
        self._first, self._working_on = None, self._wished
        return True

    def done(self) -> bool:
        """Give the work back; tell whether its result is still what was last wished."""
        fresh = self._working_on == self._wished
        self._working_on = None
        return fresh

    def forget(self) -> None:
        """Drop all wishes and the work in hand (the project was closed)."""
        self._first, self._working_on = None, None
        self._wished += 1
