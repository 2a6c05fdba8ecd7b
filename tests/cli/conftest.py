"""A tiny untrained bundle, a small slide and a way to call the command line in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from napari_wsss.cli import app
from tiling.synthetic import SYNTHETIC_SCHEMA, SyntheticSlide
from tiling.synthetic.write import write_slide

SMALL = SyntheticSlide(width=700, height=520, mpp=0.5, seed=3, region_um=60)


@dataclass(frozen=True)
class Answer:
    """What the command line answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def wsss() -> Callable[..., Answer]:
    def call(*arguments: object) -> Answer:
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Answer(result.exit_code, result.stdout, result.stderr)

    return call


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    from napari_wsss.models import DeepLabV3Plus, LiteClassifier, save_bundle

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("bundle") / "tiny"
    save_bundle(
        path,
        name="tiny",
        description="Untrained, for tests.",
        schema=SYNTHETIC_SCHEMA,
        mpp=1.0,
        tile=64,
        stage1=LiteClassifier(4, width=0.1),
        stage2=DeepLabV3Plus(4, "efficientnet-lite0", width=0.1, head_channels=8),
    )
    return path


@pytest.fixture(scope="session")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slide") / "small.tif"
    write_slide(path, SMALL)
    return path


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, bundle: Path, slide: Path) -> Path:
    """A complete store (do not change it)."""
    out = tmp_path_factory.mktemp("finished")
    result = CliRunner().invoke(app, ["run", str(slide), "--model", str(bundle), "--out", str(out)])
    assert result.exit_code == 0, result.stderr
    return out / "small.zarr"
