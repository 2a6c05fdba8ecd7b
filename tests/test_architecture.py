"""The rules of the house, checked on the source text: who may import whom, what a module may look like."""

from __future__ import annotations

import ast
import copy
import graphlib
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("tiling", "napari_wsss", "training")
HEAVY = {"torch", "lightning", "torchmetrics", "napari", "magicgui", "vispy"}
QT = {"qtpy", "superqt", "PyQt5", "PyQt6", "PySide2", "PySide6"}

ROOMS: dict[str, tuple[str, ...]] = {
    "tiling": ("synthetic", "slides", "annotations", "plan", "store", "engine", "export", "dataset", "batch"),
    "napari_wsss": (
        "_version",
        "models",
        "backends",
        "predictor",
        "pipeline",
        "project",
        "",  # the package's own face
        "cli",
        "plugin.common",
        "plugin.view",
        "plugin.results",
        "plugin.files",
        "plugin.segment",
        "plugin.teach",
        "plugin.review",
        "plugin.correct",
        "plugin.compare",
        "plugin.explain",
        "plugin.queue",
    ),
    "training": ("settings", "data", "scores", "loop", "networks"),
}
"""The rooms of each package, lowest first: a room may import from those before it, never from those behind it.

What stands in a package but in no room is its ground floor in ``tiling`` and ``plugin`` (below all rooms), and the
programs in ``training`` (above all rooms).
"""

NETWORKS = ("napari_wsss.models", "napari_wsss.predictor", "napari_wsss._version")
"""What training may use of napari_wsss: the networks, and a bundle bound as predictor, so that an evaluation on
images and a run on slides are one code."""

# A recipe, not a part: it remakes the embedded bundle and scores it on a slide, the way a user would.
RECIPES = {"training.synthetic_demo": "napari_wsss.pipeline"}

# About 400 lines; a module well above must say here why it is still one idea.
LONGEST = 440
LONG_FOR_A_REASON: dict[str, str] = {}


@dataclass(frozen=True)
class Module:
    """One source file of ours: its dotted name, path and syntax tree."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def imports(self) -> set[str]:
        """Every dotted name imported anywhere in the file: at its top, inside a function, or for type checkers."""
        return set(_imported(self.tree, self.name))

    @property
    def loads(self) -> set[str]:
        """The same without what only type checkers see: napari finds a dock's viewer by such an annotation."""
        return set(_imported(_AtRunTime().visit(copy.deepcopy(self.tree)), self.name))


class _AtRunTime(ast.NodeTransformer):
    def visit_If(self, node: ast.If) -> Any:
        only_for_types = ast.unparse(node.test).rpartition(".")[2] == "TYPE_CHECKING"
        return node.orelse if only_for_types else node


def _imported(node: ast.AST, here: str = "") -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        home = f"{here}.{node.module}" if node.level else node.module  # only the stub of a face is relative
        for alias in node.names:
            yield f"{home}.{alias.name}"
    elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "import_module":
        yield from (str(name.value) for name in node.args[:1] if isinstance(name, ast.Constant))
    for child in ast.iter_child_nodes(node):
        yield from _imported(child, here)


def _modules() -> list[Module]:
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found.append(Module(name, path, ast.parse(path.read_text(encoding="utf-8"))))
    return found


def _faces() -> list[Module]:
    """Return the stubs that say which names a package shows."""
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("__init__.pyi")):
            name = ".".join(path.relative_to(ROOT).parts[:-1])
            found.append(Module(name, path, ast.parse(path.read_text(encoding="utf-8"))))
    return found


MODULES = _modules()
FACES = _faces()


def every_module(rule: Callable[[Module], None], of: Sequence[Module] = MODULES) -> Callable[[], None]:
    """Return a test that holds a rule against every module and names all that break it."""

    def test() -> None:
        broken = []
        for module in of:
            try:
                rule(module)
            except (AssertionError, pytest.fail.Exception) as error:
                broken.append(f"{module.name}: {str(error).splitlines()[0] if str(error) else rule.__name__}")
        assert not broken, "\n".join(broken)

    test.__doc__ = rule.__doc__
    return test


