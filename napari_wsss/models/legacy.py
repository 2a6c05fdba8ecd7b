"""Reading the reference's published checkpoints, and turning them into a bundle.

Four kinds: stage-1 ``.pth`` (a bare state dict), stage-2 ``.pth`` (``state_dict`` and ``optimizer``), the
21-class VOC file ``deeplab-resnet.pth.tar``, and MXNet ``.params`` with ImageNet weights. Nothing in them is
executed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_wsss.models.bundle import Gate, sha256_of
from napari_wsss.models.bundle_writer import save_bundle
from napari_wsss.models.mxnet_params import is_mxnet_params, read_mxnet_params
from napari_wsss.models.registry import build_stage1, build_stage2
from napari_wsss.models.schemas import resolve_schema
from napari_wsss.models.weights import fill, read_torch_file
from tiling.classes import ClassSchema
from tiling.errors import BundleError

__all__ = [
    "import_checkpoints",
    "load_stage1_weights",
    "load_stage2_weights",
    "read_mxnet_params",
    "read_state_dict",
    "resnet38_from_mxnet",
]

_STAGE1_HEAD = ("fc8.weight", "classifier.weight")
_STAGE2_HEAD = ("decoder.last_conv.8.weight", "decoder.last_conv.8.bias")
_PARTS = {
    "weight": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_var": "running_var",
}
_PART = "(weight|gamma|beta|moving_mean|moving_var)"
_BLOCK = re.compile(rf"(?:arg|aux):(res|bn)(\d)([abc])(\d*)_(branch\w+?)_{_PART}")
_SINGLE = re.compile(rf"(?:arg|aux):(conv1a|bn7)_{_PART}")


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the named tensors of a PyTorch checkpoint.

    Parameters
    ----------
    path : str or Path
        A ``.pth`` or ``.pth.tar`` file: a bare state dict, or a dict with ``state_dict``; with or without the
        prefix ``module.`` of a parallel run.

    Returns
    -------
    dict of str to Tensor

    Raises
    ------
    BundleError
        When the file is missing, damaged, would have to run code, or holds no tensors by name.
    """
    path = Path(path)
    content: Any = read_torch_file(path)
    content = content.get("state_dict", content)
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())
    ):
        raise BundleError(f"{path}: holds no state dict (tensors by name); pass a checkpoint of the network.")
    if all(key.startswith("module.") for key in content):
        return {key.removeprefix("module."): value for key, value in content.items()}
    return dict(content)


def resnet38_from_mxnet(
    arrays: Mapping[str, NDArray[np.generic]], path: str | Path = "arrays"
) -> dict[str, Tensor]:
    """Rename MXNet arrays to the state-dict keys of :class:`~napari_wsss.models.resnet38.ResNet38`.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        As :func:`read_mxnet_params` returns them.
    path : str or Path, optional
        Where they come from, for the message.

    Returns
    -------
    dict of str to Tensor
        Without the 1000-class layer.

    Raises
    ------
    BundleError
        For a name that this network does not have.
    """
    state: dict[str, Tensor] = {}
    for name, array in arrays.items():
        if name.removeprefix("arg:").startswith("linear1000_"):
            continue
        if block := _BLOCK.fullmatch(name):
            kind, stage, letter, number, branch, part = block.groups()
            # res4a is b4; res4b1 … res4b5 are b4_1 … b4_5; files with one letter per unit write res5b, res5c
            unit = number or {"a": "", "b": "1", "c": "2"}[letter]
            layer = {"res": "conv", "bn": "bn"}[kind]
            key = f"b{stage}{'_' if unit else ''}{unit}.{layer}_{branch}.{_PARTS[part]}"
        elif single := _SINGLE.fullmatch(name):
            key = f"{single[1]}.{_PARTS[single[2]]}"
        else:
            raise BundleError(
                f"{path}: holds {name!r}, which is no part of ResNet38; pass its ImageNet weights."
            )
        state[key] = torch.from_numpy(np.array(array))
    return state


def load_stage1_weights(network: nn.Module, path: str | Path) -> bool:
    """Fill a stage-1 network from a published ``.pth`` or MXNet ``.params`` file.

    Parameters
    ----------
    network : nn.Module
        A stage-1 network; changed in place.
    path : str or Path
        The file; its kind is told from its first bytes.

    Returns
    -------
    bool
        Whether the classifier was filled too. False: the file has none (MXNet) or one for another number of
        classes, and the network keeps its own, untrained.

    Raises
    ------
    BundleError
        When the file cannot be read or does not fit.
    """
    path = Path(path)
    mxnet = is_mxnet_params(path)
    state = resnet38_from_mxnet(read_mxnet_params(path), path) if mxnet else read_state_dict(path)
    return _fill_but_head(network, state, path, _STAGE1_HEAD)


