"""The commands of `wsss-tile` and their options; the work is done by the modules beside this one."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from napari_wsss.cli.border import bordered, show_tracebacks

__all__ = ["app", "main"]

app = typer.Typer(
    name="wsss-tile",
    help="Tissue classes on whole slides: segment, check and export. Research use only, not for diagnosis.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models_app = typer.Typer(help="List, show and import model bundles.", invoke_without_command=True)
app.add_typer(models_app, name="models")


class Precision(StrEnum):
    """Number formats of the networks."""

    AUTO, FP32, BF16, FP16 = "auto", "fp32", "bf16", "fp16"


class OnReadError(StrEnum):
    """What an unreadable tile does."""

    FAIL, FILL = "fail", "fill"


class Frame(StrEnum):
    """Origins of exported coordinates."""

    QUPATH, OPENSLIDE = "qupath", "openslide"


_WHERE, _WHAT, _HOW = "Where on the slide", "Model", "Machine"

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Mpp = Annotated[
    float | None,
    typer.Option(
        "--mpp",
        metavar="F",
        help="µm per pixel of the slide, in place of its metadata.",
        rich_help_panel=_WHERE,
    ),
]
Overlap = Annotated[
    float,
    typer.Option(
        "--overlap",
        metavar="F",
        help="Shared fraction of neighbouring tiles; 0: none.",
        rich_help_panel=_WHERE,
    ),
]
Model = Annotated[
    str | None,
    typer.Option("--model", metavar="MODEL", help="Embedded model or bundle folder.", rich_help_panel=_WHAT),
]
BatchSize = Annotated[
    int,
    typer.Option("--batch-size", metavar="N", min=1, help="Tiles per prediction.", rich_help_panel=_HOW),
]
ReadThreads = Annotated[
    int,
    typer.Option(
        "--read-threads", metavar="N", min=1, help="Threads that read and decode.", rich_help_panel=_HOW
    ),
]


def main() -> None:
    """Run the command line."""
    app()


def _version(wanted: bool) -> None:
    if wanted:
        from napari_wsss import __version__

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
    slides: Annotated[
        list[str],
        typer.Argument(
            metavar="SLIDE",
            help="Slide files, folders, glob patterns, or a manifest .csv with columns slide_id,path[,mpp].",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for one store per slide and summary.csv.")
    ],
    export: Annotated[
        str,
        typer.Option(
            "--export", metavar="LIST", help="Also write beside each store: any of geojson,tiff,csv,png."
        ),
    ] = "",
    resume: Annotated[
        bool, typer.Option("--resume/--restart", help="Go on with earlier work in DIR, or replace it.")
    ] = True,
    shard: Annotated[
        str | None, typer.Option("--shard", metavar="K/N", help="Work on part K of N of the slides.")
    ] = None,
    json: Json = False,
    mpp: Mpp = None,
    region: Annotated[
        str | None,
        typer.Option(
            "--region", metavar="X,Y,W,H", help="Only this box, in level-0 pixels.", rich_help_panel=_WHERE
        ),
    ] = None,
    no_tissue_mask: Annotated[
        bool, typer.Option("--no-tissue-mask", help="Segment glass, too.", rich_help_panel=_WHERE)
    ] = False,
    overlap: Overlap = 0.25,
    read_errors: Annotated[
        OnReadError,
        typer.Option(
            "--read-errors",
            help="An unreadable tile fails its slide, or stays blank.",
            rich_help_panel=_WHERE,
        ),
    ] = OnReadError.FAIL,
    model: Model = None,
    gate: Annotated[
        bool,
        typer.Option(
            "--gate/--no-gate", help="Let stage 1 switch classes off in stage 2.", rich_help_panel=_WHAT
        ),
    ] = True,
    gate_threshold: Annotated[
        float | None,
        typer.Option(
            "--gate-threshold",
            metavar="F",
            help="Threshold for all classes, in place of the model's.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    cams: Annotated[
        bool,
        typer.Option("--cams", help="Keep the class activation maps of stage 1.", rich_help_panel=_WHAT),
    ] = False,
    probabilities: Annotated[
        bool,
        typer.Option("--probabilities", help="Keep the blended class probabilities.", rich_help_panel=_WHAT),
    ] = False,
    device: Annotated[
        str, typer.Option("--device", metavar="D", help="auto, cpu, cuda or cuda:N.", rich_help_panel=_HOW)
    ] = "auto",
    precision: Annotated[
        Precision, typer.Option("--precision", help="Number format of the networks.", rich_help_panel=_HOW)
    ] = Precision.AUTO,
    batch_size: BatchSize = 16,
    read_threads: ReadThreads = 2,
) -> int:
    """Segment slides: one store each, and summary.csv. Exit code 0: all well, 1: some failed, 2: nothing started."""
    from napari_wsss.cli.run import RunRequest, run_slides

    request = RunRequest(
        slides=tuple(slides),
        out=out,
        model=model,
        mpp=mpp,
        shard=shard,
        resume=resume,
        exports=export,
        region=region,
        options={
            "device": device,
            "precision": precision.value,
            "batch_size": batch_size,
            "read_threads": read_threads,
            "overlap": overlap,
            "gate": gate,
            "gate_threshold": gate_threshold,
            "keep_cams": cams,
            "keep_probabilities": probabilities,
            "read_errors": read_errors.value,
            **({"tissue": None} if no_tissue_mask else {}),
        },
    )
    return run_slides(request, json)


@app.command()
@bordered
def info(
    slide: Annotated[Path, typer.Argument(metavar="SLIDE", show_default=False)],
    mpp: Mpp = None,
    model: Model = None,
    overlap: Overlap = 0.25,
    batch_size: BatchSize = 16,
    read_threads: ReadThreads = 2,
    json: Json = False,
) -> int:
    """Show a slide's size, levels, resolution and its source, and what a run would take: tiles and memory."""
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
    frame: Annotated[
        Frame,
        typer.Option("--frame", help="GeoJSON: (0, 0) is the corner of the scanned area or of the slide."),
    ] = Frame.QUPATH,
) -> int:
    """Write a finished store in other programs' formats."""
    from napari_wsss.cli.export import ExportTargets, export_store

    return export_store(store, ExportTargets(geojson, tiff, csv, png), min_area, simplify, frame.value)


