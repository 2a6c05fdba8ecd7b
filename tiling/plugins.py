"""What other installed packages add by entry points; a broken one is warned of by name and left out.

Each of them has a name by which it is known, and ours go before one of the same name.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Collection
from importlib.metadata import entry_points
from typing import Any, Protocol, TypeVar

__all__ = ["loaded", "others"]


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_N = TypeVar("_N", bound=_Named)


def loaded(function: Callable[..., Any] | str) -> Callable[..., Any]:
    """Return a function, or what ``module:name`` names: a module is loaded when it is first needed."""
    if not isinstance(function, str):
        return function
    module, name = function.split(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def others(group: str, kind: type[_N], what: str, own: Collection[str]) -> dict[str, _N]:
    """Return what entry points of a group lead to, by name.

    Parameters
    ----------
    group : str
        For example ``napari_wsss.slide_formats``.
    kind : type
        What such an entry point must lead to.
    what : str
        What to call it in a warning: ``slide format``.
    own : collection of str
        Names that are ours.

    Warns
    -----
    RuntimeWarning
        For each that cannot be loaded, is something else, or has a name that is taken; nobody's slides wait for
        another's package.
    """
    found: dict[str, _N] = {}
    for point in entry_points(group=group):
        try:
            each = point.load()
            if not isinstance(each, kind):
                raise TypeError(f"{point.value} is no {kind.__name__}")
            if each.name in own or each.name in found:
                raise ValueError(f"the name {each.name!r} is taken")
        except Exception as error:  # noqa: BLE001  whatever another package raises when it is imported
            package = point.dist.name if point.dist is not None else "another package"
            warnings.warn(
                f"The {what} {point.name!r} of {package} cannot be used ({error}); mend or uninstall that package.",
                RuntimeWarning,
                stacklevel=4,
            )
        else:
            found[each.name] = each
    return found
