"""Completion, asked for as a shell asks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(sys.executable).parent
ENVIRONMENT = {**os.environ, "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"}


def _said(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**ENVIRONMENT, **environment}
    )


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("wsss-tile re", {"report"}),
        ("wsss-tile models ex", {"export"}),
        ("wsss-tile run --resta", {"--restart"}),
    ],
)
def test_bash_completes_commands_and_options(words: str, expected: set[str]) -> None:
    script = (
        'eval "$(wsss-tile completion bash)"; '
        f"COMP_WORDS=({words}); COMP_CWORD={len(words.split()) - 1}; _wsss_tile_completion wsss-tile; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = _said("bash", "--norc", "-c", script)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == expected


@pytest.mark.parametrize(
    ("shell", "word"),
    [("zsh", "compdef"), ("fish", "complete --command"), ("pwsh", "Register-ArgumentCompleter")],
)
def test_other_shells_get_theirs(shell: str, word: str) -> None:
    done = _said("wsss-tile", "completion", SHELL=f"/usr/bin/{shell}")
    assert (done.returncode, done.stderr) == (0, "")
    assert word in done.stdout
    assert "_WSSS_TILE_COMPLETE" in done.stdout


def test_an_unknown_shell_is_one_sentence() -> None:
    done = _said("wsss-tile", "completion", SHELL="/bin/csh")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "csh" in done.stderr
    assert "bash, zsh" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
