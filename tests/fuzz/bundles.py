"""Model bundles that are damaged or lie: nothing else than what was trained may come out of one."""

from __future__ import annotations

import functools
import itertools
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from wsss_mutations import TREE, Build, files_of

from napari_wsss.models import build_stage1, build_stage2, load_bundle, save_bundle
from napari_wsss.predictor import BundlePredictor
from tiling.errors import WsssError
from tiling.synthetic import SYNTHETIC_SCHEMA

__all__ = ["mutants", "outcome", "prepare"]

_TILES = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)


def prepare(intact: Path) -> None:
    """Save narrow networks."""
    torch.manual_seed(0)
    narrow = {"backbone": "efficientnet-lite0", "width": 0.1, "head_channels": 8, "low_channels": 4}
    save_bundle(
        intact / "bundle",
        name="toy",
        schema=SYNTHETIC_SCHEMA,
        mpp=0.5,
        tile=64,
        stage1=build_stage1("efficientnet-lite0", 4, width=0.1),
        stage2=build_stage2("deeplabv3plus", 4, **narrow),
    )


def mutants(seed: int, intact: Path) -> Iterator[tuple[str, Build]]:
    """Yield mutants without end; two runs with the same seed yield the same ones."""
    chance = random.Random(seed)
    for number in itertools.count():
        how = chance.choice([*TREE, *["leaf"] * 6])
        yield f"{number:05} {how}", functools.partial(_build, f"{seed} {number}", intact / "bundle", how)


def _build(seed: str, intact: Path, how: str, folder: Path) -> Path:
    bundle = Path(shutil.copytree(intact, folder / "bundle"))
    own = random.Random(seed)
    files = files_of(bundle)
    TREE[how](own, own.choice(files), files)
    return bundle


def outcome(folder: Path, intact: Path) -> str:
    """Load a bundle and predict a tile; an error that is not ours escapes."""
    try:
        bundle = load_bundle(folder)
        predictor = BundlePredictor(bundle, "cpu", "fp32", backend="torch")
        tiles = np.resize(_TILES, (1, bundle.tile, bundle.tile, 3)) if bundle.tile <= 256 else None
        found = None if tiles is None else predictor(tiles)
    except WsssError as error:
        return "refused" if "\n" not in str(error) else f"said {error}"
    for spec in (bundle.stage1, bundle.stage2):
        name = None if spec is None else spec.file
        if name and (folder / name).read_bytes() not in [p.read_bytes() for p in files_of(intact / "bundle")]:
            return "wrong: changed weights were taken"
    if found is not None and not np.isfinite(found.probabilities).all():
        return "wrong: probabilities that are no numbers"
    return "read"
