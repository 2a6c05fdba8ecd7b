#!/usr/bin/env bash
# The fast tests under other interpreters and under the lowest versions that pyproject.toml allows.
#
#   scripts/other_pythons.sh 3.12 3.13     # the newest of everything, under these
#   scripts/other_pythons.sh lowest        # the lowest of what the engine and the command line need, under Python 3.11
#   scripts/other_pythons.sh lowest-all    # the same with napari and all extras that have tests
#   TESTS="tests/tiling" scripts/other_pythons.sh 3.13
#
# Environments go to build/python-NAME and are kept. Needs uv (pip install uv); interpreters are those on the PATH or of
# pyenv, none is downloaded. Tests that need a display are left out.
set -euo pipefail
cd "$(dirname "$0")/.."

all=".[napari,train,openvino,onnx,cluster,geopandas,remote]"

interpreter() { # of a version
    for found in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python; do
        "$found" -c pass >/dev/null 2>&1 && { command -v "$found"; return; }
    done
    echo "There is no Python $1 on this machine." >&2
    return 1
}

for name in "$@"; do
    case $name in lowest*) version=3.11 order=lowest-direct ;; *) version=$name order=highest ;; esac
    python=build/python-$name/bin/python
    tests=${TESTS:-}
    [ -x "$python" ] || uv venv --quiet --seed --python "$(interpreter "$version")" "build/python-$name"
    if [ "$name" = lowest ]; then # as on a server: no napari, no training
        tools="pytest>=8 hypothesis>=6.100 scikit-image>=0.22"
        # shellcheck disable=SC2086
        uv pip install --quiet --python "$python" --resolution "$order" --editable . $tools
        tests=${tests:-tests/tiling tests/cli tests/models tests/pipeline tests/project}
    else
        uv pip install --quiet --python "$python" --resolution "$order" --group test --editable "$all"
    fi
    echo "== $name: $("$python" --version)"
    # shellcheck disable=SC2086
    "$python" -m pytest -q -p no:cacheprovider -m "not slow and not gui" $tests
done
