"""The options of `wsss-tile`, each written once: name, form, help and panel."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tiling.grid import MAX_OVERLAP
from tiling.slides import MAX_MPP, MIN_MPP


class Precision(StrEnum):
    """Number formats of the networks."""

    AUTO, FP32, MIXED, BF16, FP16 = "auto", "fp32", "mixed", "bf16", "fp16"


class Backend(StrEnum):
    """Libraries that compute the networks."""

    AUTO, TORCH, COMPILE, OPENVINO = "auto", "torch", "compile", "openvino"


class GateMode(StrEnum):
    """Where stage 1 switches classes off."""

    FIELD, TILE = "field", "tile"


class OnReadError(StrEnum):
    """What an unreadable tile does."""

    FAIL, FILL = "fail", "fill"


class Frame(StrEnum):
    """Origins of exported coordinates."""

    QUPATH, OPENSLIDE = "qupath", "openslide"


class Split(StrEnum):
    """Parts of a data set."""

    TRAIN, VAL, TEST = "train", "val", "test"


_WHERE, _WHAT, _HOW = "Where on the slide", "Model", "Machine"

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Mpp = Annotated[
    float | None,
    typer.Option(
        "--mpp",
        metavar="F",
        min=MIN_MPP,
        max=MAX_MPP,
        help="µm per pixel of the slide, in place of its metadata.",
        rich_help_panel=_WHERE,
    ),
]
Overlap = Annotated[
    float,
    typer.Option(
        "--overlap",
        metavar="F",
        min=0,
        max=MAX_OVERLAP,
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
    typer.Option(
        "--batch-size", metavar="N", min=1, max=65_536, help="Tiles per prediction.", rich_help_panel=_HOW
    ),
]
ReadThreads = Annotated[
    int,
    typer.Option(
        "--read-threads",
        metavar="N",
        min=1,
        max=1024,
        help="Threads that read and decode.",
        rich_help_panel=_HOW,
    ),
]


Slides = Annotated[
    list[str],
    typer.Argument(
        metavar="SLIDE",
        help="Slide files, folders, glob patterns, or a manifest .csv with columns slide_id,path[,mpp].",
        show_default=False,
    ),
]

Out = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Folder for one store per slide and summary.csv.")
]

Exports = Annotated[
    str,
    typer.Option(
        "--export", metavar="LIST", help="Also write beside each store: any of geojson,tiff,csv,png."
    ),
]

Resume = Annotated[
    bool, typer.Option("--resume/--restart", help="Go on with earlier work in DIR, or replace it.")
]

ShardOf = Annotated[
    str | None, typer.Option("--shard", metavar="K/N", help="Work on part K of N of the slides.")
]

Workers = Annotated[
    int,
    typer.Option("--workers", metavar="N", min=0, help="Slides at a time, in N processes (needs Dask)."),
]

Cluster = Annotated[
    str | None,
    typer.Option("--cluster", metavar="TCP", help="Spread slides over a Dask scheduler, tcp://host:port."),
]

Region = Annotated[
    str | None,
    typer.Option(
        "--region", metavar="X,Y,W,H", help="Only this box, in level-0 pixels.", rich_help_panel=_WHERE
    ),
]

RoiFile = Annotated[
    Path | None,
    typer.Option(
        "--roi",
        metavar="FILE",
        help="Only inside these polygons (GeoJSON, ASAP, Aperio, NDPA); or a folder with one <slide_id>.* per slide.",
        rich_help_panel=_WHERE,
    ),
]

RoiFrame = Annotated[
    Frame,
    typer.Option(
        "--frame",
        help="Where GeoJSON counts from: the scanned area's corner (QuPath) or the slide's.",
        rich_help_panel=_WHERE,
    ),
]

MinAnnotated = Annotated[
    float,
    typer.Option(
        "--min-annotated", metavar="F", min=0, max=1, help="Share of the tissue that must be annotated."
    ),
]

SkipUnknown = Annotated[bool, typer.Option("--skip-unknown", help="Leave out annotations of other classes.")]

NoTissueMask = Annotated[
    bool, typer.Option("--no-tissue-mask", help="Segment glass, too.", rich_help_panel=_WHERE)
]

TissueFile = Annotated[
    Path | None,
    typer.Option(
        "--tissue",
        metavar="FILE",
        help="These polygons are the tissue, in place of what would be found; or a folder, as with --roi.",
        rich_help_panel=_WHERE,
    ),
]

TissueThreshold = Annotated[
    float | None,
    typer.Option(
        "--tissue-threshold",
        metavar="F",
        min=0,
        max=3,
        help="Density against the glass above which there is tissue; found (0.015 … 0.09) if not given.",
        rich_help_panel=_WHERE,
    ),
]

Match = Annotated[
    str,
    typer.Option(
        "--match", metavar="LIST", help="What names of annotations mean: 'Tumor: Positive=tumour,Stroma=STR'."
    ),
]

Icc = Annotated[
    bool,
    typer.Option(
        "--icc",
        help="Convert colours to sRGB by the slide's ICC profile; models are trained without.",
        rich_help_panel=_WHERE,
    ),
]

ReadErrors = Annotated[
    OnReadError,
    typer.Option(
        "--read-errors",
        help="An unreadable tile fails its slide, or stays blank.",
        rich_help_panel=_WHERE,
    ),
]

UseGate = Annotated[
    bool,
    typer.Option(
        "--gate/--no-gate", help="Let stage 1 switch classes off in stage 2.", rich_help_panel=_WHAT
    ),
]

UseGateMode = Annotated[
    GateMode,
    typer.Option(
        "--gate-mode",
        help="Switch classes off at each pixel (field) or in whole tiles (tile).",
        rich_help_panel=_WHAT,
    ),
]

GateThreshold = Annotated[
    float | None,
    typer.Option(
        "--gate-threshold",
        metavar="F",
        help="Threshold for all classes, in place of the model's.",
        rich_help_panel=_WHAT,
    ),
]

Cams = Annotated[
    bool,
    typer.Option("--cams", help="Keep the class activation maps of stage 1.", rich_help_panel=_WHAT),
]

Probabilities = Annotated[
    bool,
    typer.Option("--probabilities", help="Keep the blended class probabilities.", rich_help_panel=_WHAT),
]

Device = Annotated[
    str, typer.Option("--device", metavar="D", help="auto, cpu, cuda or cuda:N.", rich_help_panel=_HOW)
]

UsePrecision = Annotated[
    Precision, typer.Option("--precision", help="Number format of the networks.", rich_help_panel=_HOW)
]

UseBackend = Annotated[
    Backend, typer.Option("--backend", help="What computes the networks.", rich_help_panel=_HOW)
]
