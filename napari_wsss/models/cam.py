"""Class activation maps: plain CAM, and Grad-CAM at several depths from one forward pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from napari_wsss.models.patch_classifier import PatchClassifier

__all__ = ["class_activation", "multilayer_gradcam", "plain_cam", "resize_maps"]


def class_activation(features: Tensor, weights: Tensor) -> Tensor:
    """Weight features per class.

    Parameters
    ----------
    features : (N, K, h, w) float
    weights : (C, K) float

    Returns
    -------
    (N, C, h, w) float
        Its spatial mean is the logit.
    """
    return functional.conv2d(features, weights[:, :, None, None])


def plain_cam(model: PatchClassifier, x: Tensor, relu: bool = True) -> Tensor:
    """Return the CAM of the last layer (Zhou et al., CVPR 2016).

    Parameters
    ----------
    model : PatchClassifier
        A stage-1 network.
    x : (N, 3, H, W) float
        RGB / 255.
    relu : bool, optional
        Cut off what speaks against the class.

    Returns
    -------
    (N, C, h, w) float
    """
    with torch.no_grad():
        maps = class_activation(model.features(x), model.classifier_weights)
    return maps.relu_() if relu else maps


def resize_maps(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize maps (N, C, h, w) to ``size`` = (H, W) bilinearly, pixel centres aligned as OpenCV does."""
    return functional.interpolate(maps, size, mode="bilinear", align_corners=False)


def multilayer_gradcam(
    model: PatchClassifier,
    x: Tensor,
    layers: Sequence[str] | None = None,
    classes: Sequence[int] | Tensor | None = None,
) -> dict[str, Tensor]:
    """Compute raw Grad-CAMs on the logits for several layers and classes with one forward pass.

    The map of a class in a layer is the sum of the layer's channels, each weighted by the spatial mean of the
    logit's gradient there; no ReLU follows. Only activations get gradients, never parameters; what lies
    before the first layer runs without a graph; the last layer needs no gradient at all (its maps are
    ``classifier_weights · features / (h · w)``), nor does a layer with a classifier of its own (``layer_weights`` of
    networks trained with deep heads).

    Parameters
    ----------
    model : PatchClassifier
        A stage-1 network in eval mode. Nothing about it changes.
    x : (N, 3, H, W) float
        RGB / 255.
    layers : sequence of str, optional
        Default: the model's three ``cam_layers``.
    classes : sequence of int, or (N, C) bool, optional
        Which classes; default all. A mask picks classes for each image: each backward pass then serves
        another class in every image, and maps of classes that are not wanted are 0.

    Returns
    -------
    dict of str to (N, C, h, w) float
        In the order of ``layers``; C counts ``classes`` when that is a sequence.

    Raises
    ------
    ValueError
        For a model in training mode (dropout would make the maps random), an unknown layer or class.

    Notes
    -----
    Selvaraju et al., ICCV 2017; the layers and the missing ReLU are those of Han et al., Medical Image
    Analysis 2022, whose code runs a forward and a full backward pass for every layer and class.
    """
    if model.training:
        raise ValueError("Grad-CAM needs the model in eval mode: call model.eval() first")
    # Also under torch.inference_mode: its tensors could not take part in the graph.
    wanted = tuple(model.cam_layers if layers is None else layers)
    last = model.cam_layers[-1]
    own = model.layer_weights
    closed = {name: own[name].detach() for name in wanted if name in own}
    inner = [name for name in wanted if name != last and name not in closed]
    with torch.inference_mode(False), torch.set_grad_enabled(bool(inner)):
        if x.is_inference():
            x = x.clone()
        weights = model.classifier_weights.detach()
        masked = isinstance(classes, Tensor) and classes.dtype == torch.bool
        selection = _selection(classes, len(x), len(weights), x.device)
        activations = model.activations(x, [*inner, *closed], leaf=bool(inner))
        features = activations[last]
        unknown = [name for name in wanted if name not in activations]
        if unknown:
            raise ValueError(f"unknown CAM layer {unknown[0]!r}; use {', '.join(model.cam_layers)}")
        gradients = _weights_by_round(features, [activations[name] for name in inner], weights, selection)
        maps: dict[str, Tensor] = {}
        for name in wanted:
            activation = activations[name].detach()
            if name == last or name in closed:
                head = weights if name == last else closed[name]
                rounds = head[selection.clamp(min=0)] / activation[0, 0].numel()
            else:
                rounds = gradients[inner.index(name)]
            maps[name] = _combine(rounds, activation, selection, len(weights) if masked else None)
    return maps


def _selection(
    classes: Sequence[int] | Tensor | None, images: int, num_classes: int, device: torch.device
) -> Tensor:
    """Return (R, N): the class of each image in each of R backward rounds; −1 where an image has no more."""
    if isinstance(classes, Tensor) and classes.dtype == torch.bool:
        if classes.shape != (images, num_classes):
            raise ValueError(f"the class mask must be ({images}, {num_classes}), not {tuple(classes.shape)}")
        order = classes.to(device, torch.int8).sort(dim=1, descending=True, stable=True)
        picked = torch.where(order.values > 0, order.indices, -1)
        return picked[:, : int(classes.sum(1).max()) if images else 0].T
    listed = torch.arange(num_classes) if classes is None else torch.as_tensor(classes, dtype=torch.long)
    if listed.ndim != 1 or bool(((listed < 0) | (listed >= num_classes)).any()):
        raise ValueError(f"classes must be numbers from 0 to {num_classes - 1} or an (N, C) bool mask")
    return listed.to(device)[:, None].expand(-1, images)


def _weights_by_round(
    features: Tensor, inner: list[Tensor], weights: Tensor, selection: Tensor
) -> list[Tensor]:
    """Return for every inner layer the (R, N, K) channel weights of every round."""
    collected: list[list[Tensor]] = [[] for _ in inner]
    if inner:
        scale = 1.0 / features[0, 0].numel()
        for number, chosen in enumerate(selection):
            # The logit's gradient at the last features is known: its class's weights, the same at every pixel.
            seed = weights[chosen.clamp(min=0)] * scale
            found = torch.autograd.grad(
                features,
                inner,
                seed[:, :, None, None].expand_as(features),
                retain_graph=number + 1 < len(selection),
            )
            for store, gradient in zip(collected, found, strict=True):
                store.append(gradient.mean((2, 3)))
    return [torch.stack(rounds) if rounds else inner[0].new_zeros(0) for rounds in collected]


def _combine(
    rounds: Tensor,
    activation: Tensor,
    selection: Tensor,
    num_classes: int | None,
) -> Tensor:
    """Apply (R, N, K) weights to (N, K, h, w) activations -> (N, R, h, w), or one map per class if counted."""
    images = len(activation)
    if len(selection) == 0:
        return activation.new_zeros(images, num_classes or 0, *activation.shape[2:])
    maps = torch.einsum("rnk,nkhw->nrhw", rounds, activation)
    if num_classes is None:
        return maps
    full = maps.new_zeros(images, num_classes + 1, *maps.shape[2:])
    # Rounds without a class write into the extra channel that is cut off.
    target = torch.where(selection >= 0, selection, num_classes).T[:, :, None, None].expand_as(maps)
    return full.scatter_(1, target, maps)[:, :num_classes]
