"""A napari window in which somebody labels tile after tile without end, for tests that kill it.

Arguments: the project's folder, and the file that gets a line after every label that the window has confirmed.
"""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path


def main() -> None:
    import napari
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QApplication

    folder, said = Path(sys.argv[1]), os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    viewer = napari.Viewer(show=True)
    _, teach = viewer.window.add_plugin_dock_widget("napari-wsss", "Teach")
    teacher = teach.teacher
    assert teacher.open_project(folder), teacher.work.problem
    assert teacher.work.can_write, teacher.work.project.notice
    canvas = viewer.window._qt_viewer.canvas.native
    viewer.window._qt_window.activateWindow()
    assert QTest.qWaitForWindowActive(viewer.window._qt_window, 30_000), "keys need an active window"
    project = teacher.work.project
    grid = project.grid("a")
    for number in itertools.count():
        QApplication.processEvents()
        row, column = divmod(number % (grid.rows * (grid.columns - 2)), grid.columns - 2)
        tile = project.tile_of("a", row, column)
        name = project.schema.names[(number // 7) % len(project.schema)]
        if name in teacher.work.held(tile):
            continue
        teacher._hovered(*tile.middle)
        canvas.setFocus()
        QTest.keyClick(canvas, getattr(Qt.Key, f"Key_{project.schema.names.index(name) + 1}"))
        assert name in teacher.work.held(tile)
        os.write(said, f"{row} {column} {name}\n".encode())


if __name__ == "__main__":
    main()
