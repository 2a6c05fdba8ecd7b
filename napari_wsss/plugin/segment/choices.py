"""What a user has chosen to be segmented: slide, µm per pixel, model, region and options."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from napari_wsss.backends import HAND
from napari_wsss.models import Bundle, default_bundle, list_bundles, load_bundle
from napari_wsss.plugin.common import (
    Preferences,
    explain,
    in_plain_words,
    load_preferences,
    save_preferences,
)
from napari_wsss.plugin.segment.region import drawn_roi, view_box
from napari_wsss.plugin.segment.request import RunRequest, default_folder, result_path
from napari_wsss.plugin.view import (
    METADATA_KEY,
    SlideKey,
    fit,
    kind_of,
    layers_of_kind,
    placement_of,
    rescale,
    share_unit,
    show_scale_bar,
    slide_layer,
    slide_of,
)
from tiling.errors import BundleError, JobError, RegionError, ResolutionError, SlideError, WsssError
from tiling.files import expanded
from tiling.geometry import Box
from tiling.plan import Roi
from tiling.slides import open_slide

__all__ = ["Choices", "RegionChoice"]

RegionChoice = Literal["whole", "view", "shapes"]


class Choices:
    """The choices that make up a :class:`~napari_wsss.plugin.segment.request.RunRequest`.

    Parameters
    ----------
    viewer : napari.Viewer or napari.components.ViewerModel

    Attributes
    ----------
    revision : int
        Grows whenever something that a panel shows is different.
    slide : napari.layers.Image or None
        The chosen slide layer.
    region : {"whole", "view", "shapes"}
    shapes : napari.layers.Shapes or None
        Where the region was drawn.
    bundle : Bundle or None
    bundle_problem : str
        Why there is no bundle.
    preferences : Preferences
    problem : str
        Why the last command did nothing, in full; empty after one that did something.
    """

    def __init__(self, viewer: Any) -> None:
        self.viewer = viewer
        self.revision = 0
        self.slide: Any | None = None
        self._seen_slides: list[Any] = []
        self.region: RegionChoice = "whole"
        self.shapes: Any | None = None
        self.preferences: Preferences = load_preferences()
        self.bundle: Bundle | None = None
        self.bundle_problem = ""
        self.problem = ""
        self.choose_bundle(self.preferences.bundle)
        camera = viewer.scene.camera
        for moves in (camera.events.center, camera.events.zoom):
            moves.connect(HAND.note)

    def _changed(self) -> None:
        self.revision += 1

    def report(self, error: Exception) -> None:
        """Show an error of a command in the panel."""
        self.problem = explain(error)
        self._changed()

    def say(self, text: str) -> None:
        """Show a sentence in the panel."""
        self.problem = text
        self._changed()

    def slide_layers(self) -> list[Any]:
        """Return the layers on which a run is possible: those that this plugin read from a slide file."""
        return layers_of_kind(self.viewer, "slide")

    def open_slide(self, path: str | Path) -> Any:
        """Show a slide and choose it; one that is open already is chosen.

        Raises
        ------
        SlideError
            One sentence for people.
        """
        data, arguments, _ = slide_layer(open_slide(path))
        key = arguments["metadata"][METADATA_KEY]["slide"]
        layer = next((known for known in self.slide_layers() if slide_of(known) == key), None)
        if layer is None:
            share_unit(self.viewer, arguments["units"][0])  # napari warns as soon as units mix
            layer = self.viewer.add_image(data, **arguments)
            show_scale_bar(self.viewer)
        self._seen_slides = self.slide_layers()
        self.choose_slide(layer)
        return layer

    def choose_slide(self, layer: Any | None) -> None:
        """Choose a slide layer (or none): what the panel shows and runs is that slide's from now on."""
        if layer != self.slide:  # not `is`: napari hands proxies of layers to plugins
            suited = self._made_for_slide
            self.slide, self.problem = layer, ""
            if not self.preferences.bundle and self._made_for_slide != suited:
                self._load("")
            self._changed()

    def follow_layers(self) -> None:
        """Choose the slide that was opened elsewhere, and forget one that was removed."""
        layers = self.slide_layers()
        new = [layer for layer in layers if layer not in self._seen_slides]
        self._seen_slides = layers
        if new or self.slide not in layers:
            self.choose_slide((new or layers or [None])[-1])

    @property
    def slide_key(self) -> SlideKey | None:
        """The chosen slide as results know it."""
        return None if self.slide is None else slide_of(self.slide)

    @property
    def mpp(self) -> float | None:
        """µm per level-0 pixel that the user typed for the chosen slide; None takes the slide's own."""
        return None if self.slide is None else self.slide.metadata[METADATA_KEY].get("typed_mpp")

    @property
    def file_mpp(self) -> float | None:
        """µm per level-0 pixel that the file of the chosen slide says."""
        return None if self.slide is None else self.slide.metadata[METADATA_KEY]["mpp"]

    @property
    def slide_mpp(self) -> float | None:
        """µm per level-0 pixel: what the user typed, else what the file says."""
        return self.file_mpp if self.mpp is None else self.mpp

    def set_mpp(self, mpp: float | None) -> None:
        """Take other µm per pixel for the chosen slide (None: the file's); all that lies on it moves along."""
        if self.slide is None or mpp == self.mpp:
            return
        known = self.slide.metadata[METADATA_KEY]
        known["typed_mpp"] = None if mpp is None or mpp == known["mpp"] else mpp
        rescale(self.viewer, self.slide, self.slide_mpp)
        self._changed()

    def bundles(self) -> list[str]:
        """Return the models to choose from: the embedded ones, and all folders that were ever chosen."""
        own = [folder for folder in self.preferences.own_models if folder not in list_bundles()]
        names = [*list_bundles(), *own]
        if self.preferences.bundle and self.preferences.bundle not in names:
            names.append(self.preferences.bundle)
        return names

    def choose_bundle(self, name: str) -> None:
        """Choose a model: an embedded bundle, a folder, or empty for the default.

        A bundle that cannot be used leaves none chosen, and says why in ``bundle_problem``.
        """
        self._load(name)
        own = self.preferences.own_models
        if self.bundle is not None and name and name not in (*list_bundles(), *own):
            self.set_preferences(bundle=name, models=os.pathsep.join((*own, name)))
        else:
            self.set_preferences(bundle=name)

    @property
    def _made_for_slide(self) -> str:
        """Name of the embedded bundle that was made for the chosen slide: a synthetic one has its own."""
        known = {} if self.slide is None else self.slide.metadata.get(METADATA_KEY, {})
        name: str = known.get("bundle", "")
        return name if name in list_bundles() else ""

    def _load(self, name: str) -> None:
        self.bundle, self.bundle_problem = None, ""
        try:
            if not (name or list_bundles()):
                raise BundleError("There is no model yet; choose the folder of a model bundle.")
            self.bundle = load_bundle(name or self._made_for_slide or default_bundle())
        except BundleError as error:
            self.bundle_problem = in_plain_words(error)

    def set_preferences(self, **values: Any) -> None:
        """Change options of the next runs; they are remembered."""
        self.preferences = replace(self.preferences, **values)
        save_preferences(self.preferences)
        self._changed()

    def slide_warnings(self) -> list[str]:
        """Return what is odd about the slide."""
        found = []
        if self.slide is None and (picture := self.foreign_picture()) is not None:
            found.append(
                f"{picture.name} was opened by napari itself, which shows pictures but cannot have them segmented."
            )
        if self.slide is not None and self.slide_mpp is None:
            found.append(
                "The slide does not say its µm per pixel: type it in (a scan at 40× often has 0.25)."
            )
        if self.bundle and self.slide_mpp and self.slide_mpp > 1.5 * self.bundle.mpp:
            found.append(
                f"The slide has {self.slide_mpp:.3g} µm per pixel, the model was trained at {self.bundle.mpp:.3g}: "
                "the slide is enlarged, and results may be poor."
            )
        if self.mpp is not None and self.file_mpp is not None:
            found.append(f"The file says {self.file_mpp:.4g} µm per pixel.")
        return found

    def model_warnings(self) -> list[str]:
        """Return what is odd about the model."""
        found = [self.bundle_problem] if self.bundle_problem else []
        suited = self._made_for_slide
        if suited and self.bundle and self.bundle.name != suited:
            found.append(
                f"This is a synthetic slide: the model {suited} was made for it, {self.bundle.name} was not."
            )
        return found

    def warnings(self) -> list[str]:
        """Return what a user should think about before pressing Run."""
        return [*self.model_warnings(), *self.slide_warnings()]

    def foreign_picture(self) -> Any | None:
        """Return the picture that napari opened with a reader of its own, when there is no slide; None otherwise."""
        from napari.layers import Image

        if self.slide is not None:
            return None
        for layer in reversed(self.viewer.layers):
            path = layer.source.path if isinstance(layer, Image) else None
            if path and METADATA_KEY not in layer.metadata and Path(path).exists():
                return layer
        return None

    def use_picture(self) -> Any | None:
        """Open the picture that napari opened as a slide instead; return its layer.

        Raises
        ------
        SlideError
            When it is no slide.
        """
        picture = self.foreign_picture()
        if picture is None:
            return None
        layer = self.open_slide(picture.source.path)
        self.viewer.layers.remove(picture)
        fit(self.viewer, layer)
        return layer

    def choose_region(self, region: RegionChoice) -> None:
        """Choose what is segmented: the whole slide, the current view, or what was drawn."""
        self.region = region
        if region == "shapes" and self.shapes is None:
            self.shapes = next(iter(self.shapes_layers()), None)
        self._changed()

    def shapes_layers(self) -> list[Any]:
        """Return the layers in which a region may be drawn: no marker, no ruler, and nothing of another slide."""
        from napari.layers import Shapes

        return [
            layer
            for layer in self.viewer.layers
            if isinstance(layer, Shapes)
            and kind_of(layer) not in ("marker", "ruler")
            and slide_of(layer) in (None, self.slide_key)
        ]

    def layer_names(self) -> tuple[str, ...]:
        """Return the names of all layers: when they change, a panel looks again."""
        return tuple(layer.name for layer in self.viewer.layers)

    def choose_shapes(self, layer: Any | None) -> None:
        """Choose the layer in which the region is drawn."""
        self.shapes = layer
        self._changed()

    def add_shapes(self) -> Any:
        """Add a layer on the slide, ready to draw a rectangle in."""
        placed: dict[str, Any] = {}
        if self.slide is not None:
            placed = placement_of(self.slide)
            placed["metadata"] = {METADATA_KEY: {"kind": "region", "slide": slide_of(self.slide)}}
        layer = self.viewer.add_shapes(
            ndim=2, name="Region", edge_color="yellow", face_color="transparent", **placed
        )
        layer.mode = "add_rectangle"
        self.choose_shapes(layer)
        return layer

    def request(self, *, restart: bool = False) -> RunRequest:
        """Return the run that the choices amount to.

        Raises
        ------
        WsssError
            What is missing, in one sentence.
        """
        if self.slide is None or self.slide not in self.viewer.layers:
            raise SlideError("No slide is chosen; open one with “Open slide…”, or drop it into the window.")
        if self.bundle is None:
            raise BundleError(self.bundle_problem or "No model is chosen.")
        if self.slide_mpp is None:
            raise ResolutionError("The scale of this slide is unknown; type its µm per pixel under Slide.")
        path = self.slide_path
        region, roi = self.chosen_region()
        out = result_path(path, self._folder(path), whole=region is None and roi is None)
        threshold, areas = self.chosen_tissue()
        return RunRequest(
            path,
            self.bundle,
            out,
            self.mpp,
            region,
            roi,
            self.preferences,
            resume=not restart,
            tissue_threshold=threshold,
            tissue_areas=areas,
        )

    def chosen_tissue(self) -> tuple[float | None, Roi | None]:
        """Return what a run takes as tissue instead of what it would find: a threshold, or areas."""
        return None, None

    @property
    def slide_path(self) -> Path:
        """The file of the chosen slide."""
        assert self.slide is not None
        return Path(self.slide.metadata[METADATA_KEY]["path"])

    def _folder(self, slide: Path) -> Path:
        chosen = self.preferences.folder
        return (
            expanded(chosen, JobError, "The folder for results").absolute()
            if chosen
            else default_folder(slide)
        )

    def why_not(self) -> str:
        """Return what is missing for a run, in one sentence; empty when nothing is."""
        try:
            self.request()
        except WsssError as error:
            return str(error)
        return ""

    def chosen_region(self) -> tuple[Box | None, Roi | None]:
        """Return the box or the polygons to which a run is confined, in level-0 pixels.

        Raises
        ------
        RegionError
            When the view shows nothing of the slide, or nothing is drawn on it.
        """
        if self.region == "view":
            return view_box(self.viewer, self.slide), None
        if self.region == "shapes":
            if self.shapes is None or self.shapes not in self.viewer.layers:
                raise RegionError("No shapes layer is chosen; add one and draw a rectangle on the slide.")
            return None, drawn_roi(self.viewer, self.slide, self.shapes)
        return None, None