def every_module_of_the_plugin(rule: Callable[[Module], None]) -> Callable[[], None]:
    """Do the same for the plugin's modules."""
    return every_module(rule, [m for m in MODULES if _under(m.name, "napari_wsss.plugin")])


def _under(name: str, *prefixes: str) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def _room(name: str) -> tuple[float, str]:
    """Return the floor of a dotted name of ours (its place in the order of its package) and its room."""
    package, _, rest = name.partition(".")
    rooms = ROOMS[package]
    for floor, room in enumerate(rooms):
        if room and _under(rest, room):
            return floor, f"{package}.{room}"
    if package == "napari_wsss":
        return (rooms.index("plugin.common") - 0.5 if _under(rest, "plugin") else rooms.index("")), package
    return (len(rooms) if package == "training" else -1), package


def _arrow_up(module: str, imported: str) -> bool:
    """Whether an import leads from a room to one above it in the same package."""
    if imported.partition(".")[0] != module.partition(".")[0]:
        return False
    (floor, room), (other_floor, other) = _room(module), _room(imported)
    return room != other and other_floor > floor


def _forbidden(module: str, imported: str) -> bool:
    """Whether the contract (DESIGN §2) forbids `module` to import `imported`."""
    top = imported.partition(".")[0]
    if _arrow_up(module, imported):
        return True
    if _under(module, "tiling"):
        return top in HEAVY | QT | {"napari_wsss", "training"}
    if _under(module, "napari_wsss.plugin"):
        return top == "training"
    if _under(module, *NETWORKS):
        return top in QT | {"napari", "training"} or _under(
            imported, "napari_wsss.plugin", "napari_wsss.pipeline", "napari_wsss.cli"
        )
    if _under(module, "napari_wsss"):
        # The command line starts training by `python -m`, never by import; napari is the plugin's alone.
        return top in QT | {"napari", "training"} or _under(imported, "napari_wsss.plugin")
    if _under(module, "training"):
        ours = top == "napari_wsss"
        allowed = (*NETWORKS, RECIPES.get(module, NETWORKS[0]))
        return top in QT | {"napari"} or (ours and not _under(imported, *allowed))
    raise AssertionError(f"no rule for {module}")


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("tiling.engine.drive", "torch"),
        ("tiling.export.geojson", "napari_wsss.models.cam"),
        ("tiling.slides.slide", "PyQt6.QtCore"),
        ("napari_wsss.models.cam", "napari_wsss.pipeline.segment"),
        ("napari_wsss.models.cam", "napari"),
        ("napari_wsss.predictor", "napari_wsss.pipeline.segment"),
        ("napari_wsss.cli", "napari_wsss.plugin.files.reader"),
        ("napari_wsss.pipeline", "qtpy.QtCore"),
        ("napari_wsss.plugin.panel", "training.stage1"),
        ("training.stage1", "napari_wsss.cli.main"),
        ("training.stage1", "napari_wsss.pipeline.segment"),
    ],
)
def test_the_rule_forbids_what_the_contract_forbids(module: str, imported: str) -> None:
    assert _forbidden(module, imported)


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("tiling.engine.drive", "tiling.grid.plan"),
        ("napari_wsss.models.cam", "torch.nn"),
        ("napari_wsss.pipeline", "tiling.engine.drive.run"),
        ("napari_wsss.plugin.panel", "napari_wsss.pipeline.segment_events"),
        ("napari_wsss.plugin.panel", "napari.utils.notifications"),
        ("training.stage2", "napari_wsss.models.bundle_writer.save_bundle"),
        ("training.evaluate", "tiling.classes.ClassSchema"),
        ("training.evaluate", "napari_wsss.predictor.BundlePredictor"),
    ],
)
def test_the_rule_allows_what_the_contract_allows(module: str, imported: str) -> None:
    assert not _forbidden(module, imported)


