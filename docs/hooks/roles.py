"""Griffe extension: cross references of docstrings in reST (``:func:``) become code that Markdown understands."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:func|class|meth|mod|data|attr|exc):`(~?)([\w.]+)`")


def _link(match: re.Match[str]) -> str:
    short = match[2].rpartition(".")[2] if match[1] else match[2]
    return f"`{short}`"


class Roles(griffe.Extension):
    """Rewrites every docstring once, when it is loaded."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Replace roles by code."""
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub(_link, obj.docstring.value)
