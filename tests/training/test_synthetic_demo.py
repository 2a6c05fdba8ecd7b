"""The recipe of the embedded model, in small: every step of it still fits the next."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from napari_wsss.models import load_bundle
from training.settings.presets import override
from training.synthetic_demo import demo_recipe, make_bundle


@pytest.mark.slow
def test_the_recipe_leads_to_a_bundle(tmp_path: Path) -> None:
    small = {"epochs": 1, "width": 0.1, "batch_size": 4}
    recipe = demo_recipe()
    tiny = replace(
        recipe,
        patches=16,
        val=2,
        stage1=override(recipe.stage1, small),
        stage2=override(recipe.stage2, {**small, "head_channels": 8}),
    )
    make_bundle(tiny, tmp_path / "work", tmp_path / "bundle")
    bundle = load_bundle(tmp_path / "bundle")
    assert (bundle.name, bundle.mpp, bundle.tile) == ("synthetic-demo", 0.5, 224)
    assert bundle.provenance["stage2"]["layers"] == ["head", "stage7", "stage6"]