def test_every_import_is_seen() -> None:
    source = """
if TYPE_CHECKING:
    import torch
else:
    import a
def f():
    from b import c
    importlib.import_module("d.e")
"""
    assert set(_imported(ast.parse(source))) == {"torch", "a", "b.c", "d.e"}


@every_module
def test_imports_run_one_way(module: Module) -> None:
    wrong = sorted(name for name in module.imports if _forbidden(module.name, name))
    assert not wrong, f"{module.name} must not import {', '.join(wrong)}"


@every_module
def test_other_rooms_are_entered_by_their_face(module: Module) -> None:
    """What a room keeps to itself may change; what others use is named in its `__init__`."""
    own = _room(module.name)[1]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in PACKAGES:
            room = _room(str(node.module))[1]
            inside = room == own or room in PACKAGES or node.module in (room, *SINGLE_FILES)
            assert inside, f"{module.name}:{node.lineno} takes {node.module} past the face of {room}"


SINGLE_FILES = ("napari_wsss._version", "napari_wsss.predictor", "napari_wsss.pipeline")


def _arrows(modules: Iterable[Module]) -> dict[str, set[str]]:
    """Return module → modules it imports, among these; a name taken from a package counts as that package's face."""
    modules = list(modules)
    names = {m.name for m in modules}
    arrows: dict[str, set[str]] = {name: set() for name in names}
    for module in modules:
        for imported in module.imports:
            target = imported if imported in names else imported.rpartition(".")[0]
            if target in names and target != module.name:
                arrows[module.name].add(target)
    return arrows


def _circle(arrows: dict[str, set[str]]) -> list[str] | None:
    """Return one circle of imports, or None."""
    try:
        tuple(graphlib.TopologicalSorter(arrows).static_order())
    except graphlib.CycleError as error:
        return list(error.args[1])
    return None


def test_no_import_goes_round_in_a_circle() -> None:
    assert _circle(_arrows([*MODULES, *FACES])) is None


def test_a_circle_for_type_checkers_is_a_circle() -> None:
    one = Module("tiling.a", Path("a.py"), ast.parse("if TYPE_CHECKING:\n    from tiling.b import B"))
    two = Module("tiling.b", Path("b.py"), ast.parse("def f():\n    from tiling.a import A"))
    assert _circle(_arrows([one, two])) is not None
    assert _circle(_arrows([one])) is None


def test_faces_show_what_exists() -> None:
    for face in FACES:
        package = importlib.import_module(face.name)
        for name in package.__all__:
            assert hasattr(package, name), f"{face.name} lacks {name}"


