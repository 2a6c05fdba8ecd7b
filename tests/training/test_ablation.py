"""The pure parts of benchmarks/ablation.py: which steps rows share, what the table says."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="module")
def ablation() -> ModuleType:
    folder = Path(__file__).parents[2] / "benchmarks"
    if not folder.is_dir():
        pytest.skip("benchmarks/ is not part of this installation")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))  # programs there import their neighbours
        return importlib.import_module("ablation")


def folders(ablation: ModuleType, row: Any, seed: int = 1, work: str = "/w") -> list[str]:
    found = ablation.steps(row, seed, Path("/d"), Path(work) / "schema.json", Path(work))
    assert all(Path(step.command[-1]) == step.folder for step in found)
    return [step.folder.name for step in found]


def test_rows_share_what_is_equal(ablation: ModuleType) -> None:
    base = folders(ablation, ablation.Row("a", ""))
    assert folders(ablation, ablation.Row("b", "")) == base
    assert folders(ablation, ablation.Row("b", "", view=ablation.View(tta="d4"))) == base
    stage2 = folders(ablation, ablation.Row("c", "", stage2=("--mosaic", "0")))
    assert stage2[:2] == base[:2]
    assert stage2[2] != base[2]
    masks = folders(ablation, ablation.Row("d", "", masks=("--flip",)))
    assert masks[0] == base[0]
    assert not set(masks[1:]) & set(base)
    for other in (
        folders(ablation, ablation.Row("e", "", stage1=("--ema", "0.9"))),
        folders(ablation, ablation.Row("f", "", preset="paper")),
        folders(ablation, ablation.Row("a", ""), seed=2),
    ):
        assert not set(other) & set(base)
    # The work folder may move.
    assert folders(ablation, ablation.Row("a", ""), work="/elsewhere") == base


def test_every_row_is_one_the_programs_understand(ablation: ModuleType) -> None:
    from training import pseudo_masks, stage1, stage2

    parsers = {
        "training.stage1": stage1._parser(),
        "training.pseudo_masks": pseudo_masks._parser(),
        "training.stage2": stage2._parser(),
    }
    names = [row.name for row in ablation.ROWS]
    assert len({ablation._slug(name) for name in names}) == len(names)
    assert {"recommended", "reference", "paper"} <= set(names)
    for row in ablation.ROWS:
        for step in ablation.steps(row, 1, Path("/d"), Path("/s.json"), Path("/w")):
            parsers[step.command[0]].parse_args(step.command[1:])


def scores(iou: list[float]) -> dict[str, Any]:
    cell = {"miou": 0.5, "fwiou": iou[0], "iou": iou, "interval_95": {"fwiou": [0.1, 0.9]}}
    return {"variants": dict.fromkeys(("gate_off", "gate_on"), cell), "gate": [0.1]}


def test_table(ablation: ModuleType) -> None:
    row = ablation.Row("a", "")
    results = []
    for seed, iou in ((1, [0.6, 0.8, 0.0]), (2, [0.7, 0.9, 0.0])):
        found = ablation.summarise(row, seed, {"cam_miou": 0.4, "cam_fwiou": 0.5}, scores(iou), 2)
        results.append({**found, "minutes": 10.0 * seed, "complete": seed == 1})
    assert results[0]["gate"]["on"]["common"] == pytest.approx(0.7)
    head, _, line = ablation.table(results, ["missing", "a"], ["TUM", "STR"]).splitlines()
    assert "TUM+STR on" in head
    cells = [c.strip() for c in line.strip("|").split("|")]
    assert cells[:2] == ["a", "2"]
    assert "0.650 (0.600–0.700)" in cells
    assert "0.750" in cells
    assert cells[-2:] == ["0.100–0.900", "> 15"]
    alone = ablation.table(results[:1], ["a"], ["TUM", "STR"]).splitlines()[2]
    assert "0.600 |" in alone
    assert "(" not in alone


def test_a_finished_step_is_not_run_again(ablation: ModuleType, tmp_path: Path) -> None:
    step = ablation.Step("masks", tmp_path / "masks", ("platform",))
    said: list[str] = []
    used = ablation.run_step(step, said.append)
    assert used["attempts"] == 1
    assert len(said) == 1
    assert ablation.run_step(step, said.append) == used
    assert len(said) == 1


def test_a_failed_step_is_tried_again(ablation: ModuleType, tmp_path: Path) -> None:
    import subprocess

    bad = ablation.Step("masks", tmp_path / "masks", ("no_such_module",))
    with pytest.raises(subprocess.CalledProcessError):
        ablation.run_step(bad, lambda _: None)
    good = ablation.Step("masks", tmp_path / "masks", ("platform",))
    assert ablation.run_step(good, lambda _: None)["attempts"] == 2


def test_windows_cover_an_image(ablation: ModuleType) -> None:
    assert ablation.starts(112, 112) == [0]
    assert ablation.starts(250, 112) == [0, 112, 138]
    assert ablation.starts(224, 112) == [0, 112]
    assert ablation.starts(100, 112) == []


def test_masks_are_told_the_classes(ablation: ModuleType, tmp_path: Path, tiny_root: Path) -> None:
    import torch

    from napari_wsss.models import build_stage1, resolve_schema, save_bundle

    torch.manual_seed(0)
    network = build_stage1("efficientnet-lite0", 3, width=0.1).eval()
    schema = resolve_schema(tiny_root / "schema.json")
    save_bundle(tmp_path / "b", name="b", schema=schema, mpp=1.0, tile=16, stage1=network)
    words = ablation.steps(ablation.ROWS[0], 1, tiny_root, tiny_root / "schema.json", tmp_path)[1].command[1:]
    found = ablation.mask_quality(tmp_path / "b", tiny_root, "val", [*words, "--cam-stride", "0"])
    # Windows of one class are right whatever the network says.
    assert 0 < found["mixed"] < found["fwiou"] < 1
    line = ablation.masks_table([{"row": {"name": "a"}, "seed": 1, **found}], ["a"]).splitlines()[2]
    assert line.startswith("| a | 1 | 0.")


def test_rows_are_chosen_by_names_without_commas(
    ablation: ModuleType, tmp_path: Path, tiny_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[str, int]] = []
    monkeypatch.setattr(ablation, "run_row", lambda row, seed, *_: ran.append((row.name, seed)))
    rows = ",".join(ablation._slug(row.name) for row in ablation.ROWS)
    ablation.main(["--dataroot", str(tiny_root), "--work", str(tmp_path), "--rows", rows, "--seeds", "1,2"])
    assert ran == [(row.name, seed) for row in ablation.ROWS for seed in (1, 2)]
    with pytest.raises(SystemExit):
        ablation.main(["--dataroot", str(tiny_root), "--work", str(tmp_path), "--rows", "nonsense"])
