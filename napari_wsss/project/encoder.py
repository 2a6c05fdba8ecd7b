"""The frozen encoder of a project: which weights it has, and how tiles become reduced features on any backend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_wsss.models import load_bundle
from napari_wsss.project.description import EncoderRef
from tiling.errors import FeaturesError, ProjectError

if TYPE_CHECKING:
    from napari_wsss.models import PlaceClassifier
    from napari_wsss.project.reduction import Reduction

__all__ = ["DEFAULT_ENCODER", "Encode", "build_network", "make_encoder", "resolve_encoder"]

DEFAULT_ENCODER = "imagenet:efficientnet-lite0"
_SEEN_SIDE = 224  # what the encoder's textures were learned at; smaller tiles are shown larger, at most twice
_MOST_ENLARGED = 2.0

Encode = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Tiles (N, T, T, 3) uint8 RGB -> reduced features (N, P, P, V) float32."""


def resolve_encoder(name: str | Path) -> EncoderRef:
    """Return an encoder by name, with the digest of its weights.

    Parameters
    ----------
    name : str or Path
        ``imagenet:efficientnet-lite0``, or a bundle whose stage 1 has that encoder.

    Raises
    ------
    ProjectError
        When there is no such encoder.
    BundleError
        When its weights are missing.
    """
    if str(name) == DEFAULT_ENCODER:
        from napari_wsss.models import imagenet_weights_file, sha256_of

        return EncoderRef(DEFAULT_ENCODER, sha256_of(imagenet_weights_file()))
    if str(name).startswith("imagenet:"):
        raise ProjectError(f"There is no encoder {name!r}; use {DEFAULT_ENCODER}, or a bundle.")
    bundle = load_bundle(name)
    if not bundle.stage1.architecture.startswith("efficientnet-lite0"):
        raise ProjectError(
            f"The bundle {name} has the encoder {bundle.stage1.architecture}, and a project needs efficientnet-lite0; "
            f"use {DEFAULT_ENCODER}, or a bundle that was trained with the light encoder."
        )
    return EncoderRef(str(name), bundle.stage1.sha256)


def build_network(
    ref: EncoderRef, tile: int, reduction: Reduction | None = None, classes: int = 1
) -> PlaceClassifier:
    """Build the network that computes features; its head is 0.

    Parameters
    ----------
    ref : EncoderRef
    tile : int
        Side of a tile in pixels.
    reduction : Reduction, optional
        None: only :meth:`PlaceClassifier.raw` makes sense.
    classes : int, optional

    Raises
    ------
    FeaturesError
        When the weights are not those that the project was begun with.
    """
    import torch

    from napari_wsss.models import PlaceClassifier, load_imagenet_weights

    now = resolve_encoder(ref.name)
    if now.sha256 != ref.sha256:
        raise FeaturesError(
            f"The encoder {ref.name} has other weights (sha256 {now.sha256[:12]}…) than the project was begun with "
            f"({ref.sha256[:12]}…); put those back, or begin a new project with these."
        )
    values = 1 if reduction is None else len(reduction.matrix)
    if ref.name == DEFAULT_ENCODER:
        enlarge = min(_MOST_ENLARGED, max(1.0, _SEEN_SIDE / tile))
        network = PlaceClassifier(classes, values, enlarge=enlarge)
        load_imagenet_weights(network.encoder)
    else:
        bundle = load_bundle(ref.name)
        arguments: dict[str, Any] = dict(bundle.stage1.arguments)
        kept = {key: arguments[key] for key in ("width", "enlarge", "colour_smoothing") if key in arguments}
        network = PlaceClassifier(classes, values, **kept)
        source: Any = bundle.build_stage1()
        network.encoder.load_state_dict(source.encoder.state_dict())
    with torch.no_grad():
        network.classifier.weight.zero_()
    if reduction is not None:
        network.set_reduction(torch.from_numpy(reduction.matrix), torch.from_numpy(reduction.offset))
    return network.eval().requires_grad_(False)


def make_encoder(
    ref: EncoderRef, tile: int, reduction: Reduction, cache: Path, device: str = "auto", backend: str = "auto"
) -> tuple[Encode, dict[str, str]]:
    """Return the function that encodes tiles, and JSON-ready facts about what runs it.

    Parameters
    ----------
    ref, tile, reduction
        As in :func:`build_network`.
    cache : Path
        Folder for converted networks.
    device : str, optional
        ``auto``, ``cpu`` or ``cuda[:N]``.
    backend : {"auto", "torch", "openvino"}, optional
        ``auto``: OpenVINO on a CPU where it is installed, else torch.

    Raises
    ------
    DeviceError
        When the device or backend is not there.
    """
    from napari_wsss.backends import (
        Cache,
        OpenVinoBackend,
        TorchBackend,
        key_of,
        openvino_has_bf16,
        openvino_version,
    )
    from napari_wsss.models import PlaceFeatures
    from napari_wsss.predictor import choose_device

    place = choose_device(device)
    if backend == "auto":
        backend = "openvino" if place.type == "cpu" and openvino_version() else "torch"
    # The first layers stay in fp32: 99.4 to 100 % of the labels are the same, at 1.4 times the pace.
    precision = "mixed" if backend == "openvino" and openvino_has_bf16() else "fp32"
    facts = {"device": place.type, "backend": backend, "precision": precision}

    def network() -> PlaceFeatures:
        return PlaceFeatures(build_network(ref, tile, reduction))

    run: Any
    if backend == "openvino":
        cache.mkdir(parents=True, exist_ok=True)
        key = key_of(
            {
                "encoder": ref.sha256,
                "precision": precision,
                "reduction": reduction.sha256,
                "tile": tile,
                "openvino": openvino_version(),
            }
        )
        run = OpenVinoBackend(network, tile, precision, Cache(cache), key)
    else:
        run = TorchBackend(network(), tile, place, "fp32")

    def encode(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = run(pixels).activation.cpu().numpy()
        return found.transpose(0, 2, 3, 1)

    return encode, facts
