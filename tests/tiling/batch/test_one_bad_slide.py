"""A slide that fails costs itself only, and is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tiling.batch.isolated import run_batch
from tiling.batch.jobs import SlideJob, find_jobs
from tiling.batch.summary import SlideOutcome, Status
from tiling.errors import JobError, SlideError


def test_a_broken_slide_costs_itself_only(tmp_path: Path) -> None:
    def work(job: SlideJob) -> SlideOutcome:
        if job.slide_id == "bad":
            raise SlideError("bad.svs is damaged.")
        return SlideOutcome(job.slide_id, job.path, Status.DONE)

    jobs = [SlideJob(name, Path(f"{name}.svs")) for name in ("a", "bad", "b")]
    assert [outcome.status for outcome in run_batch(jobs, work, tmp_path)] == ["done", "failed", "done"]


def test_two_slides_of_one_name_are_refused_before_any_work(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.svs").touch()
    with pytest.raises(JobError, match=r"x/same\.svs.*y/same\.svs"):
        find_jobs([tmp_path])


def test_a_failure_names_the_slide_not_its_folder(tmp_path: Path) -> None:
    def work(job: SlideJob) -> SlideOutcome:
        raise OSError(5, "Input/output error", "/data/slides")

    job = SlideJob("case", Path("/data/slides/case.ndpi"))
    (outcome,) = run_batch([job], work, tmp_path, schedule=lambda run_one, jobs: map(_hasty(run_one), jobs))
    assert (outcome.slide_id, outcome.path) == ("case", job.path)
    assert "/data/slides/case.ndpi" in (tmp_path / "summary.csv").read_text()


def _hasty(run_one: Any) -> Any:
    from dataclasses import replace

    return replace(run_one, pause_s=0)


@pytest.mark.parametrize("ending", ["svs", "ndpi", "ome.tif", "zarr"])
def test_no_format_of_slides_is_written_into_names(tmp_path: Path, ending: str) -> None:
    from napari_wsss.cli.export import files_beside

    path = tmp_path / f"case.7.{ending}"
    path.mkdir() if ending == "zarr" else path.touch()
    if ending == "zarr":
        (path / "zarr.json").touch()
    (job,) = find_jobs([path])
    target = files_beside(tmp_path / "out" / f"{job.slide_id}.zarr", ("geojson",))
    assert target["geojson"] == tmp_path / "out" / f"{job.slide_id}.geojson"
    assert job.slide_id.startswith("case.7")
