"""The project's own files: what is declared, what is built, and that the pieces agree with one another."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import napari_wsss

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT: dict[str, Any] = PYPROJECT["project"]
PACKAGES = ("tiling", "napari_wsss", "training")
LOOKED_FOR = {"pytest"}
"""Imported when a user has it, with a word of advice when not; no extra of ours."""
NOT_IN_CI = {"timm", "anndata", "spatialdata"}
"""torchvision, of timm, does not go with every build of torch; spatialdata holds pandas and dask back. Tests put small
stand-ins in their places."""
QT_BINDINGS = {"pyqt5", "pyqt6", "pyside2", "pyside6", "pyside6-essentials", "qtpy"}


def _requirements(texts: list[str]) -> list[Requirement]:
    return [Requirement(text) for text in texts]


def _constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pins}


def test_servers_get_neither_qt_nor_napari() -> None:
    names = {canonicalize_name(r.name) for r in _requirements(PROJECT["dependencies"])}
    assert not names & QT_BINDINGS
    assert "napari" not in names


def test_only_the_extra_all_chooses_a_qt_binding() -> None:
    """A user's napari brings its own binding; a second one beside it breaks the first."""
    for extra, texts in PROJECT["optional-dependencies"].items():
        if extra == "all":
            continue
        requirements = _requirements(texts)
        assert not {canonicalize_name(r.name) for r in requirements} & (QT_BINDINGS - {"qtpy"}), extra
        assert not [r for r in requirements if r.name == "napari" and r.extras], extra


def _third_party(modules: Iterable[Path], outermost_only: bool = False) -> set[str]:
    """Top-level names that modules import and that are neither ours nor Python's."""
    names: set[str] = set()
    for path in modules:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body if outermost_only else ast.walk(tree):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(str(node.module).partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"tiling", "napari_wsss", "training"}


def _distributions(*groups: str) -> set[str]:
    texts = list(PROJECT["dependencies"])
    for group in groups:
        texts += PROJECT["optional-dependencies"][group]
    return {canonicalize_name(r.name) for r in _requirements(texts)}


@cache
def _providers() -> Mapping[str, list[str]]:
    """Who brings which name: read once, as it looks into every installed package."""
    return packages_distributions()


def _undeclared(imported: set[str], declared: set[str]) -> set[str]:
    providers = _providers()
    return {
        name
        for name in imported
        if not {canonicalize_name(d) for d in providers.get(name, [name])} & declared
    }


def test_what_the_packages_import_is_declared() -> None:
    """Not merely there because something else brought it."""
    everything = _distributions(*(e for e in PROJECT["optional-dependencies"] if e != "all"))
    imported = _third_party(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))
    assert not _undeclared(imported, everything | LOOKED_FOR)


def test_the_base_runs_without_extras() -> None:
    """What a module imports at its top is there after a plain install; extras are imported when used."""
    base = _distributions()
    modules = [*(ROOT / "tiling").rglob("*.py"), *(ROOT / "napari_wsss").rglob("*.py")]
    for path in modules:
        if "plugin" in path.parts or path.name == "contract.py":  # for a napari, and for tests
            continue
        assert not _undeclared(_third_party([path], outermost_only=True), base), path


def test_torch_stays_open_and_is_pinned_where_we_test() -> None:
    [torch] = [r for r in _requirements(PROJECT["dependencies"]) if r.name == "torch"]
    assert str(torch.specifier) == ">=2.6"
    assert torch.specifier.contains(_constraints()["torch"])


def test_everything_declared_is_pinned_for_ci() -> None:
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    groups += list(PYPROJECT["dependency-groups"].values())
    pins = _constraints()
    for requirement in _requirements([text for group in groups for text in group]):
        name = canonicalize_name(requirement.name)
        if name == "napari-wsss" or name in NOT_IN_CI:
            continue
        assert name in pins, f"{name} has no pin in constraints.txt: run make constraints"
        assert requirement.specifier.contains(pins[name]), f"{requirement} is pinned to {pins[name]}"


