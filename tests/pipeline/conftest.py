"""Tiny bundles, made once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from napari_wsss.backends.openvino_backend import openvino_version
from napari_wsss.models.bundle import Bundle, Gate, load_bundle
from napari_wsss.models.bundle_writer import save_bundle
from napari_wsss.models.registry import build_stage1, build_stage2
from napari_wsss.predictor import BundlePredictor
from tiling.synthetic import SYNTHETIC_SCHEMA, SyntheticSlide

TILE = 64


def lived_in(network: nn.Module, seed: int) -> nn.Module:
    """Give batch norms statistics that differ from those of a fresh network, so that forgetting them shows."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = torch.randn(module.weight.shape, generator=generator)
            module.weight.data /= module.weight[0].numel() ** 0.5
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.3, 0.9),
                (module.weight.data, 0.7, 1.3),
                (module.bias.data, -0.2, 0.2),
            ):
                tensor.copy_(torch.empty(tensor.shape).uniform_(low, high, generator=generator))
    return network.eval()


@pytest.fixture(scope="session")
def _bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bundles")
    layers: dict[str, dict[str, Any]] = {"seer": {"presence": True}, "stages": {"presence": "stages"}}
    for name, second in (("pair", True), ("first", False), ("seer", True), ("stages", True)):
        narrow = {"backbone": "efficientnet-lite0", "width": 0.1, "head_channels": 8, "low_channels": 4}
        stage2 = build_stage2("deeplabv3plus", 4, **narrow, **layers.get(name, {}))
        save_bundle(
            root / name,
            name=name,
            schema=SYNTHETIC_SCHEMA,
            mpp=0.5,
            tile=TILE,
            stage1=lived_in(build_stage1("efficientnet-lite0", 4, width=0.1), 1),
            stage2=lived_in(stage2, 2) if second else None,
            gate=Gate((0.45, 0.5, 0.55, 0.5)),
        )
    return root


@pytest.fixture
def bundle(_bundles: Path, tmp_path: Path) -> Bundle:
    """Both stages, four classes, tiles of 64 px; a copy of its own, without a cache."""
    return load_bundle(shutil.copytree(_bundles / "pair", tmp_path / "pair"))


@pytest.fixture(scope="session")
def _converted(_bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if openvino_version() is None:
        pytest.skip("needs the extra openvino")
    user = tmp_path_factory.mktemp("converted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(user))
        for precision in ("fp32", "mixed"):
            BundlePredictor(load_bundle(_bundles / "pair"), "cpu", precision, backend="openvino")  # type: ignore[arg-type]
    return user


@pytest.fixture
def converted(bundle: Bundle, _converted: Path, tmp_path: Path) -> Bundle:
    """The bundle of :func:`bundle`; its converted networks are in the user's cache, and nothing is measured yet."""
    shutil.copytree(_converted, tmp_path / "user", dirs_exist_ok=True)
    return bundle


@pytest.fixture
def first_only(_bundles: Path, tmp_path: Path) -> Bundle:
    """The same without stage 2."""
    return load_bundle(shutil.copytree(_bundles / "first", tmp_path / "first"))


@pytest.fixture
def seer(_bundles: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Bundle:
    """Both stages; stage 2 says what is present: ``seer``, or ``stages`` with a layer that sees earlier stages."""
    return load_bundle(shutil.copytree(_bundles / getattr(request, "param", "seer"), tmp_path / "seer"))


@pytest.fixture(scope="session")
def tiles() -> NDArray[np.uint8]:
    """Five different tiles of synthetic tissue."""
    area = SyntheticSlide(512, 512, seed=3, region_um=60).render(64, 128, 5 * TILE, TILE)
    return np.ascontiguousarray(area.reshape(TILE, 5, TILE, 3).swapaxes(0, 1))
