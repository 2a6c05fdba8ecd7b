"""A model bundle as the engine's predictor: stage 1, gate and stage 2 on one read of each tile, on any device."""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_wsss.backends import (
    Backend,
    BackendName,
    Precision,
    choose_backend,
    presence_of,
    probabilities_of,
)
from napari_wsss.models import Bundle, open_classes, resize_maps
from tiling.classes import ClassSchema
from tiling.engine import Prediction
from tiling.errors import BundleError, DeviceError

__all__ = ["BackendName", "BundlePredictor", "Precision", "choose_device"]


def choose_device(device: str) -> torch.device:
    """Return the device for ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises
    ------
    DeviceError
        When the name is unknown or the GPU is not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        chosen = None
    if chosen is None or chosen.type not in ("cpu", "cuda"):
        raise DeviceError(f"There is no device {device!r}; use auto, cpu, cuda or cuda:N.")
    if chosen.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise DeviceError(
                f"The device {device!r} was asked for but torch sees no CUDA GPU; use --device cpu."
            )
        if (chosen.index or 0) >= count:
            raise DeviceError(
                f"The device {device!r} does not exist; torch sees {count} GPU(s), cuda:0 first."
            )
    return chosen


class BundlePredictor:
    """Predicts tiles with a bundle; implements :class:`tiling.engine.predictor.Predictor`.

    Parameters
    ----------
    bundle : Bundle
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    precision : {"auto", "fp32", "mixed", "bf16", "fp16"}
    gate : bool
        Whether stage 1 switches classes off.
    gate_threshold : float, optional
        One threshold for all classes; the bundle's own when absent.
    backend : {"auto", "torch", "compile", "openvino"}
        What runs the networks; see :func:`napari_wsss.backends.select.choose_backend` for what ``auto`` does.

    Attributes
    ----------
    device : torch.device
    backend : str
        ``torch`` or ``openvino``: the one in use.
    precision : str
        ``fp32``, ``mixed``, ``bf16`` or ``fp16``: the one in use.
    notes : tuple of str
        Why something faster was not taken, one sentence each; for the receipt and for people.

    Raises
    ------
    BundleError
        When the weights cannot be read or do not fit.
    DeviceError
        When the device, precision or backend is not there.

    Notes
    -----
    Without a stage-2 network, the per-pixel class activations of stage 1 take the place of its logits: their argmax
    over the present classes is the pseudo mask of the last layer.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: str = "auto",
        precision: Precision = "auto",
        gate: bool = True,
        gate_threshold: float | None = None,
        backend: BackendName = "auto",
    ) -> None:
        self._bundle = bundle
        self.device = choose_device(device)
        self._set_gate(gate, gate_threshold)
        choice = choose_backend(bundle, self.device, precision, backend)
        self._run = choice.backend
        self._stage1: Backend | None = None
        self._most = sys.maxsize  # tiles at a time that the device can hold
        self.backend = choice.backend.name
        self.precision = choice.backend.precision
        self.notes = choice.notes

    def _set_gate(self, gate: bool, threshold: float | None) -> None:
        self._gate = self._bundle.gate if gate else None
        thresholds = self._bundle.gate.thresholds if threshold is None else (threshold,)
        if any(not 0 <= t <= 1 for t in thresholds):
            raise BundleError(f"The gate threshold is {threshold}; it is a probability from 0 to 1.")
        self._thresholds = torch.tensor(thresholds, device=self.device)

    def with_gate(self, gate: bool, gate_threshold: float | None = None) -> BundlePredictor:
        """Return a predictor with another gate on the same networks; only one of the two may be called at a time.

        Raises
        ------
        BundleError
            When the threshold is no probability.
        """
        other = copy.copy(self)
        other._set_gate(gate, gate_threshold)
        return other

    @property
    def schema(self) -> ClassSchema:
        """Classes in network order."""
        return self._bundle.schema

    @property
    def tile(self) -> int:
        """Side of a tile in pixels."""
        return self._bundle.tile

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """The gate's, for a presence field; None without a gate, or with the reference's, which works on logits."""
        if self._gate is None or self._gate.mode != "mask":
            return None
        return tuple(self._thresholds.tolist())

    @property
    def mpp(self) -> float:
        """µm per pixel that the networks expect."""
        return self._bundle.mpp

    @property
    def identity(self) -> dict[str, object]:
        """What decides the result: weights, gate, precision and backend.

        The precision and backend are the ones in use, so that an interrupted run is only resumed as it was begun.
        """
        stride = self._bundle.presence_stride
        return {
            "bundle": self._bundle.name,
            "hashes": dict(self._bundle.hashes),
            "gate": {
                "on": self._gate is not None,
                "thresholds": [round(t, 6) for t in self._thresholds.tolist()],
                "mode": self._bundle.gate.mode,
            },
            "presence": self._bundle.presence,
            **({} if stride is None else {"presence_stride": stride}),
            "precision": self.precision,
            "backend": self.backend,
        }

    def __call__(
        self, pixels: NDArray[np.uint8], cam_side: int | None = None, gated: bool = True
    ) -> Prediction:
        """Predict tiles (N, T, T, 3) uint8 RGB; see :class:`tiling.engine.predictor.Prediction`.

        Raises
        ------
        DeviceError
            When the GPU cannot hold a single tile; a batch that is too large is halved, now and for the rest.
        """
        size = min(self._most, len(pixels))
        while True:
            try:
                parts = [
                    self._predict(pixels[start : start + size], cam_side, gated)
                    for start in range(0, len(pixels), size)
                ]
                return parts[0] if len(parts) == 1 else _joined(parts)
            except torch.OutOfMemoryError as error:
                if size == 1:
                    raise DeviceError(
                        f"{self.device} has too little memory for one tile of this model; close other programs that "
                        "use it, or use --device cpu."
                    ) from error
            # Out of the handler: only now is let go what the failed attempt held.
            size = self._most = size // 2
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    @torch.inference_mode()
    def _predict(self, pixels: NDArray[np.uint8], cam_side: int | None, gated: bool) -> Prediction:
        maps = self._run(pixels)
        presence = presence_of(maps)
        gate = self._gate if gated else None
        probabilities = probabilities_of(maps, pixels.shape[1], presence, gate, self._thresholds)
        confidence, shares = self._summary(probabilities, presence, gated)
        cams = None
        if cam_side is not None:
            activation = self._activation(pixels) if maps.activation is None else maps.activation
            cams = resize_maps(activation, (cam_side, cam_side)).sigmoid()
        return Prediction(
            probabilities=_numpy(probabilities),
            presence=_numpy(presence),
            cams=None if cams is None else _numpy(cams),
            confidence=_numpy(confidence),
            shares=_numpy(shares),
        )

    def _activation(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Ask stage 1, which is loaded only now, for its class activations."""
        if self._stage1 is None:
            alone = replace(self._bundle, stage2=None, presence="stage1", presence_stride=None)
            precision: Any = self.precision
            name: Any = self.backend
            self._stage1 = choose_backend(alone, self.device, precision, name).backend
        activation = self._stage1(pixels).activation
        assert activation is not None, "stage 1 alone gives nothing else"
        return activation

    def _summary(self, probabilities: Tensor, presence: Tensor, gated: bool) -> tuple[Tensor, Tensor]:
        """Return confidence (N,) and shares (N, C) of tiles, always as their own presence gates them."""
        if not gated and self._gate is not None:
            opened = open_classes(presence, self._thresholds)[:, :, None, None]
            probabilities = probabilities * opened
            probabilities /= probabilities.sum(1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
        return probabilities.amax(1).mean((1, 2)), probabilities.mean((2, 3))


def _joined(parts: Sequence[Prediction]) -> Prediction:
    """Return the predictions of parts of a batch as one."""
    columns = {field.name: [getattr(part, field.name) for part in parts] for field in fields(Prediction)}
    joined: dict[str, Any] = {k: None if v[0] is None else np.concatenate(v) for k, v in columns.items()}
    return Prediction(**joined)


def _numpy(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.float().cpu().contiguous().numpy()
    return array
