"""Hand a model on to other programs: ONNX for all of it, TorchScript of stage 1 for WSInfer and QuPath.

The ONNX file is the whole model, both stages and the gate: bytes of tiles in, classes out. It is checked before it is
given away: on fixed synthetic tiles it must label pixels as torch does.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_wsss.backends.agreement import check_tiles
from napari_wsss.backends.graph import simplified
from napari_wsss.backends.maps import Maps, networks_of, presence_of, probabilities_of
from napari_wsss.models import Bundle, Gate
from tiling.errors import BundleError, DeviceError, disk_errors_as
from tiling.files import replacing, write_json_atomic

__all__ = ["ENOUGH", "OPSET", "OnnxFile", "export_onnx", "export_wsinfer"]

OPSET = 18
ENOUGH = 0.999
"""Share of pixels of the check tiles that onnxruntime must label as torch does."""

_BATCH = 2
_MOST = 2**16  # tiles of a batch; some versions of torch export none without a limit


@dataclass(frozen=True)
class OnnxFile:
    """What :func:`export_onnx` wrote.

    Attributes
    ----------
    path : Path
        ``model.onnx``; ``model.json`` beside it says what goes in and comes out.
    agreement : float
        Share of equal labels on the check tiles.
    """

    path: Path
    agreement: float


class _Whole(nn.Module):
    """Tiles in, labels, probabilities and presence out: the pair of networks with the gate behind it."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        self.networks = simplified(networks_of(bundle).eval().requires_grad_(False))
        self._tile = bundle.tile
        self._gate: Gate = bundle.gate
        self.register_buffer("thresholds", torch.tensor(bundle.gate.thresholds))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        maps = Maps.of(self.networks(pixels))
        presence = presence_of(maps)
        thresholds = self.get_buffer("thresholds")
        probabilities = probabilities_of(maps, self._tile, presence, self._gate, thresholds)
        return probabilities.argmax(1).to(torch.uint8), probabilities, presence


class _Presence(nn.Module):
    """Stage 1 alone, as WSInfer calls it: RGB / 255 in, the probability of every class out."""

    def __init__(self, stage1: nn.Module) -> None:
        super().__init__()
        self.stage1 = stage1

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.stage1(x)
        return logits.sigmoid()


