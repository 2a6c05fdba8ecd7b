"""Small files that are either complete or absent, and reading that neither follows a trap nor waits for ever.

Names of temporary files are random and made exclusively: a link that somebody planted in a shared folder is never
written through.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from tiling.address import address_of, is_address
from tiling.errors import SlideError, StoreError, WsssError
from tiling.far import fetch

__all__ = [
    "LEFTOVERS",
    "MORE_MEMORY",
    "PASSING",
    "create_new",
    "expanded",
    "json_bytes",
    "lacks_memory",
    "limit_of",
    "machine_trouble",
    "open_own",
    "open_regular",
    "read_json",
    "read_regular",
    "refuse_address",
    "refuse_long_name",
    "refuse_special",
    "replacing",
    "sync",
    "sync_folder",
    "temporary_name",
    "unreadable",
    "write_json_atomic",
]

LEFTOVERS = ".wsss-*.tmp"
"""Pattern of temporary names: what a killed process left behind."""

_JSON_BYTES = 64 * 2**20
"""Longest JSON file that is read: a receipt of a thousand warnings has a hundredth of it."""


def _errnos(*names: str) -> frozenset[int]:
    return frozenset(getattr(errno, name) for name in names if hasattr(errno, name))


PASSING = _errnos(
    "EIO", "ESTALE", "ETIMEDOUT", "ECONNRESET", "EHOSTDOWN", "ENETDOWN", "ENETUNREACH", "EREMOTEIO"
)
"""Errors of disks and networks that may be gone at the next try."""

_MACHINE = PASSING | _errnos("EACCES", "EPERM", "EMFILE", "ENFILE", "ENOMEM")

MORE_MEMORY = "close other programs, or allow more (ulimit -v)"
"""What to do when there is not enough."""

_LIMITS = {
    errno.EMFILE: "allow more (ulimit -n)",
    errno.ENFILE: "allow more (ulimit -n)",
    errno.EFBIG: "allow larger ones (ulimit -f)",
}

_NO_MEMORY = (
    "can't start new thread",  # Python: there is no room for its stack
    "not enough memory",  # torch, and its "DefaultCPUAllocator: can't allocate memory"
    "allocate memory",
    "failed to map segment",  # of a library that is loaded
    "could not create a primitive",  # oneDNN
)

TOO_DEEP = "it is nested too deeply"
_DEEPEST = 200
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))

_NO_SYNC = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}

_ALWAYS = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


def temporary_name() -> str:
    """Return a name for a temporary file: short, as the final name may have all the length that a disk allows."""
    return LEFTOVERS.replace("*", secrets.token_hex(8))


def create_new(path: str | Path) -> int:
    """Create a file and return its descriptor, open for writing.

    Raises
    ------
    FileExistsError
        When there is anything of this name, a link included.
    OSError
        As the file system gives it.
    """
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK | _ALWAYS, 0o666)


def open_own(path: Path, mode: int = os.O_APPEND) -> int:
    """Open a file of ours for writing, made if it is missing, and return its descriptor; links are not followed.

    Parameters
    ----------
    path : Path
    mode : int
        Further flags of ``os.open``.

    Raises
    ------
    OSError
        As the file system gives it; ELOOP for a link.
    """
    return os.open(path, os.O_RDWR | os.O_CREAT | mode | _NO_LINK | _ALWAYS, 0o666)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing so that a kill at any moment leaves the old content or the new, never a part.

    Raises
    ------
    OSError
        As the file system gives it; the old content is untouched.
    """
    temporary = path.with_name(temporary_name())
    with open(temporary, "wb", opener=_exclusively) as file:
        try:
            yield file
            file.flush()
            sync(file.fileno())
            if os.name == "nt":  # where an open file cannot be renamed
                file.close()
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):  # what is left in its buffer may not fit the disk either
                file.close()
            temporary.unlink(missing_ok=True)
            raise
    sync_folder(path.parent)


def _exclusively(path: str, _flags: int) -> int:
    """Open as :func:`create_new` does; the flags of the mode say less."""
    return create_new(path)


def write_json_atomic(path: Path, data: Any) -> None:
    """Write JSON (as :func:`json_bytes` has it) atomically."""
    with replacing(path) as file:
        file.write(json_bytes(data))


def json_bytes(data: Any) -> bytes:
    """Return JSON in UTF-8: two-space indent, keys in the given order."""
    text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    # A file name that is no UTF-8 holds halves of surrogates, which JSON can say and UTF-8 cannot.
    return text.encode("utf-8", "backslashreplace")


@contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open an ordinary file to be read; a pipe or device, which could go on for ever, is refused.

    Raises
    ------
    OSError
        When it is missing, unreadable or no ordinary file.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _ALWAYS  # opening a pipe would wait for a writer
    descriptor = os.open(path, flags)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is not an ordinary file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)


def read_regular(path: Path, longest: int | None = None) -> bytes:
    """Return the bytes of an ordinary file.

    Raises
    ------
    OSError
        As :func:`open_regular`, or when it has more than ``longest`` bytes.
    """
    with open_regular(path) as file:
        if longest is not None and os.fstat(file.fileno()).st_size > longest:
            raise OSError(f"{path} has more than {longest:,} bytes")
        return file.read()


