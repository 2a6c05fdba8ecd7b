"""The border of the command line: codes for programs, one sentence for people, nothing that drives a terminal."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from napari_wsss.cli import border

Call = Callable[..., Any]


def test_failing_json_commands_answer_with_the_code(
    wsss: Call, tmp_path: Path, slide: Path, bundle: Path
) -> None:
    answer = wsss("run", slide, "--model", bundle, "--out", tmp_path, "--region", "1,2", "--json")
    assert (answer.code, answer.json["code"]) == (2, "usage")
    missing = tmp_path / "nothing.svs"
    answer = wsss("run", missing, "--model", bundle, "--backend", "torch", "--out", tmp_path, "--json")
    assert [row["code"] for row in answer.json] == ["slide"]
    answer = wsss("run", tmp_path / "*.svs", "--model", bundle, "--out", tmp_path, "--json")
    assert (answer.code, answer.json["code"]) == (2, "slide-list")
    answer = wsss("info", tmp_path / "nothing.svs", "--json")
    assert (answer.code, answer.json["code"]) == (1, "slide")
    assert "nothing.svs" in answer.json["error"]


def test_verify_goes_on_whatever_a_store_is(wsss: Call, tmp_path: Path, finished: Path) -> None:
    good = Path(shutil.copytree(finished, tmp_path / "good.zarr"))
    (tmp_path / "loop.zarr").symlink_to(tmp_path / "loop.zarr")
    os.mkfifo(tmp_path / "pipe.zarr")
    no_utf8 = Path(shutil.copytree(finished, tmp_path / os.fsdecode(b"Pr\xe4parat.zarr")))
    (no_utf8 / "zarr.json").write_bytes(b"{")
    deep = Path(shutil.copytree(finished, tmp_path / "deep.zarr"))
    (deep / "receipt.json").write_text("[" * 100_000)
    longest = tmp_path / ("a" * 300)
    stores = (tmp_path / "loop.zarr", tmp_path / "pipe.zarr", no_utf8, deep, longest, good)
    answer = wsss("verify", *stores, "--json")
    assert answer.code == 1
    assert [row["ok"] for row in answer.json] == [False] * 5 + [True]
    assert all(row["problem"] and row["code"].startswith("store") for row in answer.json[:5])
    lines = wsss("verify", *stores).out.splitlines()
    assert [line[:3] for line in lines] == ["BAD"] * 5 + ["ok "]
    answer = wsss("verify", tmp_path, "--json")  # the folder of them
    assert [row["ok"] for row in answer.json].count(True) == 1


def test_a_line_break_in_a_name_does_not_split_the_output(wsss: Call, tmp_path: Path, finished: Path) -> None:
    store = Path(shutil.copytree(finished, tmp_path / "a\nb\x1b]0;title\x07.zarr"))
    answer = wsss("verify", store)
    assert answer.out == f"ok   {tmp_path}/a\\nb\\x1b]0;title\\x07.zarr\n"


@pytest.mark.parametrize(
    "name", ["labels/tissue/0/c/0/0", "labels/tissue/0/zarr.json", "receipt.json", "run.json"]
)
@pytest.mark.parametrize("damage", ["lost", "torn"])
def test_a_damaged_store_is_not_exported(
    wsss: Call, tmp_path: Path, finished: Path, name: str, damage: str
) -> None:
    store = Path(shutil.copytree(finished, tmp_path / "a.zarr"))
    if damage == "lost":
        (store / name).unlink()
    else:
        (store / name).write_bytes((store / name).read_bytes()[:-2])
    answer = wsss("export", store, "--csv", tmp_path / "a.csv", "--png", tmp_path / "a.png")
    assert answer.code == 1
    assert re.match(r"Error: .*a\.zarr.*\n$", answer.err)
    assert not (tmp_path / "a.csv").exists()


def test_whatever_the_file_system_says_is_one_sentence(wsss: Call, tmp_path: Path) -> None:
    answer = wsss("verify", "a" * 300)
    assert answer.code == 1
    for command in (["info"], ["export", "--csv", tmp_path / "x.csv"]):
        answer = wsss(*command, tmp_path / ("a" * 300))
        assert answer.code == 1
        assert answer.err.startswith("Error: ")
        assert answer.err.count("\n") == 1


def test_any_character_can_be_written_whatever_the_locale() -> None:
    text = "Präparat µ \udce4"
    program = (
        "from napari_wsss.cli import border; border.write_anywhere();"
        f"border.answer({text!a}); border.answer_json([{text!a}]); border.tell('\\xb5\\x1b')"
    )
    environment = {**os.environ, "LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=True, timeout=120
    )
    first, *rest = done.stdout.decode().splitlines()
    assert first.startswith("Pr")
    assert json.loads("".join(rest)) == [text]
    assert b"\x1b" not in done.stderr


def test_tell_keeps_lines_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    border.tell("one\ntwo\x1b[2J\r")
    assert capsys.readouterr().err == "one\ntwo\\x1b[2J\\r\n"