def load_stage2_weights(network: nn.Module, path: str | Path) -> bool:
    """Fill a stage-2 network from a published stage-2 checkpoint, the 21-class VOC one, or its backbone alone.

    A file without ASPP and decoder is taken for a classifier of torchvision (ResNet, MobileNetV2): its tensors fill
    the backbone, its last layers are left out.

    Parameters
    ----------
    network : nn.Module
        A DeepLabV3+; changed in place.
    path : str or Path
        The file.

    Returns
    -------
    bool
        Whether the last layer was filled too. False: the file's last layer is for another number of classes
        (VOC), or there is none, and the network keeps its own, untrained.

    Raises
    ------
    BundleError
        When the file cannot be read or does not fit.
    """
    state = read_state_dict(path)
    if any(key.startswith(("aspp.", "decoder.", "backbone.")) for key in state):
        return _fill_but_head(network, state, Path(path), _STAGE2_HEAD)
    own = network.state_dict()
    known = {f"backbone.{key}": value for key, value in state.items() if f"backbone.{key}" in own}
    fill(network, known, Path(path), optional=[key for key in own if not key.startswith("backbone.")])
    return False


def _fill_but_head(network: nn.Module, state: dict[str, Tensor], path: Path, head: tuple[str, ...]) -> bool:
    """Load everything; leave the head out when it is absent or has another number of classes."""
    own = network.state_dict()
    mine = [key for key in head if key in own]
    fits = all(key in state and len(state[key]) == len(own[key]) for key in mine)
    if not fits:
        state = {key: value for key, value in state.items() if key not in head}
    fill(network, state, path, optional=() if fits else mine)
    return fits


def import_checkpoints(
    stage1: str | Path,
    stage2: str | Path | None,
    schema: str | Path | ClassSchema,
    out: str | Path,
    *,
    name: str | None = None,
    description: str = "",
    licence: str = "",
    training_data: str = "",
    mpp: float = 1.0,
    tile: int = 224,
    gate_threshold: float = 0.1,
    dtype: str = "float32",
    stage1_arguments: Mapping[str, Any] | None = None,
    stage2_arguments: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Turn published checkpoints into a bundle.

    Parameters
    ----------
    stage1 : str or Path
        Trained ResNet38 (``.pth``).
    stage2 : str or Path, optional
        Trained DeepLabV3+ (``.pth`` or ``.pth.tar``).
    schema : str, Path or ClassSchema
        ``bcss``, ``luad`` or a schema file.
    out : str or Path
        Folder to make.
    name, description, licence, training_data : str, optional
        For model.json; the name defaults to that of the folder.
    mpp : float, optional
        µm per pixel of the training patches; 1.0 is the 10× of BCSS-WSSS and LUAD-HistoSeg.
    tile : int, optional
        Side of the training patches in pixels.
    gate_threshold : float, optional
        The released code uses 0.1.
    dtype : {"float32", "float16"}, optional
        Storage of the weights.
    stage1_arguments, stage2_arguments : mapping, optional
        Network arguments that the tensors do not tell (``output_stride=8``), or of a narrow variant.
    overwrite : bool, optional
        Replace an existing bundle.

    Returns
    -------
    Path
        The bundle's folder.

    Raises
    ------
    BundleError
        When a file cannot be read, does not fit the architecture, or has another number of classes than the
        schema.
    """
    classes = resolve_schema(schema)
    count, folder = len(classes), Path(out)
    provenance: dict[str, Any] = {
        "command": "wsss-tile models import",
        "method": "WSSS-Tissue (Han et al., 2022)",
    }
    first = build_stage1("resnet38", count, **(stage1_arguments or {}))
    _require_head(load_stage1_weights(first, stage1), stage1, classes)
    provenance["stage1"] = {"file": Path(stage1).name, "sha256": sha256_of(Path(stage1))}
    second = None
    if stage2 is not None:
        second = build_stage2("deeplabv3plus", count, **(stage2_arguments or {}))
        _require_head(load_stage2_weights(second, stage2), stage2, classes)
        provenance["stage2"] = {"file": Path(stage2).name, "sha256": sha256_of(Path(stage2))}
    bundle = save_bundle(
        folder,
        name=name or folder.name,
        description=description or f"Imported WSSS-Tissue checkpoint for the classes of {classes.name}.",
        licence=licence,
        training_data=training_data,
        schema=classes,
        mpp=mpp,
        tile=tile,
        stage1=first,
        stage2=second,
        gate=Gate((gate_threshold,)),
        provenance=provenance,
        dtype=dtype,
        overwrite=overwrite,
    )
    return bundle.path


def _require_head(filled: bool, path: str | Path, schema: ClassSchema) -> None:
    if not filled:
        raise BundleError(
            f"{path}: its last layer is missing or not for the {len(schema)} classes of schema {schema.name!r}: it is "
            "initial weights for training, or another data set's model; pass the trained model and its schema."
        )
