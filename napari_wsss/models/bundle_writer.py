"""Writing a bundle: weights first, model.json with their digests, then one rename."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from napari_wsss.models.bundle import (
    MODEL_JSON,
    Bundle,
    Gate,
    NetworkSpec,
    load_bundle,
    parse_bundle,
    sha256_of,
)
from tiling.classes import ClassSchema
from tiling.errors import BundleError
from tiling.files import sync

__all__ = ["save_bundle"]

_DTYPES = {"float32": torch.float32, "float16": torch.float16}


def save_bundle(
    directory: str | Path,
    *,
    name: str,
    schema: ClassSchema,
    mpp: float,
    tile: int,
    stage1: nn.Module,
    stage2: nn.Module | None = None,
    description: str = "",
    licence: str = "",
    training_data: str = "",
    gate: Gate | None = None,
    metrics: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    dtype: str = "float32",
    presence_stride: int | None = None,
    overwrite: bool = False,
) -> Bundle:
    """Write a bundle; the folder appears complete or not at all.

    Parameters
    ----------
    directory : str or Path
        Folder to make.
    name, schema, mpp, tile, description, licence, training_data, gate, metrics, provenance, presence_stride
        As in :class:`Bundle`; mappings must be JSON-ready.
    stage1, stage2 : nn.Module
        Networks of :mod:`napari_wsss.models.registry` (their ``architecture`` and ``arguments`` are
        recorded). A stage 2 with a presence layer is the one that opens the gate.
    dtype : {"float32", "float16"}, optional
        Storage of convolution weights; vectors (batch norm, biases) stay float32.
    overwrite : bool, optional
        Replace an existing bundle.

    Returns
    -------
    Bundle
        As :func:`load_bundle` reads it back.

    Raises
    ------
    BundleError
        When the folder exists, cannot be written, or something does not fit (networks and schema, an
        implausible mpp, tile or threshold): nothing is written then.
    """
    folder = Path(directory)
    networks = {"stage1": stage1, "stage2": stage2}
    if dtype not in _DTYPES:
        raise BundleError(f"{folder}: weights cannot be stored as {dtype!r}; use float32 or float16.")
    for stage, network in networks.items():
        if network is not None and getattr(network, "num_classes", None) != len(schema):
            raise BundleError(
                f"{folder}: {stage} has {getattr(network, 'num_classes', 'no')} classes but the schema has "
                f"{len(schema)}."
            )
    if folder.exists():
        if not overwrite:
            raise BundleError(f"{folder}: exists already; choose another folder or allow it to be replaced.")
        if not folder.is_dir() or (not (folder / MODEL_JSON).is_file() and any(folder.iterdir())):
            raise BundleError(f"{folder}: is no bundle but something else; choose another folder.")
    staging: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        specs = {
            stage: _write_network(staging / f"{stage}.safetensors", network, dtype)
            for stage, network in networks.items()
            if network is not None
        }
        bundle = Bundle(
            folder,
            name,
            description,
            licence,
            training_data,
            schema,
            float(mpp),
            int(tile),
            specs["stage1"],
            specs.get("stage2"),
            gate or Gate(),
            metrics or {},
            provenance or {},
            "stage1" if getattr(stage2, "presence", None) is None else "stage2",
            presence_stride,
        )
        text = json.dumps(bundle.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        parse_bundle(json.loads(text), folder, folder / MODEL_JSON)
        (staging / MODEL_JSON).write_text(text + "\n", encoding="utf-8")
        for path in staging.iterdir():
            path.chmod(0o644)  # safetensors writes for the owner only; a lab shares its models
            _sync(path)
        staging.chmod(0o755)
        _swap(staging, folder)
    except OSError as error:
        raise BundleError(f"{folder}: cannot be written ({error.strerror or error}).") from error
    except (TypeError, ValueError) as error:
        raise BundleError(f"{folder}: the bundle's description is not JSON-ready ({error}).") from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
    return load_bundle(folder)


def _write_network(path: Path, network: nn.Module, dtype: str) -> NetworkSpec:
    state = {
        key: _stored(value.detach().cpu(), _DTYPES[dtype]).contiguous()
        for key, value in network.state_dict().items()
    }
    save_file(state, path)
    config: Any = network
    return NetworkSpec(
        str(config.architecture),
        dict(config.arguments),
        path.name,
        sha256_of(path),
        dtype,
    )


def _stored(value: Tensor, dtype: torch.dtype) -> Tensor:
    """Halve kernels only: batch-norm variances can lie outside half precision, and vectors weigh little."""
    if not value.is_floating_point():
        return value
    if dtype == torch.float16 and value.ndim > 1 and bool(value.abs().max() < 6e4):
        return value.to(torch.float16)
    return value.to(torch.float32)


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        sync(stream.fileno())


def _swap(staging: Path, folder: Path) -> None:
    """Rename ``staging`` to ``folder``; a former bundle is moved away first and deleted last."""
    if not folder.exists():
        staging.rename(folder)
        return
    former = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
    folder.rename(former / folder.name)
    try:
        staging.rename(folder)
    except OSError:
        (former / folder.name).rename(folder)
        raise
    finally:
        shutil.rmtree(former, ignore_errors=True)
