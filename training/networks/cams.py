"""From stage 1 to pseudo masks: CAMs of all layers for a batch of patches, refined as the settings say."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_wsss.models import (
    PatchClassifier,
    build_stage1,
    multilayer_gradcam,
    pseudo_mask,
    white_background,
)
from tiling.errors import TrainingError
from training.settings import CamSettings

__all__ = [
    "FUSED",
    "at_stride",
    "batch_masks",
    "fuse_maps",
    "layer_maps",
    "mask_layers",
    "smooth_maps",
    "superpixel_majority",
]

FUSED = "fused"
"""Name of the mask layer that :func:`fuse_maps` leads to: ``train_PM/PM_fused``."""


def smooth_maps(maps: Tensor, side: int, residual: float) -> Tensor:
    """Add the box mean of a map to it: tissue is made of regions, so neighbours vote.

    Parameters
    ----------
    maps : (N, C, h, w) float
    side : int
        Side of the box in map pixels; even numbers are raised by one, 0 and 1 change nothing.
    residual : float
        Weight of the mean.

    Returns
    -------
    (N, C, h, w) float
    """
    if side <= 1:
        return maps
    side += 1 - side % 2
    mean = F.avg_pool2d(maps, side, stride=1, padding=side // 2, count_include_pad=False)
    return maps + residual * mean


def at_stride(network: PatchClassifier, output_stride: int) -> PatchClassifier:
    """Return a stage-1 network that gives CAMs at another stride with the same weights.

    A dilated encoder computes the same features at more places, so nothing has to be trained anew.

    Parameters
    ----------
    network : PatchClassifier
        Stage 1.
    output_stride : int
        Input pixels per CAM pixel; 0 keeps the network as it is.

    Raises
    ------
    TrainingError
        When the architecture has one stride only.
    """
    arguments = dict(network.arguments)
    if output_stride in (0, arguments.get("output_stride")):
        return network
    if "output_stride" not in arguments:
        raise TrainingError(f"{network.architecture} has CAMs of one stride only; leave out --cam-stride.")
    arguments["output_stride"] = output_stride
    other = build_stage1(network.architecture, network.num_classes, **arguments)
    other.load_state_dict(network.state_dict())
    if _shortcuts(other) != _shortcuts(network):
        raise TrainingError(
            f"This narrow network is another function at stride {output_stride}; leave out --cam-stride."
        )
    return other.train(network.training)


def _shortcuts(network: nn.Module) -> list[bool]:
    """Tell which blocks add their input: in narrow networks a block that loses its stride starts to."""
    return [bool(m._residual) for m in network.modules() if hasattr(m, "_residual")]


def layer_maps(
    network: PatchClassifier,
    images: Tensor,
    layers: Sequence[str],
    present: Tensor | None,
    settings: CamSettings,
) -> dict[str, Tensor]:
    """Compute the CAMs of every layer at the size of the images.

    Parameters
    ----------
    network : PatchClassifier
        Stage 1, in eval mode.
    images : (N, 3, H, W) float
        RGB / 255.
    layers : sequence of str
    present : (N, C) bool or None
        Classes whose maps are needed in each image; None for all. The others stay 0.
    settings : CamSettings
        Scales, flip, turns and smoothing.

    Returns
    -------
    dict of str to (N, C, H, W) float32
        Raw maps (no ReLU), averaged over scales, mirrored and turned patches.
    """
    size = images.shape[2:]
    total: dict[str, Tensor] = {}
    views = 0
    turns = range(4) if settings.turns and size[0] == size[1] else range(1)
    for scale in settings.scales:
        scaled = images
        if scale != 1:
            target = [max(1, round(s * scale)) for s in size]
            scaled = F.interpolate(images, target, mode="bilinear", align_corners=False)
        for turn, mirrored in product(turns, (False, True) if settings.flip else (False,)):
            view = torch.rot90(scaled.flip(3) if mirrored else scaled, turn, (2, 3))
            # Depthwise convolutions are many times faster on a CPU in this layout.
            view = view.contiguous(memory_format=torch.channels_last)
            found = multilayer_gradcam(network, view, layers, present)
            for layer, raw in found.items():
                maps = torch.rot90(raw.detach().float(), -turn, (2, 3))
                maps = smooth_maps(
                    maps.flip(3) if mirrored else maps, settings.smooth, settings.smooth_residual
                )
                maps = F.interpolate(maps, size, mode="bilinear", align_corners=False)
                total[layer] = total[layer] + maps if layer in total else maps
            views += 1
    return {layer: maps / views for layer, maps in total.items()} if views > 1 else total


def mask_layers(layers: Sequence[str], settings: CamSettings) -> tuple[str, ...]:
    """Return the names of the masks that these CAM layers lead to."""
    return (FUSED,) if settings.fuse else tuple(layers)


def fuse_maps(maps: Sequence[Tensor], present: Tensor | None = None) -> Tensor:
    """Let the CAMs of several layers vote, each with the same say.

    Maps of different layers differ in size by orders of magnitude, and only what sets one class apart from the others
    decides a label. So each layer's maps lose the mean over the present classes and are divided by the root mean
    square of the rest; then comes the mean over the layers. Shallow layers know edges and deep ones classes: together
    they make better masks than each alone.

    Parameters
    ----------
    maps : sequence of (N, C, H, W) float
        One per layer.
    present : (N, C) bool, optional
        Classes that count; default all. The others become 0.

    Returns
    -------
    (N, C, H, W) float
    """
    first = maps[0]
    counted = torch.ones(first.shape[:2], device=first.device) if present is None else present.to(first)
    counted = counted[:, :, None, None]
    classes = counted.sum(1, keepdim=True).clamp(min=1)
    total = torch.zeros_like(first)
    for layer in maps:
        rest = (layer - (layer * counted).sum(1, keepdim=True) / classes) * counted
        energy = (rest * rest).sum((1, 2, 3), keepdim=True) / (classes * first[0, 0].numel())
        total += rest / energy.sqrt().clamp(min=1e-12)
    return total / len(maps)


def superpixel_majority(mask: NDArray[np.uint8], image: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Give every SLIC superpixel the label that most of its pixels have.

    Parameters
    ----------
    mask : (H, W) uint8
    image : (H, W, 3) uint8
    count : int
        Wanted number of superpixels.

    Returns
    -------
    (H, W) uint8
    """
    from skimage.segmentation import slic

    segments = slic(image, n_segments=count, compactness=10.0, start_label=0, channel_axis=-1)
    labels = int(mask.max()) + 1
    votes = np.bincount(segments.ravel() * labels + mask.ravel(), minlength=(segments.max() + 1) * labels)
    return np.asarray(votes.reshape(-1, labels).argmax(1).astype(np.uint8)[segments])


