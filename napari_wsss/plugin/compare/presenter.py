"""The presenter of the Compare dock: two label layers in, an agreement layer and a table out."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_wsss.plugin.common import Job, Starter, explain, start_in_thread
from napari_wsss.plugin.compare.agreement import (
    AGREE,
    DIFFER,
    Comparison,
    LabelRaster,
    agreement_pyramid,
    compare,
)
from napari_wsss.plugin.view import METADATA_KEY, kind_of, placement_of, slide_of, unit_factors
from tiling.classes import ClassSchema, TissueClass
from tiling.errors import DataError

__all__ = ["Comparer", "comparison_rows", "raster_of"]

NAME = "Agreement"
COLORS = {None: "transparent", 0: "transparent", AGREE: "#1b9e77", DIFFER: "#e7298a"}


def _is_truth(layer: Any) -> bool:
    return kind_of(layer) != "store"


def _are_of_two_slides(first: Any, second: Any) -> bool:
    """Tell whether two layers are known to lie on different slides; of layers by others that is not known."""
    slides = slide_of(first), slide_of(second)
    return slides[0] != slides[1] and all(slide is not None and slide.quick_hash for slide in slides)


@dataclass(frozen=True)
class _Result:
    comparison: Comparison
    levels: list[Any]


def raster_of(layer: Any, units: Any) -> LabelRaster:
    """Return a labels layer as a raster in a world of the given units.

    Parameters
    ----------
    layer : napari.layers.Labels
        With a class schema when this plugin made it; otherwise its labels are the classes.
    units : sequence
        (y, x) units of the world.

    Raises
    ------
    DataError
        When the layer is not 2-D or its units cannot be converted.
    """
    levels = list(layer.data) if layer.multiscale else [layer.data]
    if levels[0].ndim != 2:
        raise DataError(f"{layer.name} has {levels[0].ndim} axes; only flat label images can be compared.")
    try:
        factor = unit_factors(layer.units, units)
    except Exception as error:
        raise DataError(f"{layer.name} has units that do not fit the other layer's ({error}).") from error
    zero, down, right = (
        np.asarray(layer.data_to_world(point), float)[-2:] * factor for point in ((0, 0), (1, 0), (0, 1))
    )
    matrix = np.eye(3)
    matrix[:2, 0], matrix[:2, 1], matrix[:2, 2] = down - zero, right - zero, zero
    return LabelRaster(levels, matrix, _schema_of(layer, levels[-1]))


def _schema_of(layer: Any, coarsest: Any) -> ClassSchema:
    schema = layer.metadata.get(METADATA_KEY, {}).get("schema")
    if isinstance(schema, ClassSchema):
        return schema
    largest = min(254, max(1, int(np.asarray(coarsest).max())))
    classes = tuple(TissueClass(f"Label {n}", f"L{n}", "#888888") for n in range(1, largest + 1))
    return ClassSchema("labels", classes)


def comparison_rows(comparison: Comparison) -> list[tuple[str, str]]:
    """Return the table for the panel: (name, value) lines."""
    return [
        *(
            (name, _number(value))
            for name, value in zip(comparison.names, comparison.scores.iou, strict=True)
        ),
        ("Mean IoU", _number(comparison.scores.miou)),
        ("Equal pixels", _percent(comparison.scores.pixel_accuracy)),
        ("Compared (labelled by both)", _percent(comparison.coverage)),
    ]


def _number(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "–"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %" if np.isfinite(value) else "–"


class Comparer:
    """Compares two label layers of a viewer in another thread.

    Parameters
    ----------
    viewer : napari.Viewer
    start : callable, optional
        Starts a job in another thread.

    Attributes
    ----------
    first, second : napari.layers.Labels or None
    comparison : Comparison or None
    problem : str
    progress : float
        0 … 1.
    revision : int
        Grows with every change.
    """

    def __init__(self, viewer: Any, start: Starter = start_in_thread) -> None:
        self.viewer = viewer
        self.first: Any | None = None
        self.second: Any | None = None
        self.comparison: Comparison | None = None
        self.problem = ""
        self.progress = 0.0
        self.revision = 0
        self._start = start
        self._job: Job[_Result] | None = None
        self._placed: dict[str, Any] = {}

    @property
    def is_busy(self) -> bool:
        """Whether a comparison is going on."""
        return self._job is not None

    def label_layers(self) -> list[Any]:
        """Return the layers that can be compared."""
        from napari.layers import Labels

        return [layer for layer in self.viewer.layers if isinstance(layer, Labels) and layer.name != NAME]

    def follow_layers(self) -> None:
        """Choose two layers of one slide when there are two, and forget those that were removed."""
        layers = self.label_layers()
        before = (self.first, self.second)
        # What is seen comes before what is hidden (on another slide), and of a result and a truth the result, whatever
        # their order in the viewer.
        ordered = sorted(layers, key=lambda layer: (not layer.visible, _is_truth(layer)))
        self.first = self.first if self.first in layers else next(iter(ordered), None)
        others = [layer for layer in sorted(layers, key=_is_truth, reverse=True) if layer != self.first]
        same = [layer for layer in others if not _are_of_two_slides(self.first, layer)]
        self.second = self.second if self.second in others else next(iter(same), None)
        if before != (self.first, self.second):
            self.revision += 1

    def choose(self, first: Any | None, second: Any | None) -> None:
        """Choose what is compared."""
        self.first, self.second = first, second
        self.revision += 1

    def run(self) -> bool:
        """Compare the two layers; tell whether that was started."""
        if self._job is not None:
            return False
        self.comparison, self.problem, self.progress = None, "", 0.0
        self.revision += 1
        if self.first is None or self.second is None or self.first == self.second:
            self.problem = "Choose two different label layers, such as a result and a truth."
            return False
        if _are_of_two_slides(self.first, self.second):
            names = f"{self.first.name} and {self.second.name}"
            self.problem = f"{names} are of two slides; choose two results of one slide."
            return False
        try:
            units = self.first.units[-2:]
            rasters = raster_of(self.first, units), raster_of(self.second, units)
        except DataError as error:
            self.problem = explain(error)
            return False
        self._placed = placement_of(self.first)
        self._job = Job(partial(self._work, *rasters))
        self._start(self._job)
        return True

    def _work(self, first: LabelRaster, second: LabelRaster) -> Generator[_Result]:
        comparison = compare(first, second, self._report)
        yield _Result(comparison, agreement_pyramid(first, second))

    def _report(self, done: int, total: int) -> None:
        self.progress = done / total

    def poll(self) -> bool:
        """Take the result when it has come; tell whether something is new."""
        job = self._job
        if job is None or not job.has_ended:
            return False
        self._job = None
        found = job.poll()
        if job.error is not None:
            self.problem = explain(job.error)
        elif found:
            self.comparison = found[0].comparison
            self._show(found[0].levels)
        self.revision += 1
        return True

    def wait(self, timeout: float = 600.0) -> Comparison | None:
        """Wait for the result (for scripts)."""
        if self._job is not None:
            self._job.wait(timeout)
            self.poll()
        return self.comparison

    def _show(self, levels: list[NDArray[np.uint8]]) -> None:
        import pandas as pd
        from napari.utils.colormaps import DirectLabelColormap

        for layer in [layer for layer in self.viewer.layers if layer.name == NAME]:
            self.viewer.layers.remove(layer)
        for layer in (self.first, self.second):
            if layer is not None:
                layer.visible = False  # classes below would tint green and magenta
        self.viewer.add_labels(
            levels,
            name=NAME,
            multiscale=True,
            opacity=0.6,
            colormap=DirectLabelColormap(color_dict=COLORS),
            features=pd.DataFrame(
                {"index": [0, AGREE, DIFFER], "class": ["not compared", "equal", "different"]}
            ),
            metadata={METADATA_KEY: {"kind": "agreement"}},
            **self._placed,
        )
