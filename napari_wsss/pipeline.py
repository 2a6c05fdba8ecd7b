"""The Python API: a slide and a model bundle in, a result store out."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_wsss.models import Bundle, load_bundle
from tiling.checks import flag, number
from tiling.engine import Event, Finished, kept_memory, run
from tiling.errors import StoreError
from tiling.export import Frame, as_spatialdata, region_frame, store_card
from tiling.geometry import Box
from tiling.plan import GatePlace, Roi, RunOptions, TissueParameters
from tiling.slides import Slide, open_slide
from tiling.store import Store, open_store

if TYPE_CHECKING:
    import geopandas
    import spatialdata
    import zarr

    from napari_wsss.predictor import BundlePredictor

__all__ = ["Result", "Settings", "make_predictor", "segment", "segment_events"]


@dataclass(frozen=True)
class Settings:
    """How a slide is segmented; the same names as the options of ``wsss-tile run``.

    Attributes
    ----------
    overlap : float
        Shared fraction of neighbouring tiles; 0 is the reference's tiling.
    region : Box or (x, y, width, height), optional
        Level-0 pixels to which the run is confined.
    roi : Roi, optional
        Polygons in level-0 pixels to which the run is confined.
    gate : bool
        Whether stage 1 switches classes off in stage 2.
    gate_mode : {"field", "tile"}
        Where it does so: at each pixel, by stage 1's probabilities interpolated between tiles, or in whole tiles as the
        reference does.
    gate_threshold : float, optional
        One threshold for all classes; the bundle's own when absent.
    batch_size : int
        Tiles per prediction.
    read_threads : int
        Threads that read and decode.
    device, precision, backend : str
        See :class:`napari_wsss.predictor.BundlePredictor`.
    tissue : TissueParameters or None
        How tissue is found; None segments everything.
    tissue_areas : Roi, optional
        Tissue drawn by hand, in place of what would be found.
    keep_cams, keep_probabilities : bool
        Also store stage-1 CAMs and blended class probabilities.
    read_errors : {"fail", "fill"}
        Whether an unreadable tile ends the run or stays blank and flagged.
    """

    overlap: float = 0.25
    region: Box | tuple[int, int, int, int] | None = None
    roi: Roi | None = None
    gate: bool = True
    gate_mode: GatePlace = "field"
    gate_threshold: float | None = None
    batch_size: int = 16
    read_threads: int = 2
    device: str = "auto"
    precision: Literal["auto", "fp32", "mixed", "bf16", "fp16"] = "auto"
    backend: Literal["auto", "torch", "compile", "openvino"] = "auto"
    tissue: TissueParameters | None = field(default_factory=TissueParameters)
    tissue_areas: Roi | None = None
    keep_cams: bool = False
    keep_probabilities: bool = False
    read_errors: Literal["fail", "fill"] = "fail"

    def __post_init__(self) -> None:
        for name in ("gate", "keep_cams", "keep_probabilities"):
            flag(name, getattr(self, name))
        if self.gate_threshold is not None:
            object.__setattr__(self, "gate_threshold", number("gate_threshold", self.gate_threshold, 0, 1))
        self.run_options(1.0)  # which checks the rest

    def run_options(self, mpp: float) -> RunOptions:
        """Return the engine's options for a model with ``mpp`` µm per pixel."""
        return RunOptions(
            mpp=mpp,
            overlap=self.overlap,
            tissue=self.tissue,
            tissue_areas=self.tissue_areas,
            region=_box(self.region),
            roi=self.roi,
            batch_size=self.batch_size,
            read_threads=self.read_threads,
            probabilities=self.keep_probabilities,
            cams=self.keep_cams,
            gate_mode=self.gate_mode,
            read_errors=self.read_errors,
        )


def _box(region: Any) -> Box | None:
    """Return a region as a box; what is in it is checked by the engine's options."""
    if region is None or isinstance(region, Box):
        return region
    sides = tuple(region) if isinstance(region, Iterable) else ()
    if len(sides) != 4 or any(isinstance(side, str) for side in sides):
        raise TypeError(f"region must be a Box, four whole numbers or None; got {region!r}")
    return Box(*sides)