def export_onnx(bundle: Bundle, folder: Path) -> OnnxFile:
    """Write ``model.onnx`` and ``model.json`` into a folder, after the file has shown that it labels as torch does.

    Parameters
    ----------
    bundle : Bundle
    folder : Path
        Made if needed; files of an earlier export are replaced.

    Raises
    ------
    BundleError
        When the networks cannot be written as ONNX, the result labels other classes, or the folder cannot be written.
    DeviceError
        When the packages are not installed.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        _required(package)
    network = _Whole(bundle).eval()
    tiles = check_tiles(bundle.tile, bundle.mpp)
    content = _converted(bundle, network, torch.from_numpy(tiles[:_BATCH].copy()))
    share = _agreement(content, network, tiles)
    if share < ENOUGH:
        raise BundleError(
            f"{bundle.path}: as ONNX it labels only {share:.2%} of the check tiles as torch does; it is not exported."
        )
    path = folder / "model.onnx"
    with disk_errors_as(BundleError, f"{folder} cannot be written", "choose another folder"):
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(content)
        write_json_atomic(folder / "model.json", _card(bundle, share))
    return OnnxFile(path, share)


def export_wsinfer(bundle: Bundle, folder: Path) -> Path:
    """Write stage 1 as ``torchscript_model.pt`` with the ``config.json`` that WSInfer and QuPath's extension read.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    BundleError
        When the network cannot be traced or the folder cannot be written.

    Notes
    -----
    A patch holds any number of classes, so the model gives a probability per class: ``apply_softmax`` is false, which
    QuPath's extension reads; the Python package of WSInfer applies a softmax in any case, and then only the order of
    the classes means something.
    """
    example, stream = torch.zeros(1, 3, bundle.tile, bundle.tile), io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        # Sizes become constants, which is meant; TorchScript is old, and WSInfer reads nothing newer.
        warnings.simplefilter("ignore")
        trace: Callable[..., Any] = torch.jit.trace
        traced = trace(_Presence(bundle.build_stage1()).eval(), (example,), check_trace=False)
        torch.jit.save(traced, stream)
    config = {
        "spec_version": "1.0",
        "architecture": bundle.stage1.architecture,
        "name": bundle.name,
        "num_classes": len(bundle.schema),
        "class_names": list(bundle.schema.names),
        "patch_size_pixels": bundle.tile,
        "spacing_um_px": bundle.mpp,
        "apply_softmax": False,
        "transform": [
            {"name": "Resize", "arguments": {"size": bundle.tile}},
            {"name": "ToTensor"},
        ],
    }
    with disk_errors_as(BundleError, f"{folder} cannot be written", "choose another folder"):
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / "torchscript_model.pt") as file:
            file.write(stream.getvalue())
        write_json_atomic(folder / "config.json", config)
    return folder


def _required(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise DeviceError(
            f"The ONNX export needs the package {package}: run `pip install 'napari-wsss[onnx]'`."
        ) from error


def _converted(bundle: Bundle, network: nn.Module, example: Tensor) -> bytes:
    tiles = torch.export.Dim("tiles", max=_MOST)
    with _quiet():
        try:
            program: Any = torch.onnx.export(
                network,
                (example,),
                input_names=["pixels"],
                output_names=["labels", "probabilities", "presence"],
                dynamic_shapes=({0: tiles},),
                opset_version=OPSET,
                dynamo=True,
            )
            model = program.model_proto
            facts = {
                "name": bundle.name,
                "licence": bundle.licence,
                "classes": json.dumps(bundle.schema.names),
            }
            for key, value in facts.items():
                model.metadata_props.add(key=key, value=value)
            content: bytes = model.SerializeToString()
        except Exception as error:  # whatever is raised for unknown operations, or more than 2 GB
            reason = str(error).strip().partition("\n")[0][:200]
            raise BundleError(f"{bundle.path}: cannot be written as ONNX ({reason}).") from error
    return content


def _agreement(content: bytes, network: nn.Module, tiles: NDArray[np.uint8]) -> float:
    session = _required("onnxruntime").InferenceSession(content, providers=["CPUExecutionProvider"])
    equal = []
    for start in range(0, len(tiles), _BATCH):
        part = tiles[start : start + _BATCH]
        found = session.run(["labels"], {"pixels": part})[0]
        with torch.inference_mode():
            wanted = network(torch.from_numpy(part.copy()))[0].numpy()
        equal.append(found == wanted)
    return float(np.mean(np.concatenate(equal)))


def _card(bundle: Bundle, share: float) -> dict[str, Any]:
    side, classes = bundle.tile, len(bundle.schema)
    return {
        "file": "model.onnx",
        "opset": OPSET,
        "inputs": {
            "pixels": {"shape": ["tiles", side, side, 3], "type": "uint8", "meaning": "RGB at mpp, 0 to 255"}
        },
        "outputs": {
            "labels": {
                "shape": ["tiles", side, side],
                "type": "uint8",
                "meaning": "class i of the schema = i",
            },
            "probabilities": {"shape": ["tiles", classes, side, side], "type": "float32"},
            "presence": {"shape": ["tiles", classes], "type": "float32", "meaning": "class is in the tile"},
        },
        "gate": {"thresholds": list(bundle.gate.thresholds), "mode": bundle.gate.mode, "included": True},
        "mpp": bundle.mpp,
        "tile": side,
        "schema": bundle.schema.to_dict(),
        "agreement_with_torch": round(share, 6),
        "hashes": bundle.hashes,
        **{key: getattr(bundle, key) for key in ("name", "description", "licence", "training_data")},
        "use": "Research use only, not for diagnosis.",
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress and hints away from the user."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
