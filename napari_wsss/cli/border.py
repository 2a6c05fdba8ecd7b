"""The border between errors and people: one sentence on standard error and the right exit code."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec

import typer

from tiling.errors import WsssError

__all__ = [
    "FAILED",
    "INTERRUPTED",
    "USAGE",
    "UsageProblem",
    "before_work",
    "bordered",
    "show_tracebacks",
    "tell",
]

FAILED, USAGE, INTERRUPTED = 1, 2, 130

P = ParamSpec("P")
_debug = False


class UsageProblem(WsssError):
    """The command itself is wrong: nothing was started."""


def show_tracebacks() -> None:
    """Show the traceback of every error (``--debug``)."""
    global _debug
    _debug = True


def tell(message: str) -> None:
    """Write a message for people to standard error."""
    typer.echo(message, err=True)


@contextmanager
def before_work() -> Iterator[None]:
    """Turn errors of the preparation into usage problems: a wrong model or output folder starts nothing."""
    try:
        yield
    except WsssError as error:
        raise UsageProblem(str(error)) from error


def bordered(command: Callable[P, int | None]) -> Callable[P, None]:
    """Make a function a command: what it returns is the exit code, what it raises becomes a message and a code."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            code = command(*args, **kwargs) or 0
        except UsageProblem as error:
            code = _report(error, USAGE)
        except WsssError as error:
            code = _report(error, FAILED)
        except KeyboardInterrupt:
            tell("Interrupted.")
            code = INTERRUPTED
        except BrokenPipeError:
            # Whoever read our output has gone (`wsss-tile models | head`); Python must not fail on it again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = FAILED
        raise typer.Exit(code)

    return run


def _report(error: WsssError, code: int) -> int:
    if _debug:
        traceback.print_exception(error)
    tell(f"Error: {' '.join(str(error).split())}")
    return code
