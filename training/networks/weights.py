"""Networks with their initial weights: ImageNet, a published checkpoint, a bundle, or nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from napari_wsss.models import (
    EfficientNetLite0,
    Encoder,
    PatchClassifier,
    SegmentationNetwork,
    build_stage1,
    build_stage2,
    find_encoder,
    load_bundle,
    load_encoder_weights,
    load_imagenet_weights,
)
from tiling.classes import ClassSchema
from tiling.errors import TrainingError
from training.networks.freezing import freeze_encoder
from training.settings import Stage1Settings, Stage2Settings, StageSettings

__all__ = ["initial_classifier", "initial_segmenter"]

_log = logging.getLogger("training")
_LIGHT = "efficientnet-lite0"
_N = TypeVar("_N", bound=nn.Module)


def initial_classifier(
    settings: Stage1Settings, schema: ClassSchema, weights: str | None, side: int
) -> PatchClassifier:
    """Build stage 1 with its initial weights.

    Parameters
    ----------
    settings : Stage1Settings
    schema : ClassSchema
    weights : str or None
        ``imagenet``, ``none``, a ``.pth`` or ``.params`` file, or a bundle; None: ImageNet where they come with a
        package, else random with a warning. An encoder by name needs the file that its makers give.
    side : int
        Of the patches, in px.

    Raises
    ------
    TrainingError, BundleError
    """
    arguments: dict[str, Any] = {}
    architecture = settings.backbone
    if find_encoder(settings.backbone) is not None:
        architecture, arguments = "encoder", {"encoder": settings.backbone}
    elif settings.backbone == _LIGHT:
        arguments |= {"width": settings.width, "enlarge": _enlarge(settings, side)}
    if settings.deep_heads:
        arguments["deep_heads"] = True
    return _built(build_stage1, architecture, schema, arguments, settings, weights, stage=1)


def initial_segmenter(
    settings: Stage2Settings, schema: ClassSchema, weights: str | None, side: int
) -> SegmentationNetwork:
    """Build stage 2 with its initial weights; see :func:`initial_classifier`."""
    arguments: dict[str, Any] = {
        "backbone": settings.backbone,
        "output_stride": settings.output_stride,
        "width": settings.width,
        "enlarge": _enlarge(settings, side),
    }
    if settings.head_channels:
        arguments["head_channels"] = settings.head_channels
    return _built(build_stage2, "deeplabv3plus", schema, arguments, settings, weights, stage=2)


def _built(
    build: Callable[..., _N],
    architecture: str,
    schema: ClassSchema,
    arguments: dict[str, Any],
    settings: StageSettings,
    weights: str | None,
    stage: int,
) -> _N:
    """Build a network, fill it, and freeze what stays as it is."""
    if settings.colour_smoothing:
        arguments["colour_smoothing"] = settings.colour_smoothing
    try:
        network = build(architecture, len(schema), **arguments)
    except (TypeError, ValueError) as error:
        raise TrainingError(f"--backbone {settings.backbone} cannot be built ({error}).") from error
    _fill(network, settings, schema, weights, stage)
    if settings.frozen_stages:
        freeze_encoder(network, settings.frozen_stages)
    return network


def _enlarge(settings: StageSettings, side: int) -> float:
    """Return the factor that brings patches to the least side, as far as networks enlarge at all."""
    return min(8.0, max(1.0, settings.least_side / side))


def _fill(
    network: nn.Module, settings: StageSettings, schema: ClassSchema, weights: str | None, stage: int
) -> None:
    """Put the wanted weights into a fresh network; an encoder by name stays as published unless asked for."""
    light = settings.backbone == _LIGHT and settings.width == 1.0
    encoder = next((m for m in network.modules() if isinstance(m, Encoder)), None)
    if encoder is not None:
        recipe = find_encoder(settings.backbone)
        if weights in (None, "imagenet") or (weights == "none" and not settings.train_encoder):
            where = f" from {recipe.source}" if recipe is not None and recipe.source else ""
            raise TrainingError(
                f"The encoder {settings.backbone} comes without weights, and random ones see nothing: "
                f"pass --weights FILE{where}, or --train-encoder --weights none to teach it from scratch."
            )
        if not settings.train_encoder:
            encoder.freeze()
    if weights == "none":
        _quicken(network)
        return
    if weights == "imagenet" and not any(isinstance(m, EfficientNetLite0) for m in network.modules()):
        raise TrainingError(
            "--weights imagenet is for efficientnet-lite0; pass --weights FILE with a state dict of torchvision's "
            "network, or none."
        )
    if weights == "imagenet" or (weights is None and light):
        load_imagenet_weights(network)
        return
    if weights is None:
        _quicken(network)
        _log.warning("stage %d starts from random weights; --weights FILE gives it better ones", stage)
        return
    path = Path(weights)
    if path.is_dir() or path.name == "model.json":
        _fill_from_bundle(network, path, schema, stage)
        return
    from napari_wsss.models import legacy

    if encoder is not None:
        load_encoder_weights(encoder, path)
    elif stage == 1:
        legacy.load_stage1_weights(network, path)
    else:
        legacy.load_stage2_weights(network, path)
    _log.info("stage %d starts from %s", stage, path)


def _fill_from_bundle(network: nn.Module, path: Path, schema: ClassSchema, stage: int) -> None:
    """Start from a bundle's network of the same stage; from the light encoder of its stage 1 where only that fits.

    What tells classes apart at the end begins anew where the bundle's classes are others.
    """
    bundle = load_bundle(path)
    first = bundle.build_stage1()
    source: nn.Module | None = first if stage == 1 else bundle.build_stage2()
    state = {} if source is None else dict(source.state_dict())
    state = {key: value for key, value in state.items() if not key.startswith("presence.")}
    fresh = network.state_dict()
    anew = set() if bundle.schema.names == schema.names else _last_layers(network, len(schema))
    if set(state) == set(fresh) and all(state[k].shape == v.shape for k, v in fresh.items() if k not in anew):
        network.load_state_dict({key: fresh[key] if key in anew else value for key, value in state.items()})
        return
    own, known = (
        next((m for m in each.modules() if isinstance(m, EfficientNetLite0)), None)
        for each in (network, first)
    )
    if own is None or known is None:
        what = "no stage 2 to start from" if source is None else "another network than --backbone asks for"
        raise TrainingError(f"{path} has {what}.")
    if own.width != known.width:
        raise TrainingError(f"{path} has an encoder of width {known.width:g}; pass --width {known.width:g}.")
    wanted = own.state_dict()
    own.load_state_dict({key: value for key, value in known.state_dict().items() if key in wanted})


def _last_layers(network: nn.Module, classes: int) -> set[str]:
    """Return the keys of the layers behind the encoder that give one value per class."""
    return {
        f"{name}.{key}"
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and module.out_channels == classes
        for key in module.state_dict()
        if not name.startswith(("encoder.", "backbone."))
    }


def _quicken(network: nn.Module) -> None:
    """Let batch-norm statistics follow random weights: the pace of pretrained ones (0.01) would lag for epochs."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1


