"""A plain vision transformer whose tensors are named as timm names them, so that published encoders load without timm.

Its answer is a list of maps: the patch tokens of several blocks, each after the last layer norm, as DINOv2 gives them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_wsss.models.encoder import Encoder

__all__ = ["VisionTransformer"]

_EPSILON = 1e-6


class _PatchEmbed(nn.Module):
    def __init__(self, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, patch)


class _Attention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        count, tokens, dim = x.shape
        q, k, v = self.qkv(x).reshape(count, tokens, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        found: Tensor = self.proj(mixed.transpose(1, 2).reshape(count, tokens, dim))
        return found


class _Mlp(nn.Module):
    """Two layers with GELU, or the gated form in which half of the hidden channels weigh the other half (SwiGLU)."""

    def __init__(self, dim: int, hidden: int, swiglu: bool) -> None:
        super().__init__()
        self.swiglu = swiglu
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden // 2 if swiglu else hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        if self.swiglu:
            gate, value = x.chunk(2, -1)
            x = functional.silu(gate) * value
        else:
            x = functional.gelu(x)
        found: Tensor = self.fc2(x)
        return found


class _Scale(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), 1e-5))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class _Block(nn.Module):
    def __init__(self, dim: int, heads: int, hidden: int, swiglu: bool, scaled: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, _EPSILON)
        self.attn = _Attention(dim, heads)
        self.ls1 = _Scale(dim) if scaled else nn.Identity()
        self.norm2 = nn.LayerNorm(dim, _EPSILON)
        self.mlp = _Mlp(dim, hidden, swiglu)
        self.ls2 = _Scale(dim) if scaled else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        found: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
        return found


class VisionTransformer(Encoder):
    """ViT with class token, optional register tokens, layer scale and gated MLP.

    Parameters
    ----------
    dim, depth, heads : int
    patch : int
        Side of a patch in px: the stride of the maps.
    hidden : int
        Outputs of the first MLP layer; default 4 × ``dim``.
    registers : int
        Register tokens after the class token.
    placed : int
        Tokens before the patches that have a position of their own: all of them in timm's older form, 1 (the class
        token) in DINOv2's.
    swiglu, scaled : bool
        Gated MLP; layer scale.
    side : int
        Input side in px that the positions are for; other sizes interpolate them (bicubic, as timm).
    layers : sequence of int, optional
        Blocks whose tokens are given, from 0; default: four, evenly spread, the last among them.
    mean, std : three floats
        What RGB / 255 is normalised with.

    Notes
    -----
    Dosovitskiy et al., ICLR 2021; Darcet et al., ICLR 2024 (registers). An input whose sides are no multiples of
    ``patch`` is resized to the nearest ones.
    """

    def __init__(
        self,
        dim: int = 384,
        depth: int = 12,
        heads: int = 6,
        patch: int = 16,
        hidden: int | None = None,
        registers: int = 0,
        placed: int | None = None,
        swiglu: bool = False,
        scaled: bool = False,
        side: int = 224,
        layers: Sequence[int] | None = None,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
    ) -> None:
        self.layers = tuple(layers or sorted({(depth * k + 3) // 4 - 1 for k in range(1, 5)} - {-1}))
        super().__init__((dim,) * len(self.layers), (patch,) * len(self.layers), mean, std)
        self.patch = patch
        self.grid = side // patch
        self.placed = 1 + registers if placed is None else placed
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        if registers:
            self.reg_token = nn.Parameter(torch.zeros(1, registers, dim))
        self.prefix = 1 + registers
        self.pos_embed = nn.Parameter(torch.randn(1, self.placed + self.grid**2, dim) * 0.02)
        self.patch_embed = _PatchEmbed(dim, patch)
        self.blocks = nn.ModuleList(
            _Block(dim, heads, hidden or 4 * dim, swiglu, scaled) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim, _EPSILON)

    def maps(self, x: Tensor) -> list[Tensor]:
        """Return the tokens of ``layers`` as maps (N, dim, h, w) of a normalised image."""
        rows, columns = (max(1, round(int(side) / self.patch)) for side in x.shape[2:])
        if x.shape[2:] != (rows * self.patch, columns * self.patch):
            size = (rows * self.patch, columns * self.patch)
            x = functional.interpolate(x, size, mode="bilinear", align_corners=False)
        tokens = self._placed(self.patch_embed.proj(x).flatten(2).transpose(1, 2), rows, columns)
        found = []
        for number, block in enumerate(self.blocks[: max(self.layers) + 1]):
            tokens = block(tokens)
            if number in self.layers:
                patches = self.norm(tokens)[:, self.prefix :]
                found.append(patches.transpose(1, 2).reshape(len(x), -1, rows, columns))
        return found

    def _placed(self, patches: Tensor, rows: int, columns: int) -> Tensor:
        """Put the class and register tokens before the patches, and add positions."""
        where = self.pos_embed[:, self.placed :]
        if (rows, columns) != (self.grid, self.grid):
            square = where.transpose(1, 2).reshape(1, -1, self.grid, self.grid)
            square = functional.interpolate(square, (rows, columns), mode="bicubic", antialias=True)
            where = square.flatten(2).transpose(1, 2)
        first = [self.cls_token, *([self.reg_token] if self.prefix > 1 else [])]
        prefix = torch.cat([token.expand(len(patches), -1, -1) for token in first], 1)
        own = prefix[:, : self.placed] + self.pos_embed[:, : self.placed]
        return torch.cat([own, prefix[:, self.placed :], patches + where], 1)
