"""The commands of `wsss-tile` and their options; the work is done by the modules beside this one."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from napari_wsss.cli.border import bordered, show_tracebacks, write_anywhere
from napari_wsss.cli.completion import COMPLETE, Shell, completion_script
from napari_wsss.cli.models_app import models_app
from napari_wsss.cli.options import (
    Backend,
    BatchSize,
    Cams,
    Cluster,
    Device,
    Exports,
    Frame,
    GateMode,
    GateThreshold,
    Icc,
    Json,
    Match,
    MinAnnotated,
    Model,
    Mpp,
    NoTissueMask,
    OnReadError,
    Out,
    Overlap,
    Precision,
    Probabilities,
    ReadErrors,
    ReadThreads,
    Region,
    Resume,
    RoiFile,
    RoiFrame,
    ShardOf,
    SkipUnknown,
    Slides,
    Split,
    TissueFile,
    TissueThreshold,
    UseBackend,
    UseGate,
    UseGateMode,
    UsePrecision,
    Workers,
)
from napari_wsss.cli.project_app import project_app

__all__ = ["app", "main"]

_TERMINAL = all(stream is not None and stream.isatty() for stream in (sys.stdout, sys.stderr))

app = typer.Typer(
    name="wsss-tile",
    help="Tissue classes on whole slides: segment, check and export. Research use only, not for diagnosis.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Boxes are for terminals: a log file gets plain lines, in half the time.
    rich_markup_mode="rich" if _TERMINAL else None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(models_app, name="models")
app.add_typer(project_app, name="project")


def _version(wanted: bool) -> None:
    if wanted:
        from napari_wsss._version import __version__

        typer.echo(f"wsss-tile {__version__}")
        raise typer.Exit


@app.callback()
def common(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Set what holds for every command."""
    if debug:
        show_tracebacks()


@app.command()
@bordered
def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write to.")] = Path(
        "wsss-demo"
    ),
    json: Json = False,
) -> int:
    """Make a sample slide, segment it with the embedded model and score it against its known truth."""
    from napari_wsss.cli.demo import run_demo

    return run_demo(out, json)


@app.command()
@bordered
def run(
    slides: Slides,
    out: Out,
    export: Exports = "",
    resume: Resume = True,
    shard: ShardOf = None,
    workers: Workers = 0,
    cluster: Cluster = None,
    json: Json = False,
    mpp: Mpp = None,
    region: Region = None,
    roi: RoiFile = None,
    match: Match = "",
    frame: RoiFrame = Frame.QUPATH,
    no_tissue_mask: NoTissueMask = False,
    tissue: TissueFile = None,
    tissue_threshold: TissueThreshold = None,
    overlap: Overlap = 0.25,
    read_errors: ReadErrors = OnReadError.FAIL,
    icc: Icc = False,
    model: Model = None,
    gate: UseGate = True,
    gate_mode: UseGateMode = GateMode.FIELD,
    gate_threshold: GateThreshold = None,
    cams: Cams = False,
    probabilities: Probabilities = False,
    device: Device = "auto",
    precision: UsePrecision = Precision.AUTO,
    backend: UseBackend = Backend.AUTO,
    batch_size: BatchSize = 16,
    read_threads: ReadThreads = 2,
) -> int:
    """Segment slides: one store each, and summary.csv. Exit code 0: all well, 1: some failed, 2: nothing started."""
    from napari_wsss.cli.run import RunRequest, run_slides
    from napari_wsss.cli.tissue import tissue_options

    request = RunRequest(
        slides=tuple(slides),
        out=out,
        model=model,
        mpp=mpp,
        icc=icc,
        shard=shard,
        resume=resume,
        exports=export,
        region=region,
        roi=roi,
        match=match,
        tissue=tissue,
        frame=frame.value,
        workers=workers,
        cluster=cluster,
        options={
            "device": device,
            "precision": precision.value,
            "backend": backend.value,
            "batch_size": batch_size,
            "read_threads": read_threads,
            "overlap": overlap,
            "gate": gate,
            "gate_mode": gate_mode.value,
            "gate_threshold": gate_threshold,
            "keep_cams": cams,
            "keep_probabilities": probabilities,
            "read_errors": read_errors.value,
            **tissue_options(no_tissue_mask, tissue, tissue_threshold),
        },
    )
    return run_slides(request, json)


@app.command()
@bordered
def info(
    slide: Annotated[Path, typer.Argument(metavar="SLIDE|STORE", show_default=False)],
    mpp: Mpp = None,
    model: Model = None,
    overlap: Overlap = 0.25,
    batch_size: BatchSize = 16,
    read_threads: ReadThreads = 2,
    json: Json = False,
) -> int:
    """Show a slide's size, levels, resolution and its source, and what a run would take; or what a store holds."""
    from napari_wsss.cli.info import show_slide

    return show_slide(slide, mpp, model, overlap, batch_size, read_threads, json)


@app.command()
@bordered
def export(
    store: Annotated[Path, typer.Argument(metavar="STORE", show_default=False)],
    geojson: Annotated[
        Path | None,
        typer.Option("--geojson", metavar="F", help="Regions for QuPath (.geojson or .geojson.gz)."),
    ] = None,
    tiff: Annotated[
        Path | None, typer.Option("--tiff", metavar="F", help="Labels as pyramidal OME-TIFF (.ome.tif).")
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="F", help="Area per class; tiles go to F's name with .tiles.csv."),
    ] = None,
    png: Annotated[Path | None, typer.Option("--png", metavar="F", help="Overview picture.")] = None,
    to: Annotated[
        list[str] | None,
        typer.Option("--to", metavar="NAME=F", help="An export that an installed package adds."),
    ] = None,
    min_area: Annotated[
        float,
        typer.Option(
            "--min-area", metavar="UM2", min=0, help="GeoJSON: drop regions, fill holes below this many µm²."
        ),
    ] = 0.0,
    simplify: Annotated[
        float,
        typer.Option(
            "--simplify", metavar="UM", min=0, help="GeoJSON: smooth outlines by about this many µm."
        ),
    ] = 0.0,
    frame: RoiFrame = Frame.QUPATH,
) -> int:
    """Write a finished store in other programs' formats."""
    from napari_wsss.cli.export import export_store, export_targets

    targets = export_targets(to or (), geojson=geojson, tiff=tiff, csv=csv, png=png)
    return export_store(store, targets, min_area, simplify, frame.value)


