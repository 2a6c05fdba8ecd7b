from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from napari_wsss.models import load_bundle
from napari_wsss.models.bundle import EMBEDDED
from tiling.errors import DataError
from training.crc_demo import (
    CRC_SCHEMA,
    THRESHOLDS,
    CrossValidation,
    area_accuracy,
    confusions,
    make_bundle,
    merged,
    read_sources,
    recipe,
    split,
)
from training.scores import ALIKE
from training.settings.presets import override

ABBREVIATIONS = tuple(c.abbreviation for c in CRC_SCHEMA.classes)
C = len(ABBREVIATIONS)


def write_sources(folder: Path, each: int = 2, side: int = 32) -> Path:
    """A folder as the real one: a noisy colour per class."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for c, name in enumerate(ABBREVIATIONS):
        for i in range(each):
            colour = (40 + 30 * c, 200 - 25 * c, 90 + (c % 2) * 100)
            pixels = np.clip(rng.normal(colour, 10, (side, side, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{name}___{name}-TCGA-X_{i}.png")
    return folder


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    folds=st.integers(2, 6),
    seed=st.integers(0, 99),
)
def test_split_holds_out_every_patch_once_and_spreads_the_classes(
    labels: list[int], folds: int, seed: int
) -> None:
    held = split(labels, folds, seed)
    assert sorted(i for part in held for i in part) == list(range(len(labels)))
    for label in set(labels):
        counts = [sum(labels[i] == label for i in part) for part in held]
        assert max(counts) - min(counts) <= 1
    sizes = [len(part) for part in held]
    assert max(sizes) - min(sizes) <= 1


@given(st.lists(st.integers(0, 9), min_size=16, max_size=16))
def test_two_classes_counted_as_one(numbers: list[int]) -> None:
    confusion = np.array(numbers, np.int64).reshape(4, 4)
    confusion[0, 0] += 1
    found = merged(confusion, (1, 3))
    assert found.shape == (3, 3)
    assert found.sum() == confusion.sum()
    forgiven = (confusion[1, 3] + confusion[3, 1]) / confusion.sum()
    assert area_accuracy(found) == pytest.approx(area_accuracy(confusion) + forgiven)


def test_muscle_and_stroma_are_the_pair() -> None:
    pair = tuple(ABBREVIATIONS[i] for i in ALIKE)
    assert pair == ("MUS", "STR")


def validation(rows: list[list[float]]) -> CrossValidation:
    """One row of accuracies in % per fold and the same for patches and mosaics; two classes."""
    matrix = np.zeros((len(rows), len(THRESHOLDS), C, C), np.int64)
    for fold, row in enumerate(rows):
        for t in range(len(THRESHOLDS)):
            right = round(10 * row[min(t, len(row) - 1)])
            matrix[fold, t, 0, 0], matrix[fold, t, 0, 1] = right, 1000 - right
    return CrossValidation(matrix, matrix)


def test_the_lowest_of_the_best_thresholds_is_chosen() -> None:
    checked = validation([[50, 80, 80, 70], [60, 80, 80, 70]])
    assert checked.best == 1
    report = checked.report()
    assert report["accuracy"] == 0.8
    assert report["folds"] == [0.8, 0.8]
    assert report["accuracy without gate"] == 0.55


def test_nested_score_does_not_choose_on_the_fold_it_scores() -> None:
    checked = validation([[10, 90, 20], [60, 50, 40], [60, 50, 40]])
    assert checked.best == 1
    # Fold 0 gets the threshold that suits the others, and so on.
    assert checked.report()["accuracy, gate chosen on the other folds"] == pytest.approx(110 / 300, abs=1e-4)


def test_bad_folders_are_one_report(tmp_path: Path) -> None:
    folder = write_sources(tmp_path / "data")
    assert [p.label for p in read_sources(folder)] == [c for c in range(C) for _ in range(2)]
    (folder / "XYZ___1.png").write_bytes((folder / "TUM___TUM-TCGA-X_0.png").read_bytes())
    (folder / "STR___broken.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match="2 bad files") as caught:
        read_sources(folder)
    assert "XYZ___1.png: its name starts with none of ADI, LYM" in str(caught.value)
    assert "STR___broken.jpg: is not a readable image" in str(caught.value)
    with pytest.raises(DataError, match="not a folder"):
        read_sources(tmp_path / "nowhere")
    for path in [folder / "XYZ___1.png", folder / "STR___broken.jpg", *folder.glob("MUC*")]:
        path.unlink()
    with pytest.raises(DataError, match="no patch of MUC"):
        read_sources(folder)


@pytest.mark.slow
def test_recipe_from_folder_to_bundle(tmp_path: Path) -> None:
    folder = write_sources(tmp_path / "data")
    narrow = {"width": 0.1, "batch_size": 8}
    base = recipe()
    tiny = replace(
        base,
        patches=16,
        mosaic=replace(base.mosaic, side=32, cell=(8.0, 20.0)),
        stage1=override(base.stage1, {**narrow, "epochs": 1}),
        stage2=override(base.stage2, {**narrow, "epochs": 1, "head_channels": 8}),
        weights="none",
        folds=2,
        checks=3,
        seen=16,
    )
    bundle = make_bundle(tiny, folder, tmp_path / "work", tmp_path / "out")
    assert (bundle.name, bundle.tile, bundle.mpp, bundle.schema) == ("crc-demo", 224, 0.5, CRC_SCHEMA)
    assert bundle.stage2 is not None
    assert bundle.presence == "stage2", "one encoder at run time"
    assert bundle.gate.thresholds[0] in THRESHOLDS
    (scores,) = bundle.metrics.values()
    assert len(scores["folds"]) == 2
    assert bundle.training_data.startswith("14 patches")
    complete_card(tmp_path / "out")
    # No fold has learnt from the patches it is scored on, and the final training has seen all.
    notes = [
        json.loads((tmp_path / "work" / part / "patches" / "made.json").read_text())["sources"]
        for part in ("fold1", "fold2", "all")
    ]
    assert len(set(notes)) == 3
    # Class activations are for the one bundle that ships: no fold trains a stage 1.
    trained = [(tmp_path / "work" / part / "stage1").exists() for part in ("fold1", "fold2", "all")]
    assert trained == [False, False, True]
    stamp = (tmp_path / "work" / "all" / "stage2" / "bundle" / "model.json").stat().st_mtime_ns
    again = make_bundle(tiny, folder, tmp_path / "work", tmp_path / "again")
    assert (tmp_path / "work" / "all" / "stage2" / "bundle" / "model.json").stat().st_mtime_ns == stamp
    assert again.hashes == bundle.hashes


def complete_card(folder: Path) -> None:
    """What a model that ships must say about itself."""
    bundle = load_bundle(folder)
    assert bundle.licence == "CC BY 4.0"
    for text in ("CRC-VAL-HE-7K", "Kather", "Zenodo 1214456", "CC BY 4.0"):
        assert text in bundle.training_data
    assert "not for diagnosis" in bundle.description
    assert "colorectal" in bundle.description
    assert bundle.metrics
    assert bundle.provenance["command"].startswith("python -m training.crc_demo")
    assert sum(p.stat().st_size for p in folder.iterdir() if p.is_file()) <= 16e6


def test_embedded_bundle_has_a_complete_card() -> None:
    folder = EMBEDDED / "crc-demo"
    complete_card(folder)
    files = {p.name for p in folder.iterdir()}
    assert files == {"model.json", "stage1.safetensors", "stage2.safetensors"}
    bundle = load_bundle("crc-demo")
    assert bundle.schema == CRC_SCHEMA
    assert (bundle.mpp, bundle.tile, bundle.presence) == (0.5, 224, "stage2")
    scores = bundle.metrics["5-fold cross-validation"]
    assert scores["accuracy"] >= 0.80
    assert scores["accuracy, muscle and stroma as one"] >= 0.90
    assert "CMU-1" in bundle.description


def test_colours_can_be_told_apart_and_from_tissue() -> None:
    # Eosin pink and haematoxylin violet are what lies below.
    colours = np.array([*(c.rgb for c in CRC_SCHEMA.classes), (225, 150, 190), (110, 70, 140)]) / 255
    lab = rgb2lab(colours)
    distance = deltaE_ciede2000(lab[:, None], lab[None])
    assert distance[np.triu_indices(len(lab), 1)].min() > 20


@pytest.mark.shared
@pytest.mark.slow
def test_embedded_bundle_knows_the_tissue_it_was_trained_on(shared_dir: Path) -> None:
    if not (shared_dir / "crc").is_dir():
        pytest.skip("needs the patches in ../shared/crc")
    patches = read_sources(shared_dir / "crc")[::3]
    truths = [np.full(p.pixels.shape[:2], p.label, np.uint8) for p in patches]
    bundle = load_bundle("crc-demo")
    found = confusions(bundle, [p.pixels for p in patches], truths)
    gate = THRESHOLDS.index(bundle.gate.thresholds[0])
    assert area_accuracy(found[gate]) > 0.9