@app.command()
@bordered
def verify(
    stores: Annotated[list[Path], typer.Argument(metavar="STORE", show_default=False)],
    json: Json = False,
) -> int:
    """Check that stores are complete and equal to their receipts; exit code 0 only if all are."""
    from napari_wsss.cli.verify import verify_stores

    return verify_stores(stores, json)


@models_app.command("list")
@bordered
def models_list(json: Json = False) -> int:
    """List the embedded models."""
    from napari_wsss.cli.models import list_models

    return list_models(json)


@models_app.callback()
def models(context: typer.Context, json: Json = False) -> None:
    """List the embedded models, when no other command follows."""
    # Not bordered: a callback that exits would end the command that follows it.
    if context.invoked_subcommand is None:
        models_list(json)


@models_app.command("show")
@bordered
def models_show(
    name: Annotated[str, typer.Argument(metavar="NAME|DIR", show_default=False)], json: Json = False
) -> int:
    """Show the card of a model: classes, resolution, training data, licence, scores."""
    from napari_wsss.cli.models import show_model

    return show_model(name, json)


@models_app.command("import")
@bordered
def models_import(
    stage1: Annotated[
        Path,
        typer.Option("--stage1", metavar="F", help="Trained stage-1 checkpoint (.pth).", show_default=False),
    ],
    schema: Annotated[
        str,
        typer.Option("--schema", metavar="bcss|luad|FILE", help="Classes of the model.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Bundle folder to make.", show_default=False)
    ],
    stage2: Annotated[
        Path | None,
        typer.Option("--stage2", metavar="F", help="Trained stage-2 checkpoint (.pth, .pth.tar)."),
    ] = None,
    mpp: Annotated[
        float, typer.Option("--mpp", metavar="F", help="µm per pixel of the training patches.")
    ] = 1.0,
    tile: Annotated[
        int, typer.Option("--tile", metavar="N", help="Side of the training patches, pixels.")
    ] = 224,
    gate_threshold: Annotated[
        float, typer.Option("--gate-threshold", metavar="F", help="Gate threshold of the bundle.")
    ] = 0.1,
    half: Annotated[bool, typer.Option("--half", help="Store weights in half precision.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing bundle.")] = False,
) -> int:
    """Make a bundle from the published WSSS-Tissue checkpoints."""
    from napari_wsss.cli.models import import_model

    return import_model(stage1, stage2, schema, out, mpp, tile, gate_threshold, half, overwrite)