@dataclass(frozen=True)
class Result:
    """A finished segmentation.

    Attributes
    ----------
    store : Store
        The open result store.
    status : {"done", "cached", "empty"}
        ``cached``: it was complete already and its receipt holds.
    """

    store: Store
    status: str

    @property
    def labels(self) -> list[zarr.Array[Any]]:
        """Label pyramid, finest first, (height, width) uint8 store labels."""
        return self.store.labels()

    @property
    def areas(self) -> dict[str, float]:
        """Class name → mm²."""
        return self.store.areas

    @classmethod
    def open(cls, path: str | Path) -> Result:
        """Return the result of an earlier run.

        Raises
        ------
        StoreError
            When the folder is not a store of ours, is damaged, or its run has not finished.
        """
        store = open_store(path)
        receipt = store.receipt
        if receipt is None:
            raise StoreError(f"{store.path} is not complete; run the slide again to finish it.")
        return cls(store, str(receipt["status"]))

    def polygons(
        self, *, frame: Frame = "openslide", min_area_um2: float = 0.0, simplify_um: float = 0.0
    ) -> geopandas.GeoDataFrame:
        """Return the regions as a GeoDataFrame; see :func:`tiling.export.objects.region_frame`.

        Raises
        ------
        ExportError
            When geopandas is not installed.
        """
        return region_frame(self.store, frame=frame, min_area_um2=min_area_um2, simplify_um=simplify_um)

    def to_spatialdata(self) -> spatialdata.SpatialData:
        """Return the result as SpatialData; see :func:`tiling.export.objects.as_spatialdata`.

        Raises
        ------
        ExportError
            When spatialdata is not installed.
        """
        return as_spatialdata(self.store)

    def _repr_html_(self) -> str:
        """Show the slide, its classes and areas in a notebook."""
        return store_card(self.store, self.status)


def make_predictor(bundle: Bundle | str | Path, settings: Settings | None = None) -> BundlePredictor:
    """Load the networks of a bundle; share the result between slides to load them once.

    Raises
    ------
    BundleError, DeviceError
    """
    from napari_wsss.predictor import BundlePredictor

    settings = settings or Settings()
    loaded = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
    return BundlePredictor(
        loaded,
        device=settings.device,
        precision=settings.precision,
        gate=settings.gate,
        gate_threshold=settings.gate_threshold,
        backend=settings.backend,
    )


def segment_events(
    slide: Slide | str | Path,
    bundle: Bundle | BundlePredictor | str | Path,
    out: str | Path,
    *,
    settings: Settings | None = None,
    mpp: float | None = None,
    name: str | None = None,
    resume: bool = True,
    **options: Any,
) -> Generator[Event]:
    """Segment a slide as a generator of events.

    Closing the generator cancels the run and leaves a store that a later call resumes.

    Parameters
    ----------
    slide : Slide, str or Path
        An open slide (stays open) or a path.
    bundle : Bundle, BundlePredictor, str or Path
        A bundle, the name of an embedded one, its folder, or loaded networks.
    out : str or Path
        The store to write, ``<slide_id>.zarr``.
    settings : Settings, optional
        All settings at once.
    mpp : float, optional
        µm per level-0 pixel, when ``slide`` is a path whose file has none or a wrong one.
    name : str, optional
        Slide id; the stem of ``out`` when absent.
    resume : bool
        Go on with an unfinished store and keep a finished one; else start over.
    **options
        Single fields of :class:`Settings`, in place of ``settings``.

    Yields
    ------
    Event
        See :mod:`tiling.engine.events`.

    Raises
    ------
    WsssError
        A :class:`SlideError`, :class:`ResolutionError`, :class:`RegionError`, :class:`StoreError`,
        :class:`BundleError` or :class:`DeviceError`, each with one sentence for people.
    """
    if settings is not None and options:
        raise TypeError("give either settings or single options, not both")
    settings = settings or Settings(**options)
    if isinstance(slide, Slide) and mpp is not None:
        raise TypeError("mpp is for paths; open the slide with open_slide(path, mpp=…)")
    predictor = make_predictor(bundle, settings) if isinstance(bundle, Bundle | str | Path) else bundle
    opened = nullcontext(slide) if isinstance(slide, Slide) else open_slide(slide, mpp=mpp)
    with opened as source, kept_memory():
        yield from run(
            source, predictor, Path(out), settings.run_options(predictor.mpp), name=name, resume=resume
        )


def segment(
    slide: Slide | str | Path,
    bundle: Bundle | BundlePredictor | str | Path,
    out: str | Path,
    *,
    on_event: Callable[[Event], object] | None = None,
    **options: Any,
) -> Result:
    """Segment a slide into a result store.

    Parameters
    ----------
    slide, bundle, out
        As in :func:`segment_events`.
    on_event : callable, optional
        Receives every event (``on_event=print``).
    **options
        As in :func:`segment_events`.

    Returns
    -------
    Result

    Raises
    ------
    WsssError
        As in :func:`segment_events`.

    Examples
    --------
    >>> result = segment("a.svs", "synthetic-demo", "a.zarr", overlap=0.25)  # doctest: +SKIP
    >>> result.areas  # doctest: +SKIP
    """
    finished: Finished | None = None
    for event in segment_events(slide, bundle, out, **options):
        if on_event is not None:
            on_event(event)
        if isinstance(event, Finished):
            finished = event
    assert finished is not None, "a run that raises nothing ends with Finished"
    return Result(open_store(finished.store), finished.status)
