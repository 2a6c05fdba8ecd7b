"""The presenter of the Teach dock: from an unknown slide to a model. No Qt.

Everything that the dock does is a call on :class:`Teacher`, so a script or napari's console can do it too::

    teacher = Teacher(viewer)
    teacher.new_project("liver.wsss", schema)
    teacher.add_slide("a.svs", case="P01")
    teacher.preparing.begin()
    teacher.wait()
    teacher.labelling.hover(1200, 3400)
    teacher.key(0)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from napari_wsss.models import list_bundles, load_bundle, resolve_schema
from napari_wsss.plugin.common import Starter, home, start_in_thread
from napari_wsss.plugin.teach.asking import Asking
from napari_wsss.plugin.teach.canvas import Canvas
from napari_wsss.plugin.teach.labelling import Labelling
from napari_wsss.plugin.teach.making import Making
from napari_wsss.plugin.teach.mouse import Handlers, SlideMouse
from napari_wsss.plugin.teach.pace import minutes_spent
from napari_wsss.plugin.teach.preparing import Preparing
from napari_wsss.plugin.teach.sketching import Sketching
from napari_wsss.plugin.teach.workspace import Workspace
from napari_wsss.plugin.view import METADATA_KEY
from napari_wsss.project import DEFAULT_ENCODER
from tiling.classes import ClassSchema
from tiling.errors import ProjectError, WsssError
from tiling.files import expanded

if TYPE_CHECKING:
    from napari_wsss.project import Project

__all__ = ["SlideLine", "Teacher", "labels_changed_in", "open_project_of", "teacher_for"]

TILE_UM = 112.0
"""Side of a tile unless another is chosen: 224 px at 0.5 µm."""

MPP = 0.5

TILES = (32, 2048)
"""Least and largest side of a tile in pixels."""


@dataclass(frozen=True)
class SlideLine:
    """A slide as the dock lists it.

    Attributes
    ----------
    slide_id, case : str
    labels : int
        Tiles of it that have a label.
    prepared : float
        Share of its tissue whose features are there, 0 … 1.
    """

    slide_id: str
    case: str
    labels: int
    prepared: float


class Teacher:
    """A project in a viewer: labelling, the map that follows, questions, and models.

    All methods belong to the thread of the viewer; jobs work elsewhere and are asked by :meth:`poll`.

    Parameters
    ----------
    viewer : napari.Viewer
    start : callable, optional
        Starts a job in another thread.
    clock : callable, optional
        Seconds.

    Attributes
    ----------
    work : Workspace
        Project, slide, and what there is to say.
    labelling, sketching, asking, preparing, making
        What can be done, one idea each.
    mouse : SlideMouse
    """

    def __init__(
        self, viewer: Any, *, start: Starter = start_in_thread, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.viewer = viewer
        self.work = Workspace(viewer)
        self.canvas = Canvas(viewer)
        self.labelling = Labelling(self.work, self.canvas, self._labels_changed)
        self.sketching = Sketching(self.work, self.canvas, start, clock)
        self.asking = Asking(self.work, self.labelling, self.sketching, start)
        self.preparing = Preparing(self.work, self.sketching, start)
        self.making = Making(self.work, start)
        handlers = Handlers(self._hovered, self._clicked, self.canvas.drag, self._drawn)
        self.mouse = SlideMouse(viewer, self.work.point_on_slide, handlers)
        self._listening = False
        viewer.layers.events.inserted.connect(self._layer_came)

    @property
    def revision(self) -> int:
        """Grows whenever something that a panel shows is different."""
        return self.work.revision

    # --- the project -------------------------------------------------------------------------------------------

    def new_project(
        self,
        folder: str | Path,
        schema: ClassSchema,
        *,
        tile_um: float = TILE_UM,
        mpp: float | None = None,
        encoder: str = DEFAULT_ENCODER,
    ) -> bool:
        """Make a project and open it; tell whether it is open.

        Parameters
        ----------
        folder : str or Path
            ``<name>.wsss``; ``~`` is the home folder.
        schema : ClassSchema
        tile_um : float, optional
            Side of a tile in µm.
        mpp : float, optional
            µm per pixel at which tiles are looked at; default: as the encoder's model does, 0.5 for the general one.
        encoder : str, optional
            As :func:`napari_wsss.new_project` takes it.
        """
        from napari_wsss.project import new_project

        try:
            if mpp is None:
                mpp = MPP if encoder == DEFAULT_ENCODER else load_bundle(encoder).mpp
            tile = round(tile_um / mpp)
            if not TILES[0] <= tile <= TILES[1]:
                least, most = (pixels * mpp for pixels in TILES)
                raise ProjectError(
                    f"A tile of {tile_um:g} µm is too small or too large for this network, which looks at {mpp:g} µm "
                    f"per pixel; choose {least:g} to {most:g} µm."
                )
            folder = expanded(str(folder), ProjectError)
            project = new_project(folder, schema, tile=tile, mpp=mpp, encoder=encoder)
        except WsssError as error:
            self.work.report(error)
            return False
        self._use(project)
        return True

    def open_project(self, folder: str | Path) -> bool:
        """Open a project; tell whether it is open."""
        from napari_wsss.project import open_project

        try:
            project = open_project(Path(folder))
        except WsssError as error:
            self.work.report(error)
            return False
        self._use(project)
        return True

    def suggested_folder(self) -> Path:
        """Return a folder for a new project: beside the slide that is open."""
        slides = self.open_slides()
        place, name = (slides[-1].parent, slides[-1].name.split(".")[0]) if slides else (home(), "project")
        folder, number = place / f"{name}.wsss", 2
        while folder.exists():
            folder, number = place / f"{name}-{number}.wsss", number + 1
        return folder

    def open_slides(self) -> list[Path]:
        """Return the slides that are open in the viewer."""
        known = [layer.metadata.get(METADATA_KEY, {}) for layer in self.viewer.layers]
        return list(dict.fromkeys(Path(k["path"]) for k in known if k.get("kind") == "slide"))

    def known_schemas(self) -> list[tuple[str, ClassSchema]]:
        """Return the classes that a project may begin with: those of schemas and of models."""
        schemas = [(f"classes of {name}", resolve_schema(name)) for name in ("bcss", "luad")]
        models = [(f"classes of the model {name}", load_bundle(name).schema) for name in list_bundles()]
        return schemas + models

    def known_encoders(self) -> list[tuple[str, str]]:
        """Return the encoders that a project may have: title and name."""
        return [("a general network (ImageNet)", DEFAULT_ENCODER), *((n, n) for n in list_bundles())]

    def close(self, _sender: object = None) -> None:
        """Let go of the project: jobs end, the mouse is free (also a slot for Qt's ``destroyed``)."""
        self.viewer.layers.events.inserted.disconnect(self._layer_came)
        self.listen(False)
        self._use(None)
        _TEACHERS.pop(_key(self.viewer), None)

    def _use(self, project: Any | None) -> None:
        for part in (self.preparing, self.asking, self.sketching, self.making):
            part.reset()
        self.labelling.reset()
        self.canvas.use(None)
        self.work.use(project)
        self.making.look_up()
        self.sketching.look_up()
        if self.work.slide_ids:
            self.choose_slide(self.work.slide_ids[0])
        self.work.say_what_is_outdated()
        self.mouse.switch(self._listening and project is not None)

    # --- slides ------------------------------------------------------------------------------------------------

    def add_slide(self, path: str | Path, case: str = "") -> bool:
        """Add a slide to the project and show it; tell whether it was added."""
        if self.work.project is None:
            return False
        try:
            slide_id = self.work.project.add(Path(path), case=case or None)
        except WsssError as error:
            self.work.report(error)
            return False
        self.work.say()
        return self.choose_slide(slide_id)

    def choose_slide(self, slide_id: str) -> bool:
        """Show a slide of the project and draw its labels and map; tell whether it is shown."""
        if not self.work.choose(slide_id):
            return False
        self.labelling.reset()
        self.canvas.use(self.work.slide_layer())
        self._draw_labels()
        self.sketching.wish(at_once=True)
        return True

    def set_case(self, slide_id: str, case: str) -> bool:
        """Say which patient or block a slide is of; tell whether it was written."""
        project = self.work.project
        if project is None:
            return False
        try:
            entries = [
                replace(entry, case=case or slide_id) if entry.slide_id == slide_id else entry
                for entry in project.description.slides
            ]
            project.change(slides=tuple(entries))
        except WsssError as error:
            self.work.report(error)
            return False
        self.work.say()
        self.sketching.wish()
        return True

    def change_classes(self, schema: ClassSchema) -> bool:
        """Rename, recolour, add or remove classes of the project; tell whether that was written."""
        project = self.work.project
        if project is None:
            return False
        try:
            if self.making.is_busy:
                raise ProjectError("A model is being made of these classes; change them when it is ready.")
            project.change_classes(schema)
        except WsssError as error:
            self.work.report(error)
            return False
        self.canvas.clear()  # its colours are those of other classes
        self.sketching.head = self.sketching.score = None
        self.labelling.active = min(self.labelling.active, len(schema) - 1)
        self.work.say()
        self.work.labels_changed()
        self._labels_changed()
        return True

    def slides(self) -> list[SlideLine]:
        """Return the slides as they are listed."""
        project = self.work.project
        if project is None:
            return []
        return [
            SlideLine(
                name, project.entry(name).case, len(self.work.labels(name)), self.work.prepared_share(name)
            )
            for name in project.slides
        ]

    def counts(self, slide_id: str | None = None) -> list[int]:
        """Return the labels per class, of one slide or of all."""
        project = self.work.project
        if project is None:
            return []
        present = [label.present for label in self.work.labels(slide_id)]
        return [sum(row[index] for row in present) for index in range(len(project.schema))]

    def minutes(self) -> float:
        """Return the minutes that were spent on the labels in force and those taken back."""
        project = self.work.project
        if project is None:
            return 0.0
        return minutes_spent(
            [
                datetime.fromisoformat(decision.time).timestamp()
                for slide_id in self.work.slide_ids
                for decision in project.log(slide_id).decisions()
                if decision.source != "import"
            ]
        )

    # --- keys and mouse ----------------------------------------------------------------------------------------

    def listen(self, on: bool) -> None:
        """Take part in what the mouse does on the canvas (the dock is seen), or not."""
        self._listening = on
        self.mouse.switch(on and self.work.project is not None)
        if not on:
            self.labelling.take(None)

    def key(self, index: int, *, shift: bool = False, control: bool = False) -> bool:
        """Label with the class of a key: the selection, the strip's tile, or the tile under the mouse."""
        if self.asking.is_asking and not self.labelling.selection:
            self.mouse.rest()
            return self.asking.press(index, shift=shift, control=control)
        return self.labelling.press(index, shift=shift, control=control)

    def next(self) -> None:
        """Go to the tile whose label teaches most: its slide is shown, the view moves there, keys answer it."""
        self.asking.next()
        self.mouse.rest()
        self.show_turn()

    def show_turn(self) -> None:
        """Move the view to the tile of the strip whose turn it is."""
        tile = self.asking.strip.current
        if tile is None or not self.asking.is_asking:
            return
        if tile.slide_id != self.work.slide_id:
            self.choose_slide(tile.slide_id)
            self.labelling.take(tile)
        self.canvas.go_to(tile)

    def undo(self) -> bool:
        """Take the last decision back."""
        done = self.labelling.undo()
        self.asking.look_up()
        return done

    def escape(self) -> None:
        """Let go of the selection, or of the strip."""
        if self.labelling.selection:
            self.labelling.let_go()
        else:
            self.asking.leave()

    def _layer_came(self, event: Any) -> None:
        """Make room for a result: two maps on top of each other show colours of neither."""
        if event.value.metadata.get(METADATA_KEY, {}).get("kind") == "store":
            self.canvas.set_map_visible(False)

    def _hovered(self, x: float, y: float) -> None:
        self.asking.leave()
        self.labelling.hover(x, y)

    def _clicked(self, x: float, y: float, shift: bool, control: bool) -> None:
        self.asking.leave()
        self.labelling.click(x, y, shift=shift, control=control)

    def _drawn(self, outline: list[tuple[float, float]], more: bool) -> None:
        self.asking.leave()
        self.labelling.select(outline, more=more)

    def _labels_changed(self) -> None:
        self._draw_labels()
        self.asking.look_up()
        self.sketching.wish()

    def _draw_labels(self) -> None:
        project, slide_id = self.work.project, self.work.slide_id
        if project is not None and slide_id is not None:
            side = project.tile_of(slide_id, 0, 0).side
            self.canvas.labels(self.work.labels(slide_id), project.schema, side)

    # --- time --------------------------------------------------------------------------------------------------

    def poll(self) -> bool:
        """Take what the jobs have done since the last call; tell whether there was something."""
        parts = (self.preparing, self.sketching, self.asking, self.making)
        turn = self.asking.strip.current
        news = [part.poll() for part in parts]
        if self.asking.is_asking and self.asking.strip.current is not turn:
            self.show_turn()
        return any(news)

    @property
    def is_busy(self) -> bool:
        """Whether something still works."""
        return any(p.is_busy for p in (self.preparing, self.sketching, self.asking, self.making))

    def wait(self, timeout: float = 3600.0) -> bool:
        """Poll until nothing works any more (for scripts); tell whether that was reached."""
        deadline = time.monotonic() + timeout
        while self.is_busy and time.monotonic() < deadline:
            self.poll()
            time.sleep(0.02)
        self.poll()
        return not self.is_busy


_TEACHERS: WeakValueDictionary[int, Teacher] = WeakValueDictionary()
"""By the id of the viewer, which is no other's as long as its teacher, which holds it, lives."""


def teacher_for(viewer: Any) -> Teacher:
    """Return the teacher of a viewer, which its docks share: Correct and Review write into its project."""
    teacher = _TEACHERS.get(_key(viewer))
    if teacher is None:
        teacher = _TEACHERS[_key(viewer)] = Teacher(viewer)
    return teacher


def open_project_of(viewer: Any) -> Project | None:
    """Return the project that is open in a viewer, or None."""
    teacher = _TEACHERS.get(_key(viewer))
    return None if teacher is None else teacher.work.project


def labels_changed_in(viewer: Any) -> None:
    """Tell the teacher of a viewer, if there is one, that another dock has labelled tiles of its project."""
    teacher = _TEACHERS.get(_key(viewer))
    if teacher is not None and teacher.work.project is not None:
        teacher.work.labels_changed()
        teacher._labels_changed()


def _key(viewer: Any) -> int:
    return id(getattr(viewer, "__wrapped__", viewer))  # plugins are given proxies, a new one each time
