"""Stage 2's own word on what an image holds: a linear layer on its pooled features, fitted on patch labels.

The finished network knows more about a patch than a second encoder would: logistic regression on a few hundred numbers,
fitted in seconds, opens the gate as well as stage 1 does (``docs/method.md``), and a tile then passes one encoder.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from napari_wsss.models import SegmentationNetwork, build_stage2
from training.data import Patch, read_image, to_input

__all__ = ["FittedPresence", "fit_linear", "fit_presence", "held_out", "labelled_batches", "with_presence"]

_ROUNDS = 200
_LEAST = 1e-4  # of a feature's spread: what never varies says nothing
_FOLDS = 5


@dataclass(frozen=True)
class FittedPresence:
    """A network that says which classes are present, with what it was fitted on.

    Attributes
    ----------
    network : SegmentationNetwork
        With ``presence``, in eval mode; segments exactly as before.
    features : (N, K) float32
        Pooled features of the patches, on the processor.
    labels : (N, C) float32
        0 or 1.
    """

    network: SegmentationNetwork
    features: Tensor
    labels: Tensor


def labelled_batches(patches: Sequence[Patch], size: int = 16) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield patches as they are, (N, 3, H, W) float32, and their labels, (N, C) float32; one size in a batch."""
    by_size: dict[tuple[int, int], list[Patch]] = {}
    for patch in patches:
        by_size.setdefault(patch.size, []).append(patch)
    for alike in by_size.values():
        for start in range(0, len(alike), size):
            some = alike[start : start + size]
            images = torch.stack([to_input(read_image(patch.path)) for patch in some])
            yield images, torch.tensor([patch.label for patch in some]).float()


def with_presence(
    network: SegmentationNetwork, batches: Iterable[tuple[Tensor, Tensor]], stages: bool = False
) -> SegmentationNetwork:
    """Return a copy of a segmentation network that also says which classes are present; see :func:`fit_presence`."""
    return fit_presence(network, batches, stages).network


def fit_presence(
    network: SegmentationNetwork, batches: Iterable[tuple[Tensor, Tensor]], stages: bool = False
) -> FittedPresence:
    """Copy a segmentation network and teach the copy to say which classes are present.

    Parameters
    ----------
    network : SegmentationNetwork
        Put into eval mode, otherwise unchanged.
    batches : iterable of ((N, 3, H, W) float, (N, C) float)
        RGB / 255, and 1 where the class is somewhere in the image.
    stages : bool, optional
        Also look at the earlier stages of the light encoder.

    Returns
    -------
    FittedPresence
    """
    network.eval()
    device = next(network.parameters()).device
    arguments = {**network.arguments, "presence": "stages" if stages else True}
    result = build_stage2(network.architecture, network.num_classes, **arguments)
    known = {k: v for k, v in network.state_dict().items() if not k.startswith("presence.")}
    fresh = {k: v for k, v in result.state_dict().items() if k.startswith("presence.")}
    result.load_state_dict({**known, **fresh})
    result.to(device).eval()
    features, labels = [], []
    with torch.no_grad():
        for images, present in batches:
            x = images.to(device, memory_format=torch.channels_last)
            features.append(result.pooled(x).float().cpu())
            labels.append(present)
    seen, said = torch.cat(features), torch.cat(labels)
    weight, bias = fit_linear(seen, said)
    result.load_state_dict({**known, "presence.weight": weight, "presence.bias": bias})
    return FittedPresence(result, seen, said)


def held_out(features: Tensor, labels: Tensor) -> Tensor:
    """Return what is said of each patch by a layer that was fitted without it, in five parts drawn with a fixed seed.

    Parameters
    ----------
    features : (N, K) float32
    labels : (N, C) float32
        0 or 1.

    Returns
    -------
    (N, C) float32
        Probabilities; with fewer patches than parts, of a layer that was fitted on all.
    """
    count = len(features)
    part = torch.randperm(count, generator=torch.Generator().manual_seed(0)) % _FOLDS
    result = torch.empty_like(labels)
    for fold in range(_FOLDS):
        here = part == fold if count >= _FOLDS else torch.ones(count, dtype=torch.bool)
        there = ~here if count >= _FOLDS else here
        weight, bias = fit_linear(features[there], labels[there])
        result[here] = (features[here] @ weight.T + bias).sigmoid()
    return result


def fit_linear(features: Tensor, labels: Tensor, penalty: float = 0.1) -> tuple[Tensor, Tensor]:
    """Fit one logistic regression per class on standardised features.

    Parameters
    ----------
    features : (N, K) float32
    labels : (N, C) float32
        0 or 1.
    penalty : float, optional
        Weight of half the squared weights (of standardised features) beside the mean loss.

    Returns
    -------
    weight : (C, K) float32
    bias : (C,) float32
        For features as they are.
    """
    x, y = features.double(), labels.double()
    mean, spread = x.mean(0), x.std(0, correction=0)
    spread = torch.where(spread > _LEAST, spread, torch.inf)
    z = (x - mean) / spread
    # One more column is the bias, which has no penalty.
    z = torch.cat((z, torch.ones_like(z[:, :1])), 1)
    solution = torch.zeros((y.shape[1], z.shape[1]), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([solution], max_iter=_ROUNDS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = functional.binary_cross_entropy_with_logits(z @ solution.T, y, reduction="sum") / len(y)
        value = value + penalty / 2 * solution[:, :-1].square().sum()
        torch.autograd.backward(value)
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    found = solution.detach()
    weight = found[:, :-1] / spread
    bias = found[:, -1] - weight @ mean
    return weight.float(), bias.float()
