"""The commands of `wsss-tile models`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_wsss.cli.border import bordered
from napari_wsss.cli.options import Json

__all__ = ["models_app"]

models_app = typer.Typer(help="List, show, import and export models.", invoke_without_command=True)


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

    dtype = "float16" if half else "float32"
    about = {"mpp": mpp, "tile": tile, "gate_threshold": gate_threshold}
    return import_model(stage1, stage2, schema, out, **about, dtype=dtype, overwrite=overwrite)


@models_app.command("export")
@bordered
def models_export(
    name: Annotated[str, typer.Argument(metavar="NAME|DIR", show_default=False)],
    onnx: Annotated[
        Path | None,
        typer.Option("--onnx", metavar="DIR", help="Write the whole model, gate included, as ONNX."),
    ] = None,
    wsinfer: Annotated[
        Path | None,
        typer.Option("--wsinfer", metavar="DIR", help="Write stage 1 for WSInfer and its QuPath extension."),
    ] = None,
) -> int:
    """Hand a model on to other programs."""
    from napari_wsss.cli.models import export_model

    return export_model(name, onnx, wsinfer)
