"""Putting named tensors into a network, with one clear sentence when they do not fit."""

from __future__ import annotations

import contextlib
import pickle
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from tiling.errors import BundleError
from tiling.files import lacks_memory, machine_trouble, refuse_special

__all__ = ["fill", "read_safetensors", "read_torch_file"]


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read a weights file onto the CPU.

    Raises
    ------
    BundleError
        When the file is missing, cut short or no safetensors file, or the machine does not let it be read.
    MemoryError
        When there is not enough.
    """
    try:
        refuse_special(path)
        return load_file(path)
    except FileNotFoundError as error:
        raise BundleError(
            f"{path}: the weights file is missing; restore it or make the bundle again."
        ) from error
    except (OSError, SafetensorError, RuntimeError) as error:  # PyTorch's kind for what the system refuses
        if lacks_memory(error):
            raise MemoryError(str(error)) from error
        if trouble := machine_trouble(error):
            raise BundleError(f"{path}: cannot be read ({trouble}); mend that and try again.") from error
        raise BundleError(
            f"{path}: cannot be read as safetensors ({error}); copy the bundle again."
        ) from error


def _numpy_scalars_allowed() -> contextlib.AbstractContextManager[Any]:
    """Let checkpoints hold plain numpy numbers (such as a best score): they carry no code.

    Files name numpy's private module by its name at the time of writing.
    """
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 6):
        return contextlib.nullcontext()  # cannot allow a class under another name; such files are refused
    allowed: list[Any] = [np.dtype, *(type(np.dtype(kind)) for kind in ("f8", "f4", "i8", "?"))]
    scalar = np.float64(0).__reduce__()[0]
    allowed += [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    return torch.serialization.safe_globals(allowed)


def read_torch_file(path: Path) -> dict[str, Any]:
    """Read a ``.pth`` or ``.pth.tar`` file onto the CPU without running anything it may contain.

    Returns
    -------
    dict
        Whatever mapping the file holds.

    Raises
    ------
    BundleError
        When the file is missing, damaged, holds something else, or would need to run code to be read.
    """
    try:
        refuse_special(path)
        # mmap: a checkpoint's optimiser state is as large as its weights and never looked at.
        with _numpy_scalars_allowed():
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except FileNotFoundError as error:
        raise BundleError(f"{path}: the weights file is missing.") from error
    except pickle.UnpicklingError as error:
        raise BundleError(
            f"{path}: not a plain PyTorch weights file (it is damaged or holds Python objects, which are not "
            "read for safety); save its state_dict alone."
        ) from error
    except Exception as error:  # torch raises a dozen kinds for damaged files
        raise BundleError(f"{path}: cannot be read as a PyTorch file ({type(error).__name__}).") from error
    if not isinstance(content, dict):
        raise BundleError(f"{path}: holds a {type(content).__name__}, not named weights.")
    return content


def fill(network: nn.Module, state: Mapping[str, Tensor], path: Path, optional: Collection[str] = ()) -> None:
    """Load ``state`` into ``network``; tensors of any precision become the network's own.

    Parameters
    ----------
    network : nn.Module
        Changed in place. On the meta device it takes over (copies of) the tensors.
    state : mapping of str to Tensor
        Exactly the network's keys; ``num_batches_tracked`` counters may be absent.
    path : Path
        Where the tensors come from, for the message.
    optional : collection of str, optional
        Keys that may be absent; the network keeps its own tensors there.

    Raises
    ------
    BundleError
        When a tensor is missing, superfluous or of another shape.
    """
    own = network.state_dict()
    # The counters play no part in inference; files older than PyTorch 0.4.1 do not have them.
    missing = [
        k for k in own if k not in state and k not in optional and not k.endswith("num_batches_tracked")
    ]
    extra = [k for k in state if k not in own]
    shapes = [k for k in own if k in state and own[k].shape != state[k].shape]
    problems = []
    if missing:
        problems.append(f"{len(missing)} tensors are missing (such as {missing[0]})")
    if extra:
        problems.append(f"{len(extra)} are unknown (such as {extra[0]})")
    if shapes:
        key = shapes[0]
        problems.append(
            f"{len(shapes)} have another shape (such as {key}: {tuple(state[key].shape)}, "
            f"not {tuple(own[key].shape)})"
        )
    if problems:
        raise BundleError(f"{path}: the weights do not fit {type(network).__name__}: {', '.join(problems)}.")
    if not any(value.is_meta for value in own.values()):
        network.load_state_dict(dict(state), strict=False)
        return
    # Copies: tensors that stay mapped to the file would change, or crash, with it.
    ready = {key: value.to(own[key].dtype, copy=True) for key, value in state.items()}
    counters = {key: torch.zeros_like(own[key], device="cpu") for key in own if key not in state}
    network.load_state_dict(ready | counters, assign=True)
