"""The JSON form of a bundle's parts: networks and gate, and the checks that they make sense."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiling.errors import DataError

__all__ = [
    "Gate",
    "NetworkSpec",
    "mapping",
    "parse_gate",
    "parse_presence",
    "parse_presence_stride",
    "parse_spec",
    "spec_to_dict",
]

_STRIDED = "efficientnet-lite0"
_STRIDES = (8, 16, 32)


@dataclass(frozen=True)
class NetworkSpec:
    """One network of a bundle.

    Attributes
    ----------
    architecture : str
        Name in :mod:`napari_wsss.models.registry`.
    arguments : mapping
        Constructor arguments beside the number of classes.
    file : str
        Weights file inside the bundle's folder.
    sha256 : str
        Its digest, 64 hex digits.
    dtype : str
        How matrices and kernels are stored (``float32`` or ``float16``); always computed in float32 unless
        the caller casts the network.
    """

    architecture: str
    arguments: Mapping[str, Any]
    file: str
    sha256: str
    dtype: str = "float32"


@dataclass(frozen=True)
class Gate:
    """How stage 1 switches classes off in stage 2.

    Attributes
    ----------
    thresholds : tuple of float
        One for all classes, or one per class.
    mode : str
        ``mask`` or ``reference``.
    """

    thresholds: tuple[float, ...] = (0.1,)
    mode: str = "mask"


def spec_to_dict(spec: NetworkSpec) -> dict[str, Any]:
    """Return the JSON form of a network."""
    return {
        "architecture": spec.architecture,
        "arguments": dict(spec.arguments),
        "file": spec.file,
        "sha256": spec.sha256,
        "dtype": spec.dtype,
    }


def mapping(value: object, what: str) -> dict[str, Any]:
    """Return a JSON object as it is, or raise DataError naming it."""
    if not isinstance(value, dict):
        raise DataError(f"{what} is {type(value).__name__}, not a JSON object")
    return value


def parse_spec(value: object, known: Mapping[str, str], stage: str) -> NetworkSpec:
    """Read a network's entry; KeyError for a missing field, DataError or TypeError for a wrong one."""
    spec = mapping(value, stage)
    architecture, file, digest = spec["architecture"], spec["file"], spec["sha256"]
    if architecture not in known:
        raise DataError(
            f"{stage} has the unknown architecture {architecture!r} (known: {', '.join(sorted(known))})"
        )
    # A bundle must not point outside its own folder.
    if not isinstance(file, str) or file != Path(file).name or not file.endswith(".safetensors"):
        raise DataError(
            f"{stage} names the weights file {file!r}; it must be a .safetensors file of the same folder"
        )
    if not isinstance(digest, str) or len(digest) != 64:
        raise DataError(f"{stage} has no sha256 of 64 hex digits")
    return NetworkSpec(
        architecture,
        mapping(spec.get("arguments") or {}, f"{stage}.arguments"),
        file,
        digest.lower(),
        str(spec.get("dtype", "float32")),
    )


def parse_gate(value: object, num_classes: int) -> Gate:
    """Read the gate's entry; DataError, TypeError or ValueError for a wrong field."""
    gate = mapping(value, "gate")
    raw = gate.get("thresholds", [0.1])
    numbers: Sequence[Any] = raw if isinstance(raw, list) else [raw]
    thresholds = tuple(float(number) for number in numbers)
    if len(thresholds) not in (1, num_classes) or not all(0 <= t < 1 for t in thresholds):
        raise DataError(f"gate thresholds are {raw!r}; give one or {num_classes} numbers from 0 to below 1")
    mode = gate.get("mode", "mask")
    if mode not in ("mask", "reference"):
        raise DataError(f"gate mode is {mode!r}; use 'mask' or 'reference'")
    return Gate(thresholds, mode)


def parse_presence(value: object, stage2: NetworkSpec | None) -> str:
    """Read which network says what is present; DataError when that one cannot."""
    if value not in ("stage1", "stage2"):
        raise DataError(f"presence is {value!r}; use 'stage1' or 'stage2'")
    layer = None if stage2 is None else stage2.arguments.get("presence")
    if value == "stage2" and layer is not True and layer != "stages":
        raise DataError("presence is 'stage2' but stage2 has no presence layer")
    return str(value)


def parse_presence_stride(
    value: object, presence: str, stage1: NetworkSpec, stage2: NetworkSpec | None
) -> int | None:
    """Read at which stride stage 1 says what is present; DataError where it cannot."""
    if value is None:
        return None
    if value not in _STRIDES or isinstance(value, bool | float):
        raise DataError(f"presence_stride is {value!r}; use 8, 16 or 32, or leave it out")
    if presence != "stage1" or stage2 is None or stage1.architecture != _STRIDED:
        raise DataError(
            f"presence_stride is for a stage 1 of the architecture {_STRIDED} that says what is present for a stage 2; "
            "leave it out"
        )
    return int(str(value))
