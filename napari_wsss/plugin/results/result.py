"""A result: one slide, one model, one region, one set of options, under one name; finished, half done or running."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from napari_wsss.plugin.results.look import load_look
from napari_wsss.plugin.results.numbers import class_areas
from napari_wsss.plugin.results.state import RunState
from napari_wsss.plugin.view import SlideKey
from tiling.address import is_address
from tiling.classes import ClassSchema
from tiling.store import Journal, Store, open_store

__all__ = ["Result", "difference_text", "read_result", "state_of", "unusual_options"]

_USUAL_OVERLAP = 0.25


@dataclass(frozen=True)
class Result:
    """What a panel knows about one store.

    Attributes
    ----------
    store : Path
        Absolute.
    slide : SlideKey
        The slide it was made from.
    run : dict
        What the run was asked for (``run.json``).
    schema : ClassSchema
        Its classes under the names and colours that the user gave them.
    slide_mpp : float
        µm per level-0 pixel at which it was made.
    state : RunState
        Where it stands: the same for a run that goes on, one that was stopped, and one of an earlier session.
    """

    store: Path
    slide: SlideKey
    run: Mapping[str, Any]
    schema: ClassSchema
    slide_mpp: float
    state: RunState

    @property
    def title(self) -> str:
        """Model and region, for people; not always unique among the results of a slide."""
        made = f"{_model(self.run) or self.store.name} · {_region(self.run)}"
        return f"{made}, corrected by hand" if self.run.get("corrected") else made

    @property
    def areas(self) -> list[float]:
        """mm² per class of the schema: the receipt's once there is one, those committed so far before."""
        return class_areas(ClassSchema.from_dict(self.run["schema"]), self.state)

    @property
    def is_finished(self) -> bool:
        """Whether it is complete and can be exported."""
        return self.state.phase in ("done", "cached", "empty")

    def with_state(self, state: RunState) -> Result:
        """Return the same result at another point of its run."""
        return replace(self, state=state)

    def scale_note(self, slide_mpp: float | None) -> str:
        """Return what to say when the slide has other µm per pixel now; empty when it has the same."""
        if slide_mpp is None or abs(slide_mpp / self.slide_mpp - 1) < 1e-6:
            return ""
        return (
            f"Made at {self.slide_mpp:.4g} µm per pixel, the slide is set to {slide_mpp:.4g} now: "
            "areas are those of the run. Run again to measure at the new scale."
        )


def read_result(path: Path) -> Result:
    """Read what a store says about itself; no pixels are read and no network is loaded.

    Raises
    ------
    StoreError
        When it is no store, or damaged.
    """
    store = open_store(path if is_address(path) else path.absolute())
    slide = SlideKey.from_identity(store.run.get("slide") or {})
    schema = load_look(store.path, store.schema)
    return Result(store.path, slide, store.run, schema, store.slide_mpp, state_of(store))


def state_of(store: Store) -> RunState:
    """Return where the run of a store stands, from its receipt, or from its journal while there is none.

    Raises
    ------
    StoreError
        When either is damaged.
    """
    receipt = store.receipt
    if receipt is None:
        committed = Journal(store.path / "journal").committed()
        return RunState(
            "cancelled",
            store=store.path,
            tiles_done=committed.tiles + committed.read_errors,
            seconds=committed.seconds,
            mpp=store.mpp,
            counts=tuple(committed.counts),
        )
    tiles = int(receipt["counters"]["tiles"])
    return RunState(
        "empty" if receipt["status"] == "empty" else "done",
        store=store.path,
        tiles_done=tiles,
        tiles=tiles,
        seconds=float(receipt.get("timings", {}).get("seconds", 0.0)),
        mpp=store.mpp,
        areas=dict(receipt["areas_mm2"]),
    )


def unusual_options(run: Mapping[str, Any]) -> list[str]:
    """Return the options of a run that are not the usual ones, in words."""
    asked = run.get("parameters") or {}
    words = []
    overlap = asked.get("overlap", _USUAL_OVERLAP)
    if overlap != _USUAL_OVERLAP:
        words.append(f"overlap {100 * overlap:.0f} %")
    if not ((run.get("model") or {}).get("gate") or {}).get("on", True):
        words.append("all classes everywhere")
    if asked.get("tissue", True) is None:
        words.append("glass included")
    if asked.get("cams"):
        words.append("with what the model looked at")
    return words


def difference_text(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return in what two runs on one slide differ, in words for people; empty when a run can go on with the other.

    Parameters
    ----------
    old, new : mapping
        As in ``run.json``; of ``new`` only what is known before the networks are loaded.
    """
    asked, before = new.get("parameters") or {}, old.get("parameters") or {}
    found = []
    if _weights(old) != _weights(new):
        found.append(f"the model ({_model(old) or 'another one'})")
    if any(asked.get(key) != before.get(key) for key in ("region", "roi")):
        found.append(f"the region ({_region(old)})")
    if abs(_slide_mpp(old) - _slide_mpp(new)) > 1e-9:
        found.append(f"the scale ({_slide_mpp(old):.4g} µm per pixel)")
    if "gate" in (old.get("model") or {}) and _gate(old) != _gate(new):
        found.append("the rule for classes of the neighbourhood")
    if any(asked.get(key) != before.get(key) for key in ("tissue", "tissue_areas")):
        found.append("what counts as tissue")
    if asked.get("overlap") != before.get("overlap"):
        found.append(f"the overlap ({100 * before.get('overlap', 0):.0f} %)")
    # How the rule for classes is applied depends on the loaded networks: that is left to the engine.
    rest = (asked.keys() & before.keys()) - {
        "region",
        "roi",
        "tissue",
        "tissue_areas",
        "overlap",
        "gate_mode",
    }
    if any(asked[key] != before[key] for key in rest):
        found.append("its options")
    if old.get("corrected"):
        found.append("corrections by hand")
    return ", ".join(found)


def _model(run: Mapping[str, Any]) -> str:
    return str((run.get("model") or {}).get("bundle", ""))


def _weights(run: Mapping[str, Any]) -> Any:
    model = run.get("model") or {}
    return model.get("hashes") or model.get("bundle")


def _gate(run: Mapping[str, Any]) -> Any:
    gate = (run.get("model") or {}).get("gate") or {}
    on = gate.get("on", True)
    return on, [round(float(limit), 6) for limit in gate.get("thresholds", ())] if on else []


def _slide_mpp(run: Mapping[str, Any]) -> float:
    return float((run.get("resolution") or {}).get("mpp") or 0.0)


def _region(run: Mapping[str, Any]) -> str:
    asked = run.get("parameters") or {}
    if roi := asked.get("roi"):
        number = int(roi.get("polygons", 1))
        return "drawn shape" if number == 1 else f"{number} drawn shapes"
    if box := asked.get("region"):
        mm = _slide_mpp(run) / 1000
        return f"part of {box['width'] * mm:.2f} × {box['height'] * mm:.2f} mm"
    return "whole slide"
