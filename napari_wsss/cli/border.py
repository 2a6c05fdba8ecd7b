"""The border between errors and people: one sentence on standard error and the right exit code."""

from __future__ import annotations

import functools
import io
import json
import math
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec

import typer

from tiling.errors import RunTooLargeError, UsageProblem, WsssError
from tiling.files import MORE_MEMORY, lacks_memory
from tiling.untrusted import printable

__all__ = [
    "FAILED",
    "INTERRUPTED",
    "USAGE",
    "answer",
    "answer_json",
    "before_work",
    "bordered",
    "show_tracebacks",
    "tell",
    "write_anywhere",
]

FAILED, USAGE, INTERRUPTED = 1, 2, 130

P = ParamSpec("P")
_debug = False


def show_tracebacks() -> None:
    """Show the traceback of every error (``--debug``)."""
    global _debug
    _debug = True


def tell(message: str) -> None:
    """Write a message for people to standard error; nothing in it controls the terminal."""
    typer.echo("\n".join(printable(line) for line in message.split("\n")), err=True)


def answer(result: object) -> None:
    """Write one line of a result to standard output: a name with a line break in it stays one line."""
    typer.echo(printable(str(result)))


def answer_json(result: object) -> None:
    """Write a result as JSON to standard output."""
    text = json.dumps(result, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # a poor locale, or a name that is no UTF-8: JSON can say all of it in ASCII
        text = json.dumps(result, indent=2)
    typer.echo(text)


def write_anywhere() -> None:
    """Let the standard streams take any character, whatever the locale: what it lacks is written as an escape."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


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
        as_json = bool(kwargs.get("json"))
        try:
            for name, value in kwargs.items():
                # Some versions of Click take NaN for a number between any bounds.
                if isinstance(value, float) and math.isnan(value):
                    raise UsageProblem(f"--{name.replace('_', '-')} is no number: {value}.")
            code = command(*args, **kwargs) or 0
        except UsageProblem as error:
            code = _report(error, USAGE, as_json)
        except WsssError as error:
            code = _report(error, FAILED, as_json)
        except KeyboardInterrupt:
            tell("Interrupted.")
            code = INTERRUPTED
        except BrokenPipeError:
            # Whoever read our output has gone (`wsss-tile models | head`); Python must not fail on it again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = FAILED
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            problem = WsssError(
                f"{where}{error.strerror or error}; check the path, its name and its permissions."
            )
            problem.__cause__ = error
            code = _report(problem, FAILED, as_json)
        except (MemoryError, RuntimeError, ImportError) as error:
            if not lacks_memory(error):
                raise
            problem = RunTooLargeError(
                f"There is not enough memory; {MORE_MEMORY}, and run the command again."
            )
            problem.__cause__ = error
            code = _report(problem, FAILED, as_json)
        raise typer.Exit(code)

    return run


def _report(error: WsssError, code: int, as_json: bool) -> int:
    if _debug:
        traceback.print_exception(error)
    sentence = " ".join(str(error).split())
    tell(f"Error: {sentence}")
    if as_json:
        cause = error.__cause__ if isinstance(error.__cause__, WsssError) else error
        answer_json({"error": sentence, "code": cause.code})
    return code
