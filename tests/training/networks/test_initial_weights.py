"""Where networks start: stage 2 from a whole bundle, or from the encoder of a bundle that has stage 1 only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from napari_wsss.models import build_stage1, save_bundle
from tiling.classes import ClassSchema
from tiling.errors import TrainingError
from tiling.synthetic import SYNTHETIC_SCHEMA
from training.networks.presence_head import with_presence
from training.networks.weights import initial_classifier, initial_segmenter
from training.settings import PRESETS, Stage1Settings, Stage2Settings, override

CLASSES = len(SYNTHETIC_SCHEMA)
OTHERS = ClassSchema("others", SYNTHETIC_SCHEMA.classes[1:])
RENAMED = ClassSchema("renamed", tuple(replace(c, name=f"{c.name} 2") for c in SYNTHETIC_SCHEMA.classes))
SETTINGS: Stage2Settings = override(
    PRESETS["recommended"].stage2, {"width": 0.1, "head_channels": 8, "least_side": 0}
)


def bundle(folder: Path, stage1: nn.Module, stage2: nn.Module | None = None) -> str:
    save_bundle(folder, name="b", schema=SYNTHETIC_SCHEMA, mpp=0.5, tile=64, stage1=stage1, stage2=stage2)
    return str(folder)


def test_stage_2_starts_from_the_encoder_of_stage_1(tmp_path: Path) -> None:
    stage1 = build_stage1("efficientnet-lite0", CLASSES, width=0.1)
    for parameter in stage1.parameters():
        parameter.data.add_(0.25)  # as after training
    network = initial_segmenter(SETTINGS, SYNTHETIC_SCHEMA, bundle(tmp_path / "b", stage1), 64)
    known = {
        k.removeprefix("encoder."): v for k, v in stage1.state_dict().items() if k.startswith("encoder.")
    }
    own = {
        k.removeprefix("backbone."): v for k, v in network.state_dict().items() if k.startswith("backbone.")
    }
    assert own.keys() <= known.keys()
    assert all(torch.equal(v, known[k]) for k, v in own.items())


def test_stage_2_goes_on_from_stage_2(tmp_path: Path) -> None:
    stage1 = build_stage1("efficientnet-lite0", CLASSES, width=0.1)
    stage2 = initial_segmenter(SETTINGS, SYNTHETIC_SCHEMA, "none", 64)
    network = initial_segmenter(SETTINGS, SYNTHETIC_SCHEMA, bundle(tmp_path / "b", stage1, stage2), 64)
    assert all(torch.equal(v, network.state_dict()[k]) for k, v in stage2.state_dict().items())


@pytest.mark.parametrize("schema", [OTHERS, RENAMED])
def test_stage_2_goes_on_with_other_classes_but_for_its_last_layer(
    tmp_path: Path, schema: ClassSchema
) -> None:
    stage1 = build_stage1("efficientnet-lite0", CLASSES, width=0.1)
    stage2 = with_presence(
        initial_segmenter(SETTINGS, SYNTHETIC_SCHEMA, "none", 64), [(torch.rand(4, 3, 64, 64), torch.eye(4))]
    )
    network = initial_segmenter(SETTINGS, schema, bundle(tmp_path / "b", stage1, stage2), 64)
    known = stage2.state_dict()
    anew = {
        k
        for k, v in network.state_dict().items()
        if v.shape != known[k].shape or not torch.equal(v, known[k])
    }
    assert anew == {"decoder.last_conv.8.weight", "decoder.last_conv.8.bias"}


def test_another_encoder_cannot_be_taken(tmp_path: Path) -> None:
    wide = bundle(tmp_path / "wide", build_stage1("efficientnet-lite0", CLASSES, width=0.2))
    with pytest.raises(TrainingError, match=r"encoder of width 0\.2; pass --width 0\.2"):
        initial_segmenter(SETTINGS, SYNTHETIC_SCHEMA, wide, 64)
    other: Stage2Settings = override(SETTINGS, {"backbone": "mobilenet-v2", "width": 1.0, "head_channels": 0})
    narrow = bundle(tmp_path / "narrow", build_stage1("efficientnet-lite0", CLASSES, width=0.1))
    with pytest.raises(TrainingError, match="no stage 2 to start from"):
        initial_segmenter(other, SYNTHETIC_SCHEMA, narrow, 64)


def test_other_classes_take_the_encoder_only(tmp_path: Path) -> None:
    stage1 = build_stage1("efficientnet-lite0", CLASSES, width=0.1)
    settings: Stage1Settings = override(PRESETS["recommended"].stage1, {"width": 0.1, "least_side": 0})
    network = initial_classifier(settings, OTHERS, bundle(tmp_path / "b", stage1), 64)
    known = stage1.state_dict()
    assert all(torch.equal(v, known[k]) for k, v in network.state_dict().items() if k.startswith("encoder."))
