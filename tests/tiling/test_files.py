"""Files of ours: whole or absent, never written through a planted link, never waited for."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from pathlib import Path

import pytest

from tiling import files
from tiling.files import (
    create_new,
    machine_trouble,
    open_own,
    read_json,
    read_regular,
    replacing,
    write_json_atomic,
)

needs_links = pytest.mark.skipif(os.name == "nt", reason="needs symbolic links")


def test_a_failed_replacement_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as file:  # noqa: PT012
        file.write(b"half of the n")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@needs_links
def test_a_planted_link_is_never_written_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    monkeypatch.setattr(files, "temporary_name", lambda: "known")  # the worst case: the name is guessed
    (tmp_path / "known").symlink_to(victim)
    with pytest.raises(FileExistsError), replacing(tmp_path / "a.json"):
        pass
    with pytest.raises(FileExistsError):
        create_new(tmp_path / "known")
    with pytest.raises(OSError, match="symbolic links"):
        open_own(tmp_path / "known")
    assert victim.read_text() == "precious"
    assert (tmp_path / "known").is_symlink()


@needs_links
def test_a_link_of_the_final_name_is_replaced_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "a.json").symlink_to(victim)
    write_json_atomic(tmp_path / "a.json", [1])
    assert victim.read_text() == "precious"
    assert read_json(tmp_path / "a.json") == [1]
    assert not (tmp_path / "a.json").is_symlink()


def test_temporary_names_fit_beside_the_longest_name(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 250 + ".json")
    write_json_atomic(path, {})
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero", "."):
        with pytest.raises(OSError, match=r"ordinary file|directory"):
            read_regular(tmp_path / name)


def test_a_file_of_absurd_length_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(OSError, match="more than"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe\x00", b"1" * 5000, b"[1e999]", b"[-Infinity]"],
)
def test_whatever_is_no_json_is_one_kind_of_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"."):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("text", "is_read"),
    [
        ('{"a": ' * 150 + "1" + "}" * 150, True),
        ('[{"a": ' * 300 + "1" + "}]" * 300, False),
        ("[" * 900 + "]" * 900, False),
        ('{"a": "' + "[" * 5000 + '\\"' + '"}', True),
    ],
)
def test_how_deep_json_may_be_depends_on_no_version_of_python(
    tmp_path: Path, text: str, is_read: bool
) -> None:
    (tmp_path / "a.json").write_text(text)
    with contextlib.nullcontext() if is_read else pytest.raises(ValueError, match="nested too deeply"):
        assert read_json(tmp_path / "a.json") == json.loads(text)


def test_names_that_are_no_utf8_survive_json(tmp_path: Path) -> None:
    write_json_atomic(tmp_path / "a.json", {"name": "Pr\udce4parat µ"})
    assert read_json(tmp_path / "a.json") == {"name": "Pr\udce4parat µ"}
    assert json.loads((tmp_path / "a.json").read_bytes())


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files; allow more (ulimit -n)"),
        (OSError(errno.ESTALE, "Stale file handle", "a/b"), "a/b: Stale file handle"),
        (MemoryError(), "there is not enough memory"),
        (OSError("Cannot allocate memory (os error 12)"), "there is not enough memory"),
        (RuntimeError("can't start new thread"), "there is not enough memory"),
        (RuntimeError("could not create a primitive"), "there is not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "there is not enough memory"),
        (ImportError("a.so: failed to map segment from shared object"), "there is not enough memory"),
        (ImportError("No module named 'a'"), ""),
        (FileNotFoundError(errno.ENOENT, "no such file"), ""),
        (ValueError("bad magic"), ""),
    ],
)
def test_what_the_machine_lacks_is_told_from_a_bad_file(error: Exception, said: str) -> None:
    wrapped = RuntimeError("of a library")
    wrapped.__cause__ = error
    assert machine_trouble(error) == machine_trouble(wrapped) == said


@pytest.mark.parametrize(
    ("number", "is_told"), [(errno.EINVAL, False), (errno.EIO, True), (errno.ENOSPC, True)]
)
def test_disks_that_know_no_sync_are_used_and_failing_ones_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, is_told: bool
) -> None:
    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    expected = pytest.raises(OSError) if is_told else contextlib.nullcontext()
    with expected:
        write_json_atomic(tmp_path / "a.json", 1)
    assert (tmp_path / "a.json").exists() is not is_told