@app.command()
@bordered
def verify(
    stores: Annotated[list[Path], typer.Argument(metavar="STORE", show_default=False)],
    json: Json = False,
) -> int:
    """Check that stores, or all in a folder, are complete and equal to their receipts; exit code 0 only if all are."""
    from napari_wsss.cli.verify import verify_stores

    return verify_stores(stores, json)


@app.command()
@bordered
def patches(
    slide: Annotated[Path, typer.Argument(metavar="SLIDE", show_default=False)],
    annotations: Annotated[
        Path,
        typer.Option(
            "--annotations", metavar="F", help="Polygons with classes: GeoJSON, ASAP, Aperio, NDPA."
        ),
    ],
    schema: Annotated[str, typer.Option("--schema", metavar="S", help="bcss, luad or a schema file.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the data set.")],
    split: Annotated[
        Split, typer.Option("--split", help="train: labels in file names; val, test: masks, too.")
    ] = Split.TRAIN,
    patch_mpp: Annotated[
        float, typer.Option("--patch-mpp", metavar="F", help="µm per pixel of the patches.")
    ] = 0.5,
    size: Annotated[
        int, typer.Option("--size", metavar="N", min=16, help="Side of a patch in pixels.")
    ] = 224,
    stride: Annotated[
        int | None,
        typer.Option("--stride", metavar="N", min=1, help="Pixels from patch to patch, if not their size."),
    ] = None,
    min_share: Annotated[
        float,
        typer.Option("--min-share", metavar="F", min=0, max=1, help="Share a class must cover to be named."),
    ] = 0.02,
    min_annotated: MinAnnotated = 0.95,
    match: Match = "",
    skip_unknown: SkipUnknown = False,
    mpp: Mpp = None,
    frame: RoiFrame = Frame.QUPATH,
    json: Json = False,
) -> int:
    """Cut weakly labelled training patches from an annotated slide."""
    from napari_wsss.cli.patches import cut_patches
    from tiling.dataset import PatchOptions

    options = PatchOptions(
        mpp=patch_mpp,
        size=size,
        stride=stride,
        min_share=min_share,
        min_annotated=min_annotated,
        split=split.value,
    )
    return cut_patches(slide, annotations, schema, out, options, mpp, match, skip_unknown, frame.value, json)


@app.command()
@bordered
def measure(
    store: Annotated[Path, typer.Argument(metavar="STORE", show_default=False)],
    annotations: Annotated[
        Path, typer.Option("--annotations", metavar="F", help="Polygons: GeoJSON, ASAP, Aperio, NDPA.")
    ],
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="F", help="Write to this file instead of showing.")
    ] = None,
    ratio: Annotated[
        list[str] | None,
        typer.Option("--ratio", metavar="A:B", help="Also the ratio of two classes; may be given again."),
    ] = None,
    match: Match = "",
    frame: RoiFrame = Frame.QUPATH,
    json: Json = False,
) -> int:
    """Measure every class in every annotation: mm² and per cent, one line each."""
    from napari_wsss.cli.measure import measure_store

    return measure_store(store, annotations, csv, ratio or [], match, frame.value, json)


@app.command()
@bordered
def tissue(
    slide: Annotated[Path, typer.Argument(metavar="SLIDE", show_default=False)],
    png: Annotated[Path | None, typer.Option("--png", metavar="F", help="Picture with outlines.")] = None,
    geojson: Annotated[
        Path | None, typer.Option("--geojson", metavar="F", help="Outlines, for --tissue and QuPath.")
    ] = None,
    threshold: TissueThreshold = None,
    mpp: Mpp = None,
    frame: RoiFrame = Frame.QUPATH,
    json: Json = False,
) -> int:
    """Show what counts as tissue on a slide, before any model is run."""
    from napari_wsss.cli.tissue import show_tissue

    return show_tissue(slide, png, geojson, threshold, mpp, frame.value, json)


@app.command()
@bordered
def report(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The --out folder of a run.", show_default=False)
    ],
    zoom: Annotated[
        bool,
        typer.Option(
            "--zoom", help="Also a page per slide to zoom into, with its pictures as files beside it."
        ),
    ] = False,
) -> None:
    """Write DIR/index.html over all slides of a run, and a page for each; `run` does it for more than one slide."""
    from napari_wsss.cli.border import answer, tell
    from tiling.batch import write_report

    answer(write_report(folder, zoom=(lambda name: tell(f"{name}: pictures to zoom into")) if zoom else None))


@app.command()
@bordered
def completion(
    shell: Annotated[
        Shell | None, typer.Argument(metavar="SHELL", help="The shell; by default the one of $SHELL.")
    ] = None,
) -> None:
    """Print what a shell needs to complete commands and options: `eval "$(wsss-tile completion bash)"`."""
    typer.echo(completion_script(shell.value if shell else None))


def main() -> None:
    """Run the command line."""
    write_anywhere()
    if COMPLETE in os.environ:
        from typer.completion import completion_init

        completion_init()
    app()
