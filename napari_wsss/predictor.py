"""A model bundle as the engine's predictor: stage 1, gate and stage 2 on one read of each tile, on any device."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_wsss.models.bundle import Bundle
from napari_wsss.models.cam import class_activation, resize_maps
from napari_wsss.models.gate import apply_gate, open_classes
from tiling.classes import ClassSchema
from tiling.errors import BundleError, DeviceError
from tiling.predictor import Prediction

__all__ = ["BundlePredictor", "Precision", "choose_device", "choose_precision"]

Precision = Literal["auto", "fp32", "bf16", "fp16"]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


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


def choose_precision(precision: Precision, device: torch.device) -> Literal["fp32", "bf16", "fp16"]:
    """Resolve ``auto``: bf16 on a GPU that computes it, else fp32.

    Raises
    ------
    DeviceError
        For fp16 on a CPU, which is slow and loses range.
    """
    if precision == "auto":
        return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    if precision not in _DTYPES:
        raise DeviceError(f"There is no precision {precision!r}; use auto, fp32, bf16 or fp16.")
    if precision == "fp16" and device.type == "cpu":
        raise DeviceError("fp16 needs a GPU; use --precision fp32 or bf16 on a CPU.")
    return precision


class BundlePredictor:
    """Predicts tiles with a bundle; implements :class:`tiling.predictor.Predictor`.

    Parameters
    ----------
    bundle : Bundle
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    precision : {"auto", "fp32", "bf16", "fp16"}
    gate : bool
        Whether stage 1 switches classes off.
    gate_threshold : float, optional
        One threshold for all classes; the bundle's own when absent.

    Raises
    ------
    BundleError
        When the weights cannot be read or do not fit.
    DeviceError
        When the device or precision is not there.

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
    ) -> None:
        self._bundle = bundle
        self._gate = gate
        thresholds = bundle.gate.thresholds if gate_threshold is None else (gate_threshold,)
        if any(not 0 <= t <= 1 for t in thresholds):
            raise BundleError(f"The gate threshold is {gate_threshold}; it is a probability from 0 to 1.")
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self._thresholds = torch.tensor(thresholds, device=self.device)
        self._stage1: Any = self._place(bundle.build_stage1())
        stage2 = bundle.build_stage2()
        self._stage2 = None if stage2 is None else self._place(stage2)

    def _place(self, network: nn.Module) -> nn.Module:
        # Convolutions are about twice as fast on CPUs when channels lie together, and tiles arrive that way.
        network = network.eval().requires_grad_(False)
        return network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    @property
    def schema(self) -> ClassSchema:
        """Classes in network order."""
        return self._bundle.schema

    @property
    def tile(self) -> int:
        """Side of a tile in pixels."""
        return self._bundle.tile

    @property
    def mpp(self) -> float:
        """µm per pixel that the networks expect."""
        return self._bundle.mpp

    @property
    def identity(self) -> dict[str, object]:
        """What decides the result: weights, gate, precision."""
        gate = self._bundle.gate
        return {
            "bundle": self._bundle.name,
            "hashes": dict(self._bundle.hashes),
            "gate": {
                "on": self._gate,
                "thresholds": [round(t, 6) for t in self._thresholds.tolist()],
                "mode": gate.mode,
            },
            "precision": self.precision,
            "backend": "torch",
        }

    @torch.inference_mode()
    def __call__(self, pixels: NDArray[np.uint8], cam_side: int | None = None) -> Prediction:
        """Predict tiles (N, T, T, 3) uint8 RGB; see :class:`tiling.predictor.Prediction`."""
        x = self._upload(pixels)
        autocast = torch.autocast(
            self.device.type, dtype=_DTYPES[self.precision], enabled=self.precision != "fp32"
        )
        with autocast:
            features = self._stage1.features(x)
            activation = class_activation(features, self._stage1.classifier_weights)
            logits = None if self._stage2 is None else self._stage2(x)
        activation = activation.float()
        presence = activation.mean((2, 3)).sigmoid()
        scores = (logits if logits is not None else resize_maps(activation, (x.shape[2], x.shape[3]))).float()
        probabilities = self._gated(scores, presence).softmax(1)
        cams = None if cam_side is None else resize_maps(activation, (cam_side, cam_side)).sigmoid()
        return Prediction(
            probabilities=_numpy(probabilities),
            presence=_numpy(presence),
            cams=None if cams is None else _numpy(cams),
            confidence=_numpy(probabilities.amax(1).mean((1, 2))),
            shares=_numpy(probabilities.mean((2, 3))),
        )

    def _gated(self, scores: Tensor, presence: Tensor) -> Tensor:
        if not self._gate:
            return scores
        mode: Any = self._bundle.gate.mode
        if mode == "mask":
            # The same as apply_gate, in place: tiles are large and the scores are ours.
            closed = ~open_classes(presence, self._thresholds)
            return scores.masked_fill_(closed[:, :, None, None], float("-inf"))
        return apply_gate(scores, presence, self._thresholds, mode)

    def _upload(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Return (N, 3, T, T) float RGB / 255 on the device, channels last in memory."""
        tensor = torch.from_numpy(pixels)
        if self.device.type == "cuda":
            tensor = tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.permute(0, 3, 1, 2).float().div_(255)


def _numpy(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.float().cpu().contiguous().numpy()
    return array