def batch_masks(
    network: PatchClassifier,
    pixels: NDArray[np.uint8],
    present: NDArray[np.bool_],
    layers: Sequence[str],
    settings: CamSettings,
    background: bool,
    device: Any = "cpu",
) -> dict[str, NDArray[np.uint8]]:
    """Make the pseudo masks of a batch of patches.

    A patch that holds a single class needs no CAM: its mask is that class, whatever the maps say.

    Parameters
    ----------
    network : PatchClassifier
        Stage 1, in eval mode, on ``device``.
    pixels : (N, H, W, 3) uint8
    present : (N, C) bool
        Patch labels.
    layers : sequence of str
    settings : CamSettings
    background : bool
        Apply the white-background rule of the reference.
    device : torch.device or str

    Returns
    -------
    dict of str to (N, H, W) uint8
        By mask layer (:func:`mask_layers`). Reference indexing: class *i* = *i*, C = background or ignore.
    """
    count, classes = present.shape
    height, width = pixels.shape[1:3]
    needs_cam = present.sum(1) > 1
    maps: dict[str, NDArray[np.float32]] = {}
    if needs_cam.any():
        wanted = (
            None if settings.mask_mode == "reference" else torch.from_numpy(present[needs_cam]).to(device)
        )
        images = torch.from_numpy(pixels[needs_cam]).permute(0, 3, 1, 2).to(device).float() / 255.0
        found = layer_maps(network, images, layers, wanted, settings)
        if settings.fuse:
            found = {FUSED: fuse_maps(list(found.values()), wanted)}
        maps = {layer: value.cpu().numpy() for layer, value in found.items()}
    flat = np.zeros((classes, height, width), np.float32)
    names = mask_layers(layers, settings)
    masks = {name: np.empty((count, height, width), np.uint8) for name in names}
    for i in range(count):
        position = int(needs_cam[:i].sum())
        white = white_background(pixels[i], settings.ignore_white, 1) if settings.ignore_white else None
        for layer in names:
            scores = maps[layer][position] if needs_cam[i] else flat
            mode = settings.mask_mode if needs_cam[i] else "clean"
            mask = pseudo_mask(scores, present[i], pixels[i], background, mode)
            if settings.superpixels and needs_cam[i]:
                mask = superpixel_majority(mask, pixels[i], settings.superpixels)
            if white is not None:
                mask = np.where(white, np.uint8(classes), mask)
            masks[layer][i] = mask
    return masks