def test_the_version_has_one_home() -> None:
    assert PROJECT["dynamic"] == ["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == napari_wsss.__version__
    assert citation["license"] == PROJECT["license"]


def test_the_root_manifest_is_the_packages_own() -> None:
    """npe2 finds the one inside the package; the root one is for people who look for it there."""
    root, packaged = ROOT / "napari.yaml", ROOT / "napari_wsss" / "napari.yaml"
    assert root.is_symlink()
    assert root.resolve() == packaged
    manifest = yaml.safe_load(packaged.read_text(encoding="utf-8"))
    assert manifest["name"] == PROJECT["name"]


def test_entry_points_lead_somewhere() -> None:
    assert PROJECT["scripts"]["wsss-tile"] == "napari_wsss.cli:main"
    module, _, file = PROJECT["entry-points"]["napari.manifest"]["napari-wsss"].partition(":")
    assert (ROOT / module / file).is_file()


def test_every_extra_is_named_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [extra for extra in PROJECT["optional-dependencies"] if f"`{extra}`" not in readme]
    assert not missing


def test_the_two_commands_of_the_readme_are_make_targets() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    used = set(re.findall(r"^make ([a-z-]+)", readme, re.MULTILINE))
    assert {"demo", "test"} <= used
    for target in used:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"the README names make {target}"


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_installs_once() -> None:
    """With every stamp in place `make -n demo` plans nothing but the demo itself."""
    if not (ROOT / ".venv" / "stamps" / "base").is_file():
        pytest.skip("this environment was not made by the Makefile")
    plan = subprocess.run(
        ["make", "--no-print-directory", "-n", "-o", "pyproject.toml", "-o", "constraints.txt", "demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line for line in plan.stdout.splitlines() if "pip install" in line] == []


# --- a machine without ensurepip ---


def _fake_python(folder: Path, *lacking: str) -> Path:
    """An interpreter that behaves like Debian's python3 without python3-venv (and python3-pip)."""
    hide = folder / "hide" / "sitecustomize.py"
    hide.parent.mkdir(parents=True)
    hide.write_text(
        "import sys\n"
        "class Lacking:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {lacking!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Lacking())\n",
        encoding="utf-8",
    )
    python = folder / "python3"
    python.write_text(
        f'#!/bin/sh\nPYTHONPATH="{hide.parent}:$PYTHONPATH" exec "{_base_python()}" "$@"\n', "utf-8"
    )
    python.chmod(0o755)
    return python


def _base_python() -> str:
    return str(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info[1]}")


def _make_venv(target: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / "scripts" / "make_venv.sh"), str(target)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


needs_shell = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")


@needs_shell
@pytest.mark.slow
def test_a_broken_environment_is_made_anew_and_a_working_one_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "venv"
    (target / "bin").mkdir(parents=True)
    (target / "bin" / "python").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    first = _make_venv(target, PYTHON=_base_python())
    assert first.returncode == 0, first.stderr
    subprocess.run([target / "bin" / "python", "-m", "pip", "--version"], check=True, capture_output=True)
    (target / "kept").touch()
    assert _make_venv(target, PYTHON=_base_python()).returncode == 0
    assert (target / "kept").exists()


@needs_shell
def test_without_any_way_one_sentence_names_the_package(tmp_path: Path) -> None:
    python = _fake_python(tmp_path, "ensurepip", "pip", "virtualenv")
    # Neither uv nor apt-get nor sudo on the path.
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("sh", "rm", "mktemp", "id", "env"):
        (tools / tool).symlink_to(str(shutil.which(tool)))
    done = _make_venv(tmp_path / "venv", PYTHON=str(python), PATH=str(tools))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "sudo apt-get install python3-venv" in done.stderr
    assert not (tmp_path / "venv").exists()


@needs_shell
def test_an_old_python_is_refused_in_one_sentence(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n", "utf-8")
    old.chmod(0o755)
    done = _make_venv(tmp_path / "venv", PYTHON=str(old))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert str(old) in done.stderr


# --- what is built ---


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", folder], cwd=ROOT, check=True, capture_output=True
    )
    return folder


@pytest.mark.slow
def test_the_wheel_holds_all_that_runs(built: Path) -> None:
    [wheel] = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "napari_wsss/napari.yaml",
        "napari_wsss/py.typed",
        "tiling/py.typed",
        "training/py.typed",
    } <= names
    licences = {name.rpartition("/licenses/")[2] for name in names if ".dist-info/licenses/" in name}
    vendored = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("tiling/**/vendored/*-LICENSE.txt")}
    assert licences == {"LICENSE", *vendored}
    assert vendored
    assert wheel.stat().st_size < 20_000_000  # 18 MB are the weights of the embedded models
    command = ["git", "ls-files", "napari_wsss", "tiling", "training"]
    tracked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.splitlines()
    assert set(tracked) <= names
    assert not [name for name in names if name.startswith(("tests/", "docs/", "benchmarks/"))]


@pytest.mark.slow
def test_the_sdist_builds_the_same_wheel(built: Path, tmp_path: Path) -> None:
    [sdist] = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    [source] = tmp_path.iterdir()
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "again"],
        cwd=source,
        check=True,
        capture_output=True,
    )
    [again], [wheel] = (tmp_path / "again").glob("*.whl"), built.glob("*.whl")
    assert sorted(zipfile.ZipFile(again).namelist()) == sorted(zipfile.ZipFile(wheel).namelist())


@pytest.mark.slow
def test_the_installed_wheel_runs_outside_the_checkout(built: Path, tmp_path: Path) -> None:
    [wheel] = built.glob("*.whl")
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, wheel], check=True
    )
    code = (
        "import napari_wsss, tiling, training, sys\n"
        "from importlib.metadata import entry_points\n"
        "print(napari_wsss.__file__)\n"
        "main = next(e for e in entry_points(group='console_scripts') if e.name == 'wsss-tile').load()\n"
        "sys.argv = ['wsss-tile', 'models', 'list']\n"
        "main()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(site))

    # napari finds the plugin in it as in the checkout (tests/plugin/test_manifest.py).
    discover = (
        "import npe2, sys\n"
        "for found in npe2.PluginManifest.discover(paths=[sys.argv[1]]):\n"
        "    if found.manifest and found.manifest.name == 'napari-wsss' and found.distribution:\n"
        "        found.manifest.validate_imports()\n"
        "        print(found.distribution.locate_file(''), len(found.manifest.contributions.widgets))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", discover, site], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"{site} 7" in done.stdout.replace("/ ", " ").splitlines()
