"""The commands of `wsss-tile project`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_wsss.cli.border import bordered
from napari_wsss.cli.options import (
    Backend,
    BatchSize,
    Device,
    Frame,
    Json,
    Match,
    MinAnnotated,
    Mpp,
    ReadThreads,
    RoiFrame,
    SkipUnknown,
    UseBackend,
)

__all__ = ["project_app"]

project_app = typer.Typer(
    help="Teach a model: label tiles of slides, see what follows, train.", no_args_is_help=True
)

Folder = Annotated[Path, typer.Argument(metavar="PROJECT", show_default=False, help="The .wsss folder.")]
Reader = Annotated[str, typer.Option("--reader", metavar="NAME", help="Who says so.")]


@project_app.command("new")
@bordered
def new(
    folder: Folder,
    schema: Annotated[
        str,
        typer.Option(
            "--schema", metavar="S", show_default=False, help="bcss, luad, a schema file or a bundle's."
        ),
    ],
    tile: Annotated[int, typer.Option("--tile", metavar="N", help="Side of a tile in pixels.")] = 224,
    tile_mpp: Annotated[
        float, typer.Option("--tile-mpp", metavar="F", help="µm per pixel at which tiles are looked at.")
    ] = 0.5,
    encoder: Annotated[
        str, typer.Option("--encoder", metavar="E", help="The frozen encoder: this one, or a bundle.")
    ] = "imagenet:efficientnet-lite0",
) -> int:
    """Make a project."""
    from napari_wsss.cli.project import make_project

    return make_project(folder, schema, tile, tile_mpp, encoder)


@project_app.command("add")
@bordered
def add(
    folder: Folder,
    slides: Annotated[list[Path], typer.Argument(metavar="SLIDE...", show_default=False)],
    case: Annotated[
        str | None, typer.Option("--case", metavar="C", help="Patient or block; default: a case of its own.")
    ] = None,
    slide_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Instead of the file's name; for one slide.")
    ] = None,
    mpp: Mpp = None,
) -> int:
    """Add slides."""
    from napari_wsss.cli.project import add_slides

    return add_slides(folder, slides, case, slide_id, mpp)


@project_app.command("labels")
@bordered
def labels(
    folder: Folder,
    slide: Annotated[
        str | None, typer.Argument(metavar="SLIDE_ID", help="Default: all slides.", show_default=False)
    ] = None,
    say: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="X,Y=A+B", help="The tile at level-0 X, Y holds A and B; nothing: none."
        ),
    ] = None,
    reader: Reader = "",
    undo: Annotated[bool, typer.Option("--undo", help="Take the last decision back.")] = False,
    suggest: Annotated[
        int, typer.Option("--suggest", metavar="N", min=0, help="Show N tiles whose label would teach most.")
    ] = 0,
    set_aside: Annotated[
        int, typer.Option("--set-aside", metavar="N", min=0, help="Draw N tiles for an honest test.")
    ] = 0,
    import_file: Annotated[
        Path | None, typer.Option("--import", metavar="F", help="Label tiles from polygons, by share.")
    ] = None,
    correct_file: Annotated[
        Path | None,
        typer.Option(
            "--correct",
            metavar="F",
            help="Keep polygons as a painted region: two of three teach, one judges.",
        ),
    ] = None,
    export_file: Annotated[
        Path | None, typer.Option("--export", metavar="F", help="Write labels as GeoJSON for QuPath.")
    ] = None,
    min_share: Annotated[
        float, typer.Option("--min-share", metavar="F", min=0, max=1, help="Share that names a class.")
    ] = 0.05,
    min_annotated: MinAnnotated = 0.95,
    match: Match = "",
    skip_unknown: SkipUnknown = False,
    frame: RoiFrame = Frame.QUPATH,
    json: Json = False,
) -> int:
    """Give labels, take them back, import and export them; without an option: list those in force."""
    from napari_wsss.cli.project import LabelRequest, work_on_labels

    request = LabelRequest(
        folder=folder,
        slide=slide,
        say=tuple(say or ()),
        reader=reader,
        undo=undo,
        suggest=suggest,
        set_aside=set_aside,
        import_file=import_file,
        correct_file=correct_file,
        export_file=export_file,
        min_share=min_share,
        min_annotated=min_annotated,
        match=match,
        skip_unknown=skip_unknown,
        frame=frame.value,
    )
    return work_on_labels(request, json)


@project_app.command("prepare")
@bordered
def prepare(
    folder: Folder,
    slides: Annotated[
        list[str] | None,
        typer.Argument(metavar="SLIDE_ID...", help="Default: all slides.", show_default=False),
    ] = None,
    device: Device = "auto",
    backend: UseBackend = Backend.AUTO,
    batch_size: BatchSize = 16,
    read_threads: ReadThreads = 2,
) -> int:
    """Compute the features of slides: once, before their map can be drawn; goes on where it was stopped."""
    from napari_wsss.cli.project import prepare_slides

    return prepare_slides(folder, slides or [], device, backend.value, batch_size, read_threads)


@project_app.command("fit")
@bordered
def fit(
    folder: Folder,
    model: Annotated[
        str, typer.Option("--model", metavar="NAME", help="Write the quick model under this name.")
    ] = "quick",
    maps: Annotated[
        Path | None, typer.Option("--maps", metavar="DIR", help="Also draw the map of every slide as PNG.")
    ] = None,
    json: Json = False,
) -> int:
    """Fit the head on all labels: its honest score, and a quick model that `wsss-tile run` takes."""
    from napari_wsss.cli.project import fit_project

    return fit_project(folder, model, maps, json)


@project_app.command("train")
@bordered
def train(
    folder: Folder,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Of the model.")] = "trained",
    epochs: Annotated[
        int | None, typer.Option("--epochs", metavar="N", min=1, help="Default: from the number of labels.")
    ] = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0)] = 1,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start anew, also where there is a trained model to go on from.")
    ] = False,
) -> int:
    """Train a model from the labels of all slides, from the last one on; goes on where it was stopped."""
    from napari_wsss.cli.project import train_project

    return train_project(folder, name, device=device, epochs=epochs, seed=seed, fresh=fresh)


@project_app.command("status")
@bordered
def status(folder: Folder, json: Json = False) -> int:
    """Show slides, what is prepared, labels per class, models, and who may write."""
    from napari_wsss.cli.project import show_status

    return show_status(folder, json)


@project_app.command("merge")
@bordered
def merge(
    folder: Folder,
    other: Annotated[Path, typer.Argument(metavar="OTHER", show_default=False)],
    json: Json = False,
) -> int:
    """Take over another reader's labels: Cohen's kappa per class, and the tiles that they disagree about."""
    from napari_wsss.cli.project import merge_project

    return merge_project(folder, other, json)
