"""Going on with an unfinished result of an earlier session: its request, made out of what its store says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_wsss.models import Bundle, load_bundle
from napari_wsss.plugin.common import Preferences
from napari_wsss.plugin.results import Result, difference_text
from napari_wsss.plugin.segment.request import RunRequest
from tiling.errors import BundleError, StoreMismatchError, WsssError
from tiling.geometry import Box

if TYPE_CHECKING:
    from napari_wsss.plugin.segment.choices import Choices

__all__ = ["request_to_resume"]


def request_to_resume(choices: Choices, result: Result) -> RunRequest:
    """Return the request that goes on with a result, whatever is chosen in the panel now.

    Raises
    ------
    WsssError
        When that cannot be made out: the model has gone, or the result was begun with what the panel does not offer.
    """
    run = result.run
    bundle = _bundle(choices, run)
    asked = run.get("parameters") or {}
    region = Box(**asked["region"]) if asked.get("region") else None
    roi = None
    if asked.get("roi"):
        roi = _drawn(choices, asked["roi"])
    mpp = float(run["resolution"]["mpp"])
    assert choices.slide is not None
    request = RunRequest(
        choices.slide_path,
        bundle,
        result.store,
        None if mpp == choices.file_mpp else mpp,
        region,
        roi,
        _preferences(choices.preferences, run, bundle),
        tissue_threshold=(asked.get("tissue") or {}).get("threshold"),
        tissue_areas=choices.chosen_tissue()[1] if asked.get("tissue_areas") else None,
    )
    if differs := difference_text(run, request.description(mpp)):
        raise StoreMismatchError(
            f"{result.store.name} was begun in another way than the panel can go on ({differs}); "
            "finish it where it was begun, or press Run for a new result."
        )
    return request


def _bundle(choices: Choices, run: Mapping[str, Any]) -> Bundle:
    model = run.get("model") or {}
    names = dict.fromkeys([*choices.bundles(), str(model.get("bundle", ""))])
    loaded = [choices.bundle] if choices.bundle is not None else []
    for name in names:
        try:
            loaded.append(load_bundle(name, verify=False))
        except WsssError:  # a model that cannot be read is not the one looked for
            continue
    for bundle in loaded:
        if bundle.name == model.get("bundle") and dict(bundle.hashes) == model.get("hashes"):
            return bundle
    raise BundleError(
        f"The model {model.get('bundle', '')} with which this result was begun is not among the models; "
        "add its folder under Model, then press Resume."
    )


def _drawn(choices: Choices, identity: Mapping[str, Any]) -> Any:
    """Return the drawn region if it is the one of the result."""
    _, roi = choices.chosen_region()
    if roi is None or roi.identity() != identity:
        raise StoreMismatchError(
            "This result was begun on drawn shapes; choose their layer as region, then press Resume."
        )
    return roi


def _preferences(now: Preferences, run: Mapping[str, Any], bundle: Bundle) -> Preferences:
    asked = run.get("parameters") or {}
    gate = (run.get("model") or {}).get("gate") or {}
    limits = [round(float(limit), 6) for limit in gate.get("thresholds", ())]
    own = [round(float(limit), 6) for limit in bundle.gate.thresholds]
    return replace(
        now,
        overlap=asked.get("overlap", now.overlap),
        gate=bool(gate.get("on", True)),
        gate_threshold=0.0 if limits == own or len(limits) != 1 else limits[0],
        skip_background=asked.get("tissue") is not None,
        keep_cams=bool(asked.get("cams")),
    )