def trained_classifier(
    weights: str | Path, backbone: str, num_classes: int
) -> tuple[PatchClassifier, dict[str, Any]]:
    """Load a trained stage 1.

    Parameters
    ----------
    weights : str or Path
        A bundle (its stage 1), or a ``.pth`` file.
    backbone : str
        Architecture of a ``.pth`` file.
    num_classes : int

    Returns
    -------
    network : PatchClassifier
        In eval mode.
    made_with : dict
        JSON-ready facts that identify it.

    Raises
    ------
    BundleError, TrainingError
    """
    path = Path(weights)
    if path.suffix in {".pth", ".tar", ".params"}:
        from napari_wsss.models import legacy, sha256_of

        network = build_stage1(backbone, num_classes)
        if not legacy.load_stage1_weights(network, path):
            raise TrainingError(
                f"{path} holds no classifier for {num_classes} classes; it is no trained stage 1."
            )
        return network.eval(), {"architecture": backbone, "sha256": sha256_of(path)}
    bundle = load_bundle(weights)
    if len(bundle.schema) != num_classes:
        raise TrainingError(f"{weights} has {len(bundle.schema)} classes, --dataset has {num_classes}.")
    return bundle.build_stage1(), {"architecture": bundle.stage1.architecture, "sha256": bundle.stage1.sha256}
