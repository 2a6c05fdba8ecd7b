"""Completion of commands and options in a shell: the script that asks `wsss-tile` itself."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import PurePath

from tiling.errors import UsageProblem

__all__ = ["COMPLETE", "Shell", "completion_script"]

COMPLETE = "_WSSS_TILE_COMPLETE"
"""The environment variable by which a shell asks for completions instead of running a command."""


class Shell(StrEnum):
    """A shell that can complete."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    POWERSHELL = "powershell"
    PWSH = "pwsh"


def completion_script(shell: str | None) -> str:
    """Return what a shell reads to complete `wsss-tile`; of the shell in ``$SHELL`` when none is named.

    Raises
    ------
    UsageProblem
        When ``$SHELL`` names none that is known.
    """
    from typer.completion import get_completion_script

    found = shell or PurePath(os.environ.get("SHELL", "")).stem
    if found not in set(Shell):
        known = ", ".join(Shell)
        raise UsageProblem(f"The shell {found or '$SHELL'!r} is not known; name one of: {known}.")
    return str(get_completion_script(prog_name="wsss-tile", complete_var=COMPLETE, shell=found))
