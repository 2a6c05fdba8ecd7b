"""What a program hands over is right, or refused by name with a sentence: no wrong result, no foreign error."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_wsss import Settings, open_slide
from napari_wsss.models import apply_gate
from tiling.checks import flag, instance, number, one_of, whole
from tiling.classes import ClassSchema, TissueClass
from tiling.errors import DataError, WsssError
from tiling.geometry import Box
from tiling.plan import RunOptions, TissueParameters
from tiling.slides import Slide
from tiling.slides.readers.array import ArrayReader

ODD: tuple[Any, ...] = (
    None,
    math.nan,
    math.inf,
    "x",
    "",
    10**400,
    [],
    {},
    b"x",
    object(),
    np.full((2, 2), np.nan),
)
"""No number, no word that is known, no flag, nothing of a kind."""

SLIDE = Slide(ArrayReader(np.zeros((60, 90, 3), np.uint8), mpp=0.5))


def read(**given: Any) -> Any:
    return SLIDE.read(**{"x": 0, "y": 0, "width": 8, "height": 8, "mpp": 1.0, **given})


def read_level(**given: Any) -> Any:
    return SLIDE.read_level(**{"level": 0, "x": 0, "y": 0, "width": 8, "height": 8, **given})


def gate(threshold: Any) -> Any:
    return apply_gate(torch.zeros(1, 2, 3, 3), torch.ones(1, 2), threshold)


def options(**given: Any) -> Any:
    return RunOptions(**{"mpp": 1.0, **given})


def schema(**given: Any) -> Any:
    return ClassSchema(**{"name": "s", "classes": (TissueClass("A", "A", "#112233"),), **given})


def tissue_class(**given: Any) -> Any:
    return TissueClass(**{"name": "A", "abbreviation": "A", "color": "#112233", **given})


CALLS: list[tuple[Callable[..., Any], str, tuple[Any, ...], tuple[Any, ...]]] = [
    # call, parameter, what is right although it is odd, what is wrong although it is not
    (read, "x", (), ()),
    (read, "y", (), ()),
    (read, "width", (), (0, -1, 1.5, True, 2**40)),
    (read, "height", (), (0, -1, 1.5, True, 2**40)),
    (read, "mpp", (None,), (0, -1, True)),
    (read_level, "level", (), (-1, 1, True)),
    (read_level, "x", (10**400,), (0.5,)),
    (read_level, "width", (10**400,), (-1, 0.5)),
    (SLIDE.thumbnail, "max_side", (10**400,), (0, -1, 1.5, True)),
    (Settings, "overlap", (), (True,)),
    (
        Settings,
        "region",
        (None,),
        ((0, 0, 1), (0, 0, 1, 1, 1), (0, 0, -1, 1), (0.5, 0, 1, 1), Box(0, 0, 1.5, 2), 5),
    ),  # type: ignore[arg-type]
    (Settings, "roi", (None,), (Box(0, 0, 1, 1),)),
    (Settings, "tissue", (None,), (True, 0.5)),
    (Settings, "gate", (), (0, 1)),
    (Settings, "gate_mode", (), ("Field", True)),
    (Settings, "gate_threshold", (None,), (-0.1, 1.1, True)),
    (Settings, "batch_size", (), (0, -1, 1.5, True, 2**40)),
    (Settings, "read_threads", (), (0, -1, 1.5, True, 2**40)),
    (Settings, "keep_cams", (), (0, 1)),
    (Settings, "keep_probabilities", (), (0, 1)),
    (Settings, "read_errors", (), ("Fill",)),
    (options, "mpp", (), (-1, True)),
    (options, "tissue_areas", (None,), (True,)),
    (TissueParameters, "threshold", (None,), (True,)),
    (TissueParameters, "smoothing_um", (), (-1, True)),
    (TissueParameters, "min_object_um2", (), (-1, True)),
    (TissueParameters, "max_gap_um2", (), (-1, True)),
    (TissueParameters, "remove_ink", (), (0, 1)),
    (gate, "threshold", (), (True,)),
    (schema, "name", ("x", ""), (5,)),
    (schema, "classes", (), (["A"],)),
    (schema, "white_background", (), (0, 1, "no")),
    (tissue_class, "name", ("x",), (5,)),
    (tissue_class, "abbreviation", ("x",), (5,)),
    (tissue_class, "color", (), (5, "red")),
]


@pytest.mark.parametrize(
    ("call", "name", "right", "wrong"), CALLS, ids=[f"{c.__name__}-{n}" for c, n, _, _ in CALLS]
)
def test_odd_values_are_refused_by_name(
    call: Callable[..., Any], name: str, right: tuple[Any, ...], wrong: tuple[Any, ...]
) -> None:
    for value in (*ODD, *wrong):
        if isinstance(value, np.ndarray) or value not in right:
            with pytest.raises((WsssError, TypeError, ValueError), match=r"\w+ \w+"):
                call(**{name: value})


@pytest.mark.parametrize("path", ODD)
def test_odd_paths_are_refused(path: Any) -> None:
    with pytest.raises((WsssError, TypeError)):
        open_slide(path)


@pytest.mark.parametrize("icc", ["no", 1, None])
def test_a_word_is_no_flag(icc: Any) -> None:
    with pytest.raises(TypeError, match="icc must be True or False"):
        open_slide(Path("a.svs"), icc=icc)


def test_numbers_of_numpy_are_numbers() -> None:
    settings = Settings(overlap=np.float32(0.25), batch_size=np.int64(3), region=np.arange(1, 5))  # type: ignore[arg-type]
    made = settings.run_options(np.float64(0.5))
    assert (made.overlap, made.batch_size, made.region) == (0.25, 3, Box(1, 2, 3, 4))
    assert {type(value) for value in (made.overlap, made.mpp)} == {float}
    assert {type(value) for value in (made.batch_size, made.region.x)} == {int}


def test_a_schema_in_a_file_whose_flag_is_a_word_is_refused() -> None:
    with pytest.raises(DataError, match="white_background"):
        ClassSchema.from_dict({**schema().to_dict(), "white_background": "no"})


def test_what_is_right_is_returned() -> None:
    assert number("a", np.float64(0.5), 0, 1) == 0.5
    assert whole("a", np.uint8(5), 5, 5) == 5
    flag("a", True)
    one_of("a", "x", ("x", "y"))
    instance("a", None, Box)


def test_a_value_that_cannot_be_shown_is_named_by_its_kind() -> None:
    class Mute:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    with pytest.raises(TypeError, match="got a Mute"):
        number("a", Mute())
    with pytest.raises(TypeError, match=r"…$"):
        number("a", "x" * 100)
