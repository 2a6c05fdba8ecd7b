"""A project: slides, what people said about their tiles, and everything that follows from it. No Qt, no napari."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

from napari_wsss.models import resolve_schema
from napari_wsss.project.agreement import Agreement, merge_labels
from napari_wsss.project.annotated import AnnotatedProject
from napari_wsss.project.asking import Order, ask, by_slide, draw_test_tiles
from napari_wsss.project.cache import FeatureCache
from napari_wsss.project.card import card_of
from napari_wsss.project.description import ProjectFile
from napari_wsss.project.encoder import DEFAULT_ENCODER, resolve_encoder
from napari_wsss.project.events import PrepareEvent, Trained, TrainEvent
from napari_wsss.project.features import described, read_table, tiles_done
from napari_wsss.project.fitted import Head
from napari_wsss.project.fitting import agreed_labels, fit_head
from napari_wsss.project.preparation import prepare_slides
from napari_wsss.project.prepare import PrepareOptions, describe
from napari_wsss.project.quick import write_quick_model
from napari_wsss.project.sketch import sketch_of
from napari_wsss.project.starting import former_of, models_of
from napari_wsss.project.tiles import Tile
from napari_wsss.project.training_run import TrainOptions, train_events
from tiling.classes import ClassSchema
from tiling.errors import FewLabelsError, ProjectError, disk_errors_as
from tiling.files import LEFTOVERS

__all__ = ["Project", "new_project", "open_project"]

DEFAULT_TILE = 224
DEFAULT_MPP = 0.5


def new_project(
    folder: str | Path,
    schema: str | Path | ClassSchema,
    *,
    tile: int = DEFAULT_TILE,
    mpp: float = DEFAULT_MPP,
    encoder: str | Path = DEFAULT_ENCODER,
) -> Project:
    """Make a project.

    Parameters
    ----------
    folder : str or Path
        ``<name>.wsss``; must not exist, or be empty.
    schema : str, Path or ClassSchema
        The classes: ``bcss``, ``luad``, a JSON file, a bundle's ``model.json``.
    tile : int, optional
        Side of a tile in pixels.
    mpp : float, optional
        µm per pixel at which tiles are looked at.
    encoder : str or Path, optional
        ``imagenet:efficientnet-lite0``, or a bundle with that network.

    Raises
    ------
    ProjectError, BundleError
        When the folder is taken, or something does not fit.
    """
    folder = Path(folder)
    if not 32 <= tile <= 2048:
        raise ProjectError(f"A tile of {tile} pixels is not possible; choose 32 to 2048.")
    if not 0.05 <= mpp <= 5:
        raise ProjectError(f"{mpp} µm per pixel is not plausible; choose 0.05 to 5.")
    description = ProjectFile(
        name=folder.name.removesuffix(".wsss"),
        schema=resolve_schema(schema),
        tile=tile,
        mpp=float(mpp),
        encoder=resolve_encoder(encoder),
    )
    with disk_errors_as(ProjectError, f"{folder} cannot be made", "choose another place"):
        folder.mkdir(parents=True, exist_ok=True)
        if any(not fnmatch(path.name, LEFTOVERS) for path in folder.iterdir()):
            raise ProjectError(f"{folder} exists and is not empty; choose another folder.")
    description.write(folder)
    return open_project(folder)


def open_project(folder: str | Path, *, write: bool = True) -> Project:
    """Open a project.

    Parameters
    ----------
    folder : str or Path
        The ``.wsss`` folder.
    write : bool, optional
        Take the right to write. Where somebody else has it, the project can be read, and ``project.notice`` says so.

    Raises
    ------
    ProjectError
        When the folder is no project, is damaged, or newer than this program.
    """
    return Project(Path(folder), write)


class Project(AnnotatedProject):
    """A project that is open; a context manager that gives the right to write back.

    Parameters
    ----------
    folder : Path
    write : bool, optional
        See :func:`open_project`.

    Attributes
    ----------
    folder : Path
    description : ProjectFile
        What ``project.json`` says.
    notice : str
        Why nothing can be changed; empty when it can.
    """

    def __init__(self, folder: Path, write: bool = True) -> None:
        super().__init__(folder, write)
        self._features = FeatureCache(self.features_path, self._expected)
        self._head: Head | None = None
        self._shown: set[Tile] = set()

    def change_classes(self, schema: ClassSchema) -> None:
        """Rename, recolour, add or remove classes; see :meth:`AnnotatedProject.change_classes`."""
        super().change_classes(schema)
        self._head = None  # the next fit begins without the weights of other classes

    def prepare(
        self,
        *slide_ids: str,
        device: str = "auto",
        backend: str = "auto",
        batch_size: int = 16,
        read_threads: int = 2,
    ) -> Generator[PrepareEvent]:
        """Compute the features of slides, as a generator of events; closing it leaves what the next call resumes.

        Labels may be given meanwhile.

        Parameters
        ----------
        *slide_ids : str
            Default: all slides of the project.
        device, backend, batch_size, read_threads
            See :class:`napari_wsss.project.prepare.PrepareOptions`.

        Yields
        ------
        PreparePlanned, PrepareProgress or Prepared

        Raises
        ------
        SlideError, FeaturesError, DeviceError, BundleError, ProjectReadOnlyError
        """
        options = PrepareOptions(device, backend, batch_size, read_threads)
        return prepare_slides(self, slide_ids or self.slides, options, self._forget_stale)

    def prepared(self, slide_id: str) -> tuple[int, int]:
        """Return how many tissue tiles of a slide have features that can be used, and how many there are.

        (0, 0) when preparing has not begun.
        """
        path = self.features_path(slide_id)
        if self._features.problem(slide_id) is not None:
            return 0, 0
        return tiles_done(path) or 0, len(read_table(path)[0])

    def outdated(self, slide_id: str) -> str:
        """Return why the features of a slide are not those of this project, in half a sentence; empty when they are."""
        return self._features.reason(slide_id)

    def fit(self) -> Head:
        """Fit the head on all labels of all slides; well under a second.

        Returns
        -------
        Head
            With ``map``, ``uncertainty``, ``score``, and ``notes`` that a person should read.

        Raises
        ------
        FewLabelsError
            When no prepared tile is labelled.
        LabelError
            When a label log is damaged.
        """
        before = self._head
        self._head = fit_head(self, self._features, before.weights if before else None)
        return self._head

    def suggest(self, count: int = 12, *, order: Order = "telling") -> list[Tile]:
        """Return the tiles whose label would teach most, spread over tissue and slides; none is asked twice.

        Parameters
        ----------
        count : int, optional
        order : {"telling", "random"}, optional
            ``random`` is the order that others are compared with.

        Returns
        -------
        list of Tile
            Fewer when there are fewer tiles left.

        Raises
        ------
        FeaturesError
            When no slide is prepared.
        """
        try:
            head: Head | None = self.fit()
        except FewLabelsError:
            head = None
        tiles = ask(self, self._features, head, count, order, self._shown)
        if len(tiles) < count and self._shown:  # all were asked: those that were passed over come again
            self._shown.clear()
            tiles += ask(self, self._features, head, count - len(tiles), order, set(tiles))
        self._shown.update(tiles)
        return tiles

    def set_aside(self, count: int) -> list[Tile]:
        """Draw tiles at random for an honest test: their labels never train.

        Parameters
        ----------
        count : int

        Returns
        -------
        list of Tile
            The new ones; label them like others.

        Raises
        ------
        FeaturesError, ProjectReadOnlyError
        """
        known = sum(map(len, self.description.test.values()))
        tiles = draw_test_tiles(self, self._features, count, seed=known)
        test = {name: list(places) for name, places in self.description.test.items()}
        for slide_id, drawn in by_slide(tiles).items():
            test.setdefault(slide_id, []).extend(tile.place for tile in drawn)
        self.change(test={name: tuple(places) for name, places in test.items()})
        return tiles

    def test_tiles(self) -> list[Tile]:
        """Return the tiles that are set aside."""
        return [self.tile_of(s, *place) for s, places in self.description.test.items() for place in places]

    def _expected(self, slide_id: str) -> Mapping[str, Any]:
        entry, description = self.entry(slide_id), self.description
        return describe(
            entry.identity, self.grid(slide_id), description.encoder, description.reduction, description.mpp
        )

    def _forget_stale(self, slide_id: str) -> None:
        if described(self.features_path(slide_id)) != self._expected(slide_id):
            self._features.forget(slide_id)

    def quick_model(self, name: str = "quick") -> Path:
        """Write encoder and head as a stage-1 bundle that ``wsss-tile run`` and *Segment slide* take at once.

        Parameters
        ----------
        name : str, optional
            Folder in ``models/``; an earlier model of that name is replaced.

        Returns
        -------
        Path
            The bundle. Its labels are those of ``fit().map(...)``.

        Raises
        ------
        FewLabelsError, FeaturesError, BundleError, ProjectReadOnlyError
        """
        return write_quick_model(self, self.fit(), self.folder / "models" / _model_name(name))

    def train(
        self, name: str = "trained", *, on_event: Callable[[TrainEvent], object] | None = None, **options: Any
    ) -> Path:
        """Train a segmentation model from the labels of all slides, in processes of its own.

        Parameters
        ----------
        name : str, optional
            Folder in ``models/`` and ``runs/``. A run that was interrupted is gone on with; one of other labels starts
            over, and its model is replaced when the new one is complete.
        on_event : callable, optional
            Receives every event (``on_event=print``); what it raises ends the run.
        **options
            Fields of :class:`napari_wsss.project.training_run.TrainOptions`.

        Returns
        -------
        Path
            The bundle.

        Raises
        ------
        FewLabelsError, SlideError, TrainingError, BundleError, ProjectReadOnlyError
        """
        bundle: Path | None = None
        with closing(self.train_events(name, **options)) as events:
            for event in events:
                if on_event is not None:
                    on_event(event)
                if isinstance(event, Trained):
                    bundle = event.bundle
        assert bundle is not None, "a training that raises nothing ends with Trained"
        return bundle

    def train_events(self, name: str = "trained", **options: Any) -> Generator[TrainEvent]:
        """Do what :meth:`train` does as a generator of events; closing it ends the running program."""
        agreed = [label for label in agreed_labels(self.labels())[0] if not label.test]
        sketch = partial(sketch_of, self, self._features)
        return train_events(self, _model_name(name), card_of(self, agreed), sketch, TrainOptions(**options))

    def models(self) -> dict[str, Path]:
        """Return the bundles of the project by name, oldest first."""
        return models_of(self)

    def goes_on_from(self) -> str:
        """Return the name of the trained model that the next training goes on from; empty where it starts anew."""
        former = former_of(self)
        return "" if former is None else former.name

    def merge(self, other: str | Path | Project) -> Agreement:
        """Take over the labels of another project about the same slides, under their readers' names.

        Parameters
        ----------
        other : str, Path or Project
            With the same classes, tile and scale.

        Returns
        -------
        Agreement
            Cohen's kappa per class between the labels here and there, and the tiles about which they disagree.
            Merging again adds nothing.

        Raises
        ------
        ProjectError, LabelError, ProjectReadOnlyError
        """
        if isinstance(other, Project):
            return merge_labels(self, other)
        with open_project(other, write=False) as opened:
            return merge_labels(self, opened)


_MODEL_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")


def _model_name(name: str) -> str:
    if not _MODEL_NAME.fullmatch(name):
        raise ProjectError(f"{name!r} cannot be a model's name; use letters, digits, - and _.")
    return name
