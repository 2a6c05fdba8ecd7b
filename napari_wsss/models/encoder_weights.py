"""Published weights into an encoder: all tensors must be there, under timm's names or transformers' DINOv2's."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor

from napari_wsss.models.encoder import Encoder
from napari_wsss.models.timm_encoder import TimmEncoder
from napari_wsss.models.weights import fill, read_safetensors, read_torch_file
from tiling.errors import BundleError

__all__ = ["load_encoder_weights"]

_WRAPPERS = ("state_dict", "model", "teacher", "student", "model_state_dict")
_HEADS = ("head.", "fc_norm.", "head_drop.", "fc.", "classifier.", "mask_token", "dino_head", "ibot_head")
_RENAMED = (
    (r"embeddings\.(cls_token|mask_token)", r"\1"),
    (r"embeddings\.register_tokens", "reg_token"),
    (r"embeddings\.position_embeddings", "pos_embed"),
    (r"embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"encoder\.layer\.(\d+)\.attention\.output\.dense\.", r"blocks.\1.attn.proj."),
    (r"encoder\.layer\.(\d+)\.layer_scale([12])\.lambda1", r"blocks.\1.ls\2.gamma"),
    (r"encoder\.layer\.(\d+)\.mlp\.weights_in\.", r"blocks.\1.mlp.fc1."),
    (r"encoder\.layer\.(\d+)\.mlp\.weights_out\.", r"blocks.\1.mlp.fc2."),
    (r"encoder\.layer\.(\d+)\.", r"blocks.\1."),
    (r"layernorm\.", "norm."),
)
_QUERY = re.compile(r"(.*encoder\.layer\.\d+\.attention)\.attention\.query\.(weight|bias)")


def load_encoder_weights(encoder: Encoder, path: Path) -> None:
    """Read a file of published weights; changed in place.

    Parameters
    ----------
    encoder : Encoder
    path : Path
        ``.safetensors``, or a PyTorch file that holds tensors only. A larger model is fine whose encoder's names share
        a prefix (``visual.trunk.``, ``module.`` …); classifier heads are left out.

    Raises
    ------
    BundleError
        When the file cannot be read, holds another network, or a tensor is missing: an encoder with random weights in
        some layer would be worse than none.
    """
    state = read_safetensors(path) if path.suffix == ".safetensors" else _tensors(path)
    network = encoder.network if isinstance(encoder, TimmEncoder) else encoder
    own = network.state_dict()
    state = _as_timm(state)
    anchor = next(key for key in own if key.endswith("weight"))
    prefixes = [key.removesuffix(anchor) for key in state if key == anchor or key.endswith("." + anchor)]
    if len(prefixes) != 1:
        held = (
            f"several networks ({', '.join(prefixes)})" if prefixes else f"no {anchor}, so not this network"
        )
        raise BundleError(f"{path}: holds {held}; give a file with the weights of that encoder alone.")
    under = {k.removeprefix(prefixes[0]): v for k, v in state.items() if k.startswith(prefixes[0])}
    fill(network, {k: v for k, v in under.items() if k in own or not k.startswith(_HEADS)}, path)


def _tensors(path: Path) -> dict[str, Tensor]:
    content = read_torch_file(path)
    for name in _WRAPPERS:
        if isinstance(content.get(name), dict):
            content = content[name]
    return {str(key): value for key, value in content.items() if isinstance(value, Tensor)}


def _as_timm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of transformers' DINOv2; query, key and value become one tensor."""
    if not any("embeddings.patch_embeddings." in key for key in state):
        return state
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        query = _QUERY.fullmatch(key)
        if query:
            parts = [f"{query[1]}.attention.{part}.{query[2]}" for part in ("query", "key", "value")]
            if any(part not in state for part in parts):
                continue  # missed by the check of names
            key, value = (
                f"{query[1].replace('attention', 'attn')}.qkv.{query[2]}",
                torch.cat([state[p] for p in parts]),
            )
        elif re.search(r"\.attention\.attention\.(key|value)\.", key):
            continue
        for pattern, name in _RENAMED:
            key = re.sub(pattern, name, key)
        renamed[key] = value
    return renamed
