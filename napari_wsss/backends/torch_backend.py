"""The torch backend: any device, channels last, batch norms folded, autocast below fp32, compiled when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_wsss.backends.cheaper import cheaper
from napari_wsss.backends.graph import cut, simplified
from napari_wsss.backends.maps import Maps
from tiling.errors import DeviceError

__all__ = ["TorchBackend", "torch_has_bf16"]

_DTYPES = {"fp32": None, "mixed": torch.bfloat16, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchBackend:
    """Runs a pair of networks with torch.

    Parameters
    ----------
    pair : nn.Module
        A :class:`~napari_wsss.backends.maps.Pair`; moved to the device.
    tile : int
        Side of a tile.
    device : torch.device
    precision : {"fp32", "mixed", "bf16", "fp16"}
    compiled : bool, optional
        Whether ``torch.compile`` turns the networks into code for this machine; it takes a minute at the start, and a
        C++ compiler on CPUs.

    Raises
    ------
    DeviceError
        When the networks cannot be cut for ``mixed``, or cannot be compiled.
    """

    def __init__(
        self, pair: nn.Module, tile: int, device: torch.device, precision: str, compiled: bool = False
    ) -> None:
        self.name = "compile" if compiled else "torch"
        self.precision = precision
        self._device = device
        self._dtype = _DTYPES[precision]
        network = cheaper(simplified(pair.eval().requires_grad_(False)), _blank(tile))
        parts = cut(network, _blank(tile)) if precision == "mixed" else (network,)
        # Convolutions are about twice as fast on CPUs when channels lie together, and tiles arrive that way.
        layout: dict[str, Any] = {"memory_format": torch.channels_last}
        self._parts: list[Any] = [part.to(device, **layout) for part in parts]
        if compiled:
            self._parts = [torch.compile(part) for part in self._parts]
            self._compile(tile)

    def _compile(self, tile: int) -> None:
        """Compile now: a first batch that takes a minute, or fails, must not be one of a slide."""
        try:
            self(_blank(tile).numpy())
        except Exception as error:  # whatever inductor and the compiler it calls may raise
            reason = str(error).strip().partition("\n")[0][:200]
            raise DeviceError(
                f"torch.compile failed ({reason}); install a C++ compiler, or use --backend torch."
            ) from error

    @torch.inference_mode()
    def __call__(self, pixels: NDArray[np.uint8]) -> Maps:
        """Run the networks on tiles (N, T, T, 3) uint8 RGB."""
        tiles = torch.from_numpy(pixels)
        if self._device.type == "cuda":
            tiles = tiles.pin_memory().to(self._device, non_blocking=True)
        values: Sequence[Tensor] = (tiles,)
        for part in self._parts[:-1]:
            values = part(*values)
        with torch.autocast(self._device.type, dtype=self._dtype, enabled=self._dtype is not None):
            outputs = self._parts[-1](*values)
        return Maps.of(outputs)


def torch_has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 in hardware; emulation is slower than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Public torch has no question for this; without an answer fp32 stays.
    asks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, ask, lambda: False)()) for ask in asks)


def _blank(tile: int) -> Tensor:
    return torch.zeros((1, tile, tile, 3), dtype=torch.uint8)
