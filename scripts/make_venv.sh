#!/bin/sh
# Make a virtual environment with pip in it: scripts/make_venv.sh DIR
#
# A fresh Debian or Ubuntu has python3 without ensurepip (that is in python3-venv) and perhaps without pip, so several
# ways are tried, those that leave the machine as it is first. PYTHON names the interpreter to use; without it the first
# one that is new enough is taken.
set -eu

target=$1
oldest=11 # the minor version of `requires-python` in pyproject.toml

say() { printf '%s\n' "$*" >&2; }

new_enough() { "$1" -c "import sys; raise SystemExit(sys.version_info < (3, $oldest))" >/dev/null 2>&1; }

find_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14 python}; do
        if new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    if [ -n "${PYTHON:-}" ]; then
        say "PYTHON=$PYTHON is not a Python 3.$oldest or newer: name one that is, or leave PYTHON away."
    else
        say "No Python 3.$oldest or newer was found: install one (Debian 12 or Ubuntu 24.04 and later:" \
            "sudo apt-get install python3 python3-venv) or name it with make PYTHON=/path/to/python3.$oldest."
    fi
    exit 1
}

works() { "$target/bin/python" -m pip --version >/dev/null 2>&1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        return 1
    fi
}

with_venv() { "$python" -c 'import ensurepip' >/dev/null 2>&1 && "$python" -m venv "$target"; }

with_uv() { command -v uv >/dev/null 2>&1 && uv venv --quiet --seed --python "$python" "$target"; }

with_virtualenv() { "$python" -m virtualenv --quiet "$target"; }

# pip may be there where ensurepip is not; --target keeps its hands off the system's packages.
with_borrowed_virtualenv() {
    "$python" -m pip --version >/dev/null 2>&1 || return 1
    borrowed=$(mktemp -d)
    "$python" -m pip install --quiet --target "$borrowed" virtualenv &&
        PYTHONPATH=$borrowed "$python" -m virtualenv --quiet "$target"
    status=$?
    rm -rf "$borrowed"
    return $status
}

with_apt() {
    command -v apt-get >/dev/null 2>&1 || return 1
    as_root true || return 1
    version=$("$python" -c 'import sys; print("python3.%d" % sys.version_info[1])')
    as_root apt-get update -qq || true # an old list may still do
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$version-venv" &&
        with_venv
}

works && exit 0
python=$(find_python)
for way in with_venv with_uv with_virtualenv with_borrowed_virtualenv with_apt; do
    rm -rf "$target"
    if $way >/dev/null 2>&1 && works; then
        say "made $target with $("$python" --version) ($way)"
        exit 0
    fi
done
rm -rf "$target"
say "$python can make no virtual environment here: run 'sudo apt-get install python3-venv' and then the same make command again."
exit 1