@every_module
def test_a_module_is_one_idea_of_bounded_length(module: Module) -> None:
    lines = len(module.path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST or module.name in LONG_FOR_A_REASON, f"{module.name} has {lines} lines"


def test_no_stale_excuse_for_a_long_module() -> None:
    lengths = {m.name: len(m.path.read_text(encoding="utf-8").splitlines()) for m in MODULES}
    assert all(lengths.get(name, 0) > LONGEST for name in LONG_FOR_A_REASON)


@every_module
def test_a_module_begins_with_its_idea_and_future_annotations(module: Module) -> None:
    assert ast.get_docstring(module.tree), f"{module.name} has no docstring"
    annotatable = any(isinstance(n, ast.FunctionDef | ast.ClassDef | ast.AnnAssign) for n in module.tree.body)
    if module.path.name == "__init__.py" and not annotatable:
        return  # nothing but a docstring, a version or re-exports: no annotation to postpone
    assert "__future__.annotations" in module.imports, f"{module.name} lacks the future import of annotations"


@every_module
def test_no_print_and_no_swallowed_error(module: Module) -> None:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
            pytest.fail(f"{module.path}:{node.lineno} prints; log it or return it")
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
            silent = all(isinstance(step, ast.Pass | ast.Continue) for step in node.body)
            assert node.type is not None, f"{module.path}:{node.lineno} has a bare except"
            assert not (broad and silent), f"{module.path}:{node.lineno} swallows every error"


@every_module_of_the_plugin
def test_no_slot_is_a_lambda(module: Module) -> None:
    """Qt keeps a lambda, and what it holds, for ever: a deleted widget would be called again."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".connect"):
            assert not any(isinstance(each, ast.Lambda) for each in ast.walk(node)), node.lineno


@every_module_of_the_plugin
def test_widgets_compute_nothing(module: Module) -> None:
    """Qt stays in the widgets, and what they show is worked out where no Qt is."""
    widget = module.name.rpartition(".")[2].endswith(("dock", "parts", "_section", "_widget", "_dialog"))
    tops = {name.partition(".")[0] for name in module.loads}
    assert widget or not tops & QT
    heavy = {"torch", "zarr", "scipy", "shapely"} | ({"napari"} if widget else set())
    assert not (widget and tops & heavy)
    # What widgets know of the engine is its errors.
    assert not widget or {name for name in module.loads if _under(name, "tiling")} <= {
        "tiling.errors",
        "tiling.errors.WsssError",
    }


@every_module
def test_nothing_unpickles_untrusted_data(module: Module) -> None:
    unsafe = {"pickle", "cPickle", "dill", "joblib", "shelve"}
    # The names of pickle's errors are harmless: torch raises them for a file that it refuses.
    used = {name for name in module.imports if name.partition(".")[0] in unsafe}
    used |= {ast.unparse(n) for n in ast.walk(module.tree) if isinstance(n, ast.Attribute)}
    used = {name for name in used if name.partition(".")[0] in unsafe and "." in name}
    harmful = {name for name in used if not name.endswith("Error")}
    assert not harmful, f"{module.name} uses {harmful}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
            given = {k.arg: ast.unparse(k.value) for k in node.keywords}
            assert given.get("weights_only") == "True", f"{module.path}:{node.lineno} may unpickle"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert ast.unparse(node.value) == "False", f"{module.path}:{node.lineno} allows pickles"


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_ship_their_types(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {m.path.parent for m in MODULES}
    assert not [folder for folder in folders if not (folder / "__init__.py").is_file()]


# --- what is loaded, seen from a fresh interpreter ---


def _loaded_after(statement: str) -> set[str]:
    code = f"{statement}\nimport json, sys\nsys.stderr.write(json.dumps(sorted(m for m in sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stderr.splitlines()[-1])}


CLI_HELP = """
import sys
sys.argv = ["wsss-tile", "--help"]
from napari_wsss.cli import main
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
"""


@pytest.mark.parametrize(
    "statement",
    [
        "import tiling",
        "import napari_wsss",
        "import napari_wsss, tiling.slides.slide, tiling.engine.drive, tiling.store.reader",
        CLI_HELP,
    ],
    ids=["tiling", "napari_wsss", "the engine", "wsss-tile --help"],
)
def test_light_entrances_load_nothing_heavy(statement: str) -> None:
    assert not _loaded_after(statement) & (HEAVY | QT)


def test_help_answers_at_once() -> None:
    """Under half a second of work, the best of three: a busy machine is not the program's fault."""
    used = []
    for _ in range(3):
        before = os.times()
        subprocess.run([sys.executable, "-c", CLI_HELP], capture_output=True, check=True)
        after = os.times()
        used.append(
            after.children_user + after.children_system - before.children_user - before.children_system
        )
    assert min(used) < 0.5


def test_nothing_asks_in_the_middle_of_a_batch() -> None:
    asking = {"input", "confirm", "prompt", "getpass"}
    for package in ("tiling", "napari_wsss", "training"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call):
                    name = ast.unparse(node.func).rpartition(".")[2]
                    assert name not in asking, f"{path}:{node.lineno}"
