"""OME-Zarr 0.5 metadata of a result store, built from typed models (yaozarrs), so that it is valid by construction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from yaozarrs import v05

from tiling.classes import ClassSchema

__all__ = ["image_attributes", "label_attributes", "label_translation", "labels_group_attributes"]

_UNIT = "micrometer"


def label_translation(origin: tuple[int, int], slide_mpp: float, mpp: float) -> tuple[float, float]:
    """Return (y, x) in µm of the centre of canvas pixel (0, 0).

    The frame is that of the slide: the centre of its level-0 pixel (0, 0) is at (0, 0) µm, which is how viewers place
    an image without translation. A canvas pixel of another size therefore starts half the difference later.

    Parameters
    ----------
    origin : (int, int)
        Level-0 x, y of the canvas corner.
    slide_mpp, mpp : float
        µm per level-0 pixel and per canvas pixel.
    """
    shift = (mpp - slide_mpp) / 2
    return origin[1] * slide_mpp + shift, origin[0] * slide_mpp + shift


def _multiscale(
    name: str,
    levels: int,
    mpp: tuple[float, float],
    translation: tuple[float, float],
    channels: bool,
) -> v05.Multiscale:
    """Describe ``levels`` levels, each half as fine as the one before, aligned by their outer corner."""
    axes: list[Any] = [v05.ChannelAxis(name="c")] if channels else []
    axes += [v05.SpaceAxis(name="y", unit=_UNIT), v05.SpaceAxis(name="x", unit=_UNIT)]
    lead_scale = [1.0] if channels else []
    lead_shift = [0.0] if channels else []
    datasets = []
    for level in range(levels):
        factor = 2**level
        # The centre of the first coarse pixel lies in the middle of the fine pixels that it covers.
        shift = [t + m * (factor - 1) / 2 for t, m in zip(translation, mpp, strict=True)]
        datasets.append(
            v05.Dataset(
                path=str(level),
                coordinateTransformations=[
                    v05.ScaleTransformation(scale=[*lead_scale, *(m * factor for m in mpp)]),
                    v05.TranslationTransformation(translation=[*lead_shift, *shift]),
                ],
            )
        )
    return v05.Multiscale(name=name, axes=axes, datasets=datasets)


def _dump(model: Any) -> dict[str, Any]:
    dumped: dict[str, Any] = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {"ome": dumped}


def image_attributes(
    name: str, levels: int, mpp: tuple[float, float], translation: tuple[float, float], rgb: bool
) -> dict[str, Any]:
    """Return the group attributes of an image pyramid.

    Parameters
    ----------
    name : str
    levels : int
    mpp : (float, float)
        µm per pixel (y, x) of the finest level.
    translation : (float, float)
        µm (y, x) of the centre of its first pixel.
    rgb : bool
        Three channels red, green, blue in front of y, x; else a plain (y, x) image.
    """
    omero = None
    if rgb:
        window = {"start": 0, "end": 255, "min": 0, "max": 255}
        omero = {
            "channels": [
                {"label": label, "color": color, "active": True, "window": window}
                for label, color in (("red", "FF0000"), ("green", "00FF00"), ("blue", "0000FF"))
            ],
            "rdefs": {"model": "color"},
        }
    scales = _multiscale(name, levels, mpp, translation, channels=rgb)
    return _dump(v05.Image.model_validate({"version": "0.5", "multiscales": [scales], "omero": omero}))


def label_attributes(
    name: str,
    schema: ClassSchema,
    levels: int,
    mpp: float,
    translation: tuple[float, float],
    areas_mm2: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Return the group attributes of a label image: pyramid, colours, class names and, once known, areas.

    Parameters
    ----------
    name : str
    schema : ClassSchema
        Label *i* + 1 is class *i*; label 0 is transparent.
    levels : int
    mpp : float
        µm per pixel of the finest level.
    translation : (float, float)
        µm (y, x) of the centre of its first pixel.
    areas_mm2 : mapping, optional
        Class name → mm².
    """
    colors = [{"label-value": 0, "rgba": [0, 0, 0, 0]}]
    properties: list[dict[str, Any]] = [{"label-value": 0, "class": "nothing here", "abbreviation": "-"}]
    for value, tissue in enumerate(schema.classes, start=1):
        colors.append({"label-value": value, "rgba": [*tissue.rgb, 255]})
        entry: dict[str, Any] = {
            "label-value": value,
            "class": tissue.name,
            "abbreviation": tissue.abbreviation,
        }
        if areas_mm2 is not None:
            entry["area_mm2"] = areas_mm2[tissue.name]
        properties.append(entry)
    label = {"colors": colors, "properties": properties, "source": {"image": "../../"}}
    scales = _multiscale(name, levels, (mpp, mpp), translation, channels=False)
    model = v05.LabelImage.model_validate({"version": "0.5", "multiscales": [scales], "image-label": label})
    dumped = _dump(model)
    # The models may drop unknown keys of a property; ours are allowed by the format and wanted by viewers.
    dumped["ome"]["image-label"] = label
    return dumped


def labels_group_attributes(names: Sequence[str]) -> dict[str, Any]:
    """Return the attributes of the ``labels`` group that lists its label images."""
    return _dump(v05.LabelsGroup(labels=list(names)))
