"""Draw the rooms of the three packages as docs/img/rooms.svg (``python scripts/draw_rooms.py``).

Order and packages are those that tests/test_architecture.py asserts; each sentence is the first of the room's face.
"""

from __future__ import annotations

import ast
import html
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WIDTH, GAP, LINE = 372, 10, 15
COLOURS = {
    "tiling": ("#e3eefb", "#3b78c2"),
    "napari_wsss": ("#efe5f8", "#7b4bb3"),
    "training": ("#e6f4e6", "#4c8f4c"),
}
GROUND = {
    "tiling": "errors, geometry, classes, grid, files, folders: what every room stands on.",
    "training": "stage1, pseudo_masks, stage2, evaluate, crc_demo, synthetic_demo: the programs, on top of all rooms.",
}


def rooms_of_the_test() -> dict[str, tuple[str, ...]]:
    """Return ROOMS as the architecture test states it: package → rooms, lowest first."""
    tree = ast.parse((ROOT / "tests" / "test_architecture.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "ROOMS":
            assert node.value is not None
            return dict(ast.literal_eval(node.value))
    raise AssertionError("tests/test_architecture.py states no ROOMS")


def file_of(package: str, room: str) -> Path:
    """Return the file whose docstring describes a room; it need not exist yet."""
    path = ROOT / package / room.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def sentence_of(file: Path) -> str:
    """Return the first line of a module's docstring."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.splitlines()[0]


def boxes(package: str, rooms: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return (name, sentence) of a package's rooms that exist, lowest first."""
    files = {room: file_of(package, room) for room in rooms if room and room != "_version"}
    found = [(room, sentence_of(file)) for room, file in files.items() if file.is_file()]
    if package == "tiling":
        found.insert(0, ("(ground)", GROUND[package]))
    if package == "training":
        found.append(("(programs)", GROUND[package]))
    return found


def draw() -> str:
    """Return the SVG."""
    columns, height = [], 0
    for i, (package, rooms) in enumerate(rooms_of_the_test().items()):
        x, y, parts = 16 + i * (WIDTH + 34), 0, []
        for name, sentence in boxes(package, rooms):
            lines = textwrap.wrap(sentence, 56)
            tall = 26 + LINE * len(lines)
            y += tall + GAP
            parts.append((name, lines, y, tall))
        columns.append((package, x, parts))
        height = max(height, y)
    bottom = height + 52
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {3 * (WIDTH + 34)} {bottom + 46}" role="img" '
        'aria-label="The rooms of the three packages, lowest floor at the bottom">',
        '<style>svg{background:#fff;font-family:system-ui,"DejaVu Sans",sans-serif}'
        ".p{font-size:17px;font-weight:700;fill:#333}.t{font-size:13px;font-weight:700;fill:#222}"
        ".l{font-size:11.5px;fill:#444}.n{font-size:12px;fill:#666}</style>",
    ]
    for package, x, parts in columns:
        fill, stroke = COLOURS[package]
        out.append(f'<text x="{x}" y="{bottom + 6}" class="p">{package}/</text>')
        for name, lines, up, tall in parts:
            top = bottom - 22 - up
            out.append(
                f'<rect x="{x}" y="{top}" width="{WIDTH}" height="{tall}" rx="7" fill="{fill}" stroke="{stroke}"/>'
                f'<text x="{x + 10}" y="{top + 18}" class="t">{html.escape(name)}</text>'
            )
            for k, line in enumerate(lines):
                out.append(
                    f'<text x="{x + 10}" y="{top + 33 + LINE * k}" class="l">{html.escape(line)}</text>'
                )
    out.append(
        f'<text x="16" y="{bottom + 32}" class="n">A room may import from rooms below it in its own package, '
        "napari_wsss from tiling, training from tiling and from napari_wsss.models and predictor; nothing else."
        "</text></svg>"
    )
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    (ROOT / "docs" / "img" / "rooms.svg").write_text(draw(), encoding="utf-8")
