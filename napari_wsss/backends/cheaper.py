"""The same networks with fewer multiplications, where the size of every map is known.

Two things that DeepLabV3+ does at length follow from less, exactly but for rounding:

- *A convolution of an enlarged map.* Enlarging is linear and acts on every channel alike, so channels may be mixed
  before it: at 10 × 10 places in place of 40 × 40. What is left at full size are two products with fixed matrices.
- *Taps that see only padding.* A kernel dilated by 12 on a map of 10 × 10 places is a 1 × 1 convolution.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional

__all__ = ["REVISION", "EnlargedConv2d", "cheaper"]

REVISION = 1
"""Counts up when networks are rewritten in another way: what was converted before is then converted anew."""

_WORTH = 0.6  # of the multiplications before: below, the rewriting pays for its two more passes over memory


class EnlargedConv2d(nn.Module):
    """What a convolution makes of a map that was enlarged first, from the map as it was.

    Parameters
    ----------
    weight : (L, K, k, k) Tensor
        Of a convolution with stride 1, odd ``k`` and zero padding of ``k // 2``.
    size, enlarged : tuple of int
        Height and width of the map before and after.
    align_corners : bool
        How it is enlarged, as in :func:`torch.nn.functional.interpolate`, bilinearly.

    Notes
    -----
    With U the matrix that enlarges a column and S_i the shift of tap i, the result is the sum over taps (i, j) of
    ``(S_i U) · (weight_ij · x) · (S_j U)ᵀ``. ``mix`` is the inner product, for all taps at once.
    """

    def __init__(
        self, weight: Tensor, size: tuple[int, int], enlarged: tuple[int, int], align_corners: bool
    ) -> None:
        super().__init__()
        outputs, inputs, taps, _ = weight.shape
        self._outputs, self._taps, self._size = outputs, taps, size
        self.mix = nn.Conv2d(inputs, taps * outputs * taps, 1, bias=False)
        self.mix.weight = nn.Parameter(
            weight.permute(2, 0, 3, 1).reshape(-1, inputs, 1, 1).contiguous(), False
        )
        rows, columns = (
            _shifted(before, after, taps, align_corners) for before, after in zip(size, enlarged, strict=True)
        )
        self.register_buffer("rows", rows.to(weight.dtype))  # (H, k · h)
        self.register_buffer("columns", columns.T.contiguous().to(weight.dtype))  # (k · w, W)

    def forward(self, x: Tensor) -> Tensor:
        """Transform, (N, K, h, w) -> (N, L, H, W)."""
        k, (height, width) = self._taps, self._size
        y = self.mix(x).reshape(-1, k, self._outputs, k, height, width)
        y = y.permute(0, 2, 1, 4, 3, 5).reshape(-1, self._outputs, k * height, k * width)
        enlarged: Tensor = self.get_buffer("rows") @ (y @ self.get_buffer("columns"))
        return enlarged


class _Joined(nn.Module):
    """A convolution of an enlarged map beside others, as the sum over both."""

    def __init__(self, enlarged: EnlargedConv2d, others: nn.Conv2d | None, bias: Tensor | None) -> None:
        super().__init__()
        self.enlarged = enlarged
        self.others = others  # has the bias
        self.bias: Tensor | None
        self.register_buffer("bias", None if others is not None or bias is None else bias[:, None, None])

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        y: Tensor = self.enlarged(x)
        if self.others is not None:
            beside: Tensor = self.others(others[0] if len(others) == 1 else torch.cat(others, 1))
            return y + beside
        return y if self.bias is None else y + self.bias


def cheaper(network: nn.Module, *example: Tensor) -> nn.Module:
    """Return the network with fewer multiplications for tiles of one size.

    Parameters
    ----------
    network : nn.Module
        What :func:`napari_wsss.backends.graph.simplified` returned; changed in place.
    *example : Tensor
        Its input, for us a tile (1, T, T, 3) uint8; run through the network once to learn sizes.

    Returns
    -------
    nn.Module
        Equal up to rounding for any number of tiles of this size; ``network`` itself when it is no traced graph.
    """
    if not isinstance(network, fx.GraphModule):
        return network
    with torch.no_grad():
        ShapeProp(network).propagate(*example)
    for node in list(network.graph.nodes):
        if node.op == "call_module" and type(_module(network, node)) is nn.Conv2d:
            _trim(network, node)
            _enlarge_later(network, node)
    network.graph.eliminate_dead_code()
    network.delete_all_unused_submodules()
    network.recompile()
    return network


def _trim(network: fx.GraphModule, node: fx.Node) -> None:
    """Take rows and columns of a kernel away that never meet the map."""
    convolution, size = _module(network, node), _size(node.args[0])
    if size is None or convolution.stride != (1, 1) or convolution.padding_mode != "zeros":
        return
    keep, padding = [], []
    for axis in (0, 1):
        kernel, dilation = convolution.kernel_size[axis], convolution.dilation[axis]
        middle = (kernel - 1) // 2
        if kernel % 2 == 0 or convolution.padding[axis] != middle * dilation:
            return
        seen = min(middle, (size[axis] - 1) // dilation)
        keep.append(slice(middle - seen, middle + seen + 1))
        padding.append(seen * dilation)
    weight = convolution.weight[:, :, *keep]
    if weight.shape == convolution.weight.shape:
        return
    trimmed = nn.Conv2d(
        convolution.in_channels,
        convolution.out_channels,
        (weight.shape[2], weight.shape[3]),
        padding=(padding[0], padding[1]),
        dilation=convolution.dilation,
        groups=convolution.groups,
        bias=convolution.bias is not None,
    )
    trimmed.weight = nn.Parameter(weight.detach().clone(), False)
    trimmed.bias = convolution.bias
    _put(network, node, trimmed)


def _enlarge_later(network: fx.GraphModule, node: fx.Node) -> None:
    """Let a convolution come before the enlarging of its input, or of the first map of several in its input."""
    convolution, source = _module(network, node), node.args[0]
    parts = _joined_maps(source)
    enlarging = parts[0] if parts else source
    if not _fits(convolution) or not _enlarges(enlarging):
        return
    assert isinstance(enlarging, fx.Node), "as _enlarges has seen"
    small: Any = enlarging.args[0]
    before, after = _size(small), _size(enlarging)
    if before is None or after is None or not _pays(convolution, small, before, after):
        return
    weight = convolution.weight.detach()
    channels = small.meta["tensor_meta"].shape[1]
    others = None
    if parts[1:]:
        others = nn.Conv2d(
            convolution.in_channels - channels,
            convolution.out_channels,
            convolution.kernel_size,
            padding=convolution.padding,
            bias=convolution.bias is not None,
        )
        others.weight = nn.Parameter(weight[:, channels:].clone(), False)
        others.bias = convolution.bias
    align = bool(enlarging.kwargs.get("align_corners"))
    enlarged = EnlargedConv2d(weight[:, :channels], before, after, align)
    _put(network, node, _Joined(enlarged, others, convolution.bias).eval())
    node.args = (small, *parts[1:])


def _fits(convolution: Any) -> bool:
    k = convolution.kernel_size[0]
    return bool(
        convolution.kernel_size == (k, k)
        and k % 2
        and convolution.padding == (k // 2, k // 2)
        and convolution.stride == convolution.dilation == (1, 1)
        and convolution.groups == 1
        and convolution.padding_mode == "zeros"
    )


def _joined_maps(node: object) -> list[Any]:
    """Return the maps that a step joins along the channels; none when it does something else."""
    if not isinstance(node, fx.Node) or node.target is not torch.cat:
        return []
    dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    maps: Any = node.args[0] if node.args else ()
    return list(maps) if dim == 1 and isinstance(maps, list | tuple) else []


def _enlarges(node: object) -> bool:
    """Whether a step resizes a map bilinearly to a size that it is given."""
    if not isinstance(node, fx.Node) or node.target is not functional.interpolate:
        return False
    return (
        node.kwargs.get("mode") == "bilinear"
        and node.kwargs.get("scale_factor") is None
        and not node.kwargs.get("antialias")
        and len(node.args) in (1, 2)
    )


def _pays(convolution: Any, small: fx.Node, before: tuple[int, int], after: tuple[int, int]) -> bool:
    """Whether the multiplications that the enlarged map costs get clearly fewer."""
    inputs, outputs = small.meta["tensor_meta"].shape[1], convolution.out_channels
    k = convolution.kernel_size[0]
    (h, w), (height, width) = before, after
    now = k * k * inputs * outputs * height * width
    later = k * k * inputs * outputs * h * w + outputs * k * h * width * (k * w + height)
    return bool(later < _WORTH * now)


def _shifted(before: int, after: int, taps: int, align_corners: bool) -> Tensor:
    """Return (after, taps · before): for each tap, what enlarges a column and shifts it, zero beyond its ends."""
    points = torch.eye(before, dtype=torch.float64)[None]
    enlarge = functional.interpolate(points, after, mode="linear", align_corners=align_corners)[0]
    padded = functional.pad(enlarge, (taps // 2, taps // 2))
    return torch.cat([padded[:, tap : tap + after].T for tap in range(taps)], 1)


def _module(network: fx.GraphModule, node: fx.Node) -> Any:
    return network.get_submodule(str(node.target))


def _size(node: object) -> tuple[int, int] | None:
    """Return height and width of the map that a step gives."""
    meta: Any = node.meta.get("tensor_meta") if isinstance(node, fx.Node) else None
    shape: tuple[Any, ...] = getattr(meta, "shape", ())
    return (int(shape[2]), int(shape[3])) if len(shape) == 4 else None


def _put(network: fx.GraphModule, node: fx.Node, module: nn.Module) -> None:
    """Give a step another module, under a name of its own: others may use the one that it had."""
    name = f"cheaper_{node.name}"
    network.add_submodule(name, module)
    node.target = name
