"""Checkpoints that are damaged, lie or would run code: ``.pth``, MXNet's ``.params``, safetensors."""

from __future__ import annotations

import io
import itertools
import pickle
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from wsss_mutations import BYTES, Build, files_of

from napari_wsss.models import build_stage1, build_stage2, load_encoder_weights
from napari_wsss.models.legacy import load_stage1_weights, load_stage2_weights
from napari_wsss.models.mxnet_params import read_mxnet_params
from tiling.errors import WsssError

__all__ = ["mutants", "outcome", "prepare"]

_NARROW = {"width": 0.05}
_NARROW2 = {"backbone": "efficientnet-lite0", "width": 0.1, "head_channels": 8, "low_channels": 4}


def prepare(intact: Path) -> None:
    """Save narrow networks as other programs do."""
    torch.manual_seed(0)
    stage1 = build_stage1("resnet38", 3, **_NARROW).state_dict()
    torch.save(stage1, intact / "stage1.pth")
    torch.save({"state_dict": stage1, "epoch": 3}, intact / "old.pth", _use_new_zipfile_serialization=False)
    torch.save(build_stage2("deeplabv3plus", 3, **_NARROW2).state_dict(), intact / "stage2.pth")
    lite = build_stage1("efficientnet-lite0", 3, width=0.1)
    encoder: Any = lite.encoder
    save_file({k: v.contiguous() for k, v in encoder.state_dict().items()}, intact / "encoder.safetensors")
    arrays = {f"arg:layer{i}_weight": np.arange(12, dtype="f4").reshape(3, 4) for i in range(5)}
    head = struct.pack("<3Q", 0x112, 0, len(arrays))
    body = b"".join(
        struct.pack("<Ii", 0xF993FAC9, 0)
        + struct.pack("<I2q", 2, 3, 4)
        + struct.pack("<3i", 1, 0, 0)
        + a.tobytes()
        for a in arrays.values()
    )
    tail = struct.pack("<Q", len(arrays))
    tail += b"".join(struct.pack("<Q", len(name)) + name.encode() for name in arrays)
    (intact / "net.params").write_bytes(head + body + tail)


def mutants(seed: int, intact: Path) -> Iterator[tuple[str, Build]]:
    """Yield mutants without end; two runs with the same seed yield the same ones."""
    chance = random.Random(seed)
    files = {p.name: p.read_bytes() for p in files_of(intact)}
    for number in itertools.count():
        name = chance.choice(list(files))
        how = chance.choice([*BYTES, "number lies", *(_PICKLES if name.endswith(".pth") else [])])
        own = random.Random(f"{seed} {number}")
        yield f"{number:05} {name} {how}", _mutant(own, name, files[name], how)


def _mutant(own: random.Random, name: str, data: bytes, how: str) -> Build:
    def build(folder: Path) -> Path:
        path = folder / name
        if how in _PICKLES:
            path.write_bytes(_PICKLES[how](own, data, folder / "ran"))
        elif how == "number lies":
            path.write_bytes(_lying(own, bytearray(data)))
        else:
            path.write_bytes(bytes(BYTES[how](own, bytearray(data))))
        return path

    return build


def outcome(path: Path, intact: Path) -> str:
    """Fill a network from a checkpoint; an error that is not ours escapes."""
    try:
        if path.suffix == ".params":
            read_mxnet_params(path)
            load_stage1_weights(build_stage1("resnet38", 3, **_NARROW), path)
        elif path.suffix == ".safetensors":
            lite: Any = build_stage1("efficientnet-lite0", 3, width=0.1)
            load_encoder_weights(lite.encoder, path)
        elif path.name == "stage2.pth":
            load_stage2_weights(build_stage2("deeplabv3plus", 3, **_NARROW2), path)
        else:
            load_stage1_weights(build_stage1("resnet38", 3, **_NARROW), path)
        answer = "read"
    except WsssError as error:
        answer = "refused" if "\n" not in str(error) else f"said {error}"
    return "wrong: code was run" if path.with_name("ran").exists() else answer


# --- ways ---


def _lying(own: random.Random, data: bytearray) -> bytes:
    """Let one of the first or last sizes lie."""
    place = own.choice(
        [own.randrange(min(300, len(data) - 8)), len(data) - 9 - own.randrange(min(300, len(data) - 9))]
    )
    number = own.choice([0, 1, 2**16, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1])
    struct.pack_into("<Q", data, max(0, place), number)
    return bytes(data)


class _Touch:
    """Touches a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def _with_code(own: random.Random, data: bytes, marker: Path) -> bytes:
    """Hide a call among the tensors, in either form of a checkpoint."""
    stream = io.BytesIO()
    content: dict[str, Any] = {"weight": torch.zeros(2), "x": _Touch(marker)}
    torch.save(content, stream, _use_new_zipfile_serialization=own.random() < 0.5)
    return stream.getvalue()


def _bare_pickle(own: random.Random, data: bytes, marker: Path) -> bytes:
    return pickle.dumps(_Touch(marker), protocol=own.choice((0, 2, 4)))


def _other_pickle(own: random.Random, data: bytes, marker: Path) -> bytes:
    odd: list[Any] = [
        [],
        {},
        {"a": 1},
        {1: torch.zeros(1)},
        "text",
        {"state_dict": None},
        {"a": torch.zeros(0)},
    ]
    odd += [
        {"conv1a.weight": torch.full((3,), float("nan"))},
        {"conv1a.weight": torch.zeros(3, dtype=torch.complex64)},
    ]
    stream = io.BytesIO()
    torch.save(own.choice(odd), stream)
    return stream.getvalue()


def _zip(own: random.Random, data: bytes, marker: Path) -> bytes:
    """Pack a zip that is no checkpoint, or one whose records lie."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(
            own.choice(["archive/data.pkl", "../../data.pkl", "a/version"]), own.randbytes(own.randint(0, 99))
        )
    return stream.getvalue()


_PICKLES: dict[str, Callable[[random.Random, bytes, Path], bytes]] = {
    "with code": _with_code,
    "bare pickle": _bare_pickle,
    "other content": _other_pickle,
    "other zip": _zip,
}