def machine_trouble(error: BaseException | None) -> str:
    """Return what the machine lacked when a file could not be read; empty where it is the file that is bad.

    Nobody shall be told to throw a result away because a disk was gone, or because too many files were open.

    Parameters
    ----------
    error : BaseException or None
        Libraries wrap what they met: its causes are looked at, too.
    """
    for found in _with_causes(error):
        if _lacks_memory(found):
            return "there is not enough memory"
        if isinstance(found, OSError) and found.errno in _MACHINE:
            where = f"{found.filename}: " if found.filename else ""
            more = limit_of(found)
            return f"{where}{found.strerror or found}{f'; {more}' if more else ''}"
    return ""


def lacks_memory(error: BaseException | None) -> bool:
    """Tell whether an error, or one that led to it, says that the machine gives no more memory."""
    return any(_lacks_memory(found) for found in _with_causes(error))


def limit_of(error: OSError) -> str:
    """Return what lifts the limit of a process that an error tells of; empty for other errors."""
    return _LIMITS.get(error.errno or 0, "")


def unreadable(path: Path, error: Exception, damaged: str) -> SlideError:
    """Return the error for a slide that a library could not read: what the machine lacked, or that it is damaged.

    Parameters
    ----------
    path : Path
        The slide.
    error : Exception
        What the library raised.
    damaged : str
        What is said where it is the file's fault.
    """
    trouble = machine_trouble(error)
    return SlideError(f"{path} cannot be read: {trouble}; mend that and try again." if trouble else damaged)


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _lacks_memory(error: BaseException) -> bool:
    """Tell it of one error: who starts threads, allocates tensors, loads libraries, maps files has words of its own."""
    if isinstance(error, RuntimeError | ImportError | OSError):
        return any(words in str(error).casefold() for words in _NO_MEMORY)
    return isinstance(error, MemoryError)


def refuse_special(path: Path) -> None:
    """Raise OSError for a pipe, which would be waited for, or a device, which never ends; missing files pass."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no ordinary file", str(path))


def _far(path: Path) -> bytes:
    try:
        found = fetch(path)
    except WsssError:
        raise
    except Exception as error:  # each library below has kinds of its own
        raise OSError(errno.EIO, (str(error).splitlines() or [type(error).__name__])[0][:200]) from error
    if found is None:
        raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
    return found


def read_json(path: Path) -> Any:
    """Read a JSON file, of this machine or behind an address.

    Raises
    ------
    ValueError
        When the file is not JSON in UTF-8, nested deeper than anything of ours, or holds a number without end.
    OSError
        As :func:`read_regular`; for an address, when it cannot be reached.
    """
    try:
        content = _far(path) if is_address(path) else read_regular(path, _JSON_BYTES)
        data = json.loads(content, parse_float=_bounded, parse_constant=_bounded)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    if nests_deeply(content):
        raise ValueError(TOO_DEEP)
    return data


def nests_deeply(content: bytes) -> bool:
    """Tell whether valid JSON is nested deeper than anything of ours; what Python itself reads depends on its version.

    In each round the innermost brackets go, so that one level is left less.
    """
    brackets = _STRING.sub(b"", content).translate(None, _NO_BRACKETS)
    for _ in range(_DEEPEST):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    return bool(brackets)


def _bounded(text: str) -> float:
    """Return a number that is not infinite: nothing of ours is, and whole numbers cannot be made of it."""
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:20]} is too large a number")
    return number


def sync(descriptor: int) -> None:
    """Wait until what was written is on the disk, where the file system can say so.

    Raises
    ------
    OSError
        When it could not be written; not where a network or user-space file system knows no fsync.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def sync_folder(folder: Path) -> None:
    """Make a rename durable; Windows cannot open folders and does not need it, nor can who may only write to one."""
    if os.name == "nt":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def expanded(path: str, kind: type[WsssError], what: str = "The path") -> Path:
    """Return a path that somebody wrote, with ``~`` and ``~name`` replaced by home folders.

    Parameters
    ----------
    path : str
    kind : type
        Of the error.
    what : str, optional
        Start of its sentence.

    Raises
    ------
    WsssError
        When there is no such user or no home, or the path holds a zero byte.
    """
    if "\0" in path:
        raise kind(f"{what} {path!r} holds a zero byte, which no file name can.")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise kind(
            f"{what} {path!r} names the home folder of a user who does not exist; write it out."
        ) from None


LONGEST_NAME = 240
"""Bytes of a store's name: file systems take 255, and locks and exports add their endings."""


def refuse_address(out: Path) -> None:
    """Refuse to write results over a network.

    Raises
    ------
    StoreError
        With the reason.
    """
    if is_address(out):
        raise StoreError(
            f"{address_of(out)} is an address, and results are written to a folder of this machine: only there can a "
            "run be locked, resumed and finished in one step; copy the folder when it is done."
        )


def refuse_long_name(out: Path) -> None:
    """Refuse a store's name that leaves no room for what stands beside it, and one that is an address.

    Raises
    ------
    StoreError
        With its length.
    """
    refuse_address(out)
    length = len(os.fsencode(out.name))
    if length > LONGEST_NAME:
        raise StoreError(
            f"The name {out.name[:40]}… is {length} bytes long, and file systems have room for {LONGEST_NAME}; "
            "give the slide a shorter slide_id in a manifest (columns slide_id,path)."
        )
