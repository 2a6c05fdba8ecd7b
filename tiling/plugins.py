"""What other installed packages add by entry points; a broken one is warned of by name and left out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import TypeVar

__all__ = ["installed"]

T = TypeVar("T")


def installed(group: str, kind: type[T], what: str) -> Iterator[T]:
    """Yield what entry points of a group lead to.

    Parameters
    ----------
    group : str
        For example ``napari_wsss.slide_formats``.
    kind : type
        What such an entry point must lead to.
    what : str
        What to call it in a warning: ``slide format``.

    Warns
    -----
    RuntimeWarning
        For each that cannot be loaded or is something else; nobody's slides wait for another's package.
    """
    for point in entry_points(group=group):
        try:
            found = point.load()
            if not isinstance(found, kind):
                raise TypeError(f"{point.value} is no {kind.__name__}")
        except Exception as error:  # noqa: BLE001  whatever another package raises when it is imported
            package = point.dist.name if point.dist is not None else "another package"
            warnings.warn(
                f"The {what} {point.name!r} of {package} cannot be used ({error}); mend or uninstall that package.",
                RuntimeWarning,
                stacklevel=3,
            )
        else:
            yield found
