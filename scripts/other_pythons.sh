#!/usr/bin/env bash
# The whole suite under other interpreters and under the lowest versions that pyproject.toml allows.
#
#   scripts/other_pythons.sh 3.12 3.13     # the newest of everything, under these
#   scripts/other_pythons.sh lowest        # the lowest of what the engine and the command line need, under Python 3.11
#   scripts/other_pythons.sh lowest-all    # the same with napari and all extras that have tests
#   TESTS="tests/tiling -m 'not slow'" scripts/other_pythons.sh 3.13    # what pytest shall run, instead of all
#   WORKERS=1 …                            # processes that share the tests (default 2)
#
# Environments go to build/python-NAME and are kept. Needs uv (pip install uv); interpreters are those on the PATH or of
# pyenv, none is downloaded. Tests with windows run where Xvfb is (scripts/gui_packages.sh), and are left out elsewhere.
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

all=".[napari,train,openvino,onnx,cluster,geopandas,remote]"
server="tests/tiling tests/cli tests/models tests/pipeline tests/project tests/fuzz"

interpreter() { # of a version
    for found in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python; do
        "$found" -c pass >/dev/null 2>&1 && { command -v "$found"; return; }
    done
    echo "There is no Python $1 on this machine." >&2
    return 1
}

failed=()
for name in "$@"; do
    case $name in lowest*) version=3.11 order=lowest-direct ;; *) version=$name order=highest ;; esac
    python=build/python-$name/bin/python
    [ -x "$python" ] || uv venv --quiet --seed --python "$(interpreter "$version")" "build/python-$name"
    # Compiled once, as pip does it: programs that tests start would compile their libraries again each time.
    install=(uv pip install --quiet --compile-bytecode --python "$python" --resolution "$order")
    options=(-q -p no:cacheprovider --numprocesses "${WORKERS:-2}" --dist worksteal)
    # What an old release calls of a newer one of another library, which has deprecated it, is no news of ours.
    [ "$order" = highest ] || options+=(-W ignore::DeprecationWarning)
    if [ "$name" = lowest ]; then # as on a server: no napari, no training
        tools="click>=8.2 pytest>=8 hypothesis>=6.100 scikit-image>=0.22 pytest-xdist>=3.6"
        # shellcheck disable=SC2086
        "${install[@]}" --editable . $tools
        tests=${TESTS:-$server}
    else
        "${install[@]}" --group test --editable "$all"
        tests=${TESTS:-}
        if command -v Xvfb >/dev/null; then export WSSS_REQUIRE_GUI=1; else options+=(-m "not gui"); fi
    fi
    echo "== $name: $("$python" --version)"
    eval "chosen=($tests)"
    "$python" -m pytest "${options[@]}" "${chosen[@]}" || failed+=("$name")
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "failed under: ${failed[*]}" >&2
    exit 1
fi
