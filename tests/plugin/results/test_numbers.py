from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from napari_wsss.plugin.results.numbers import (
    area_text,
    class_areas,
    legend,
    legend_table,
    percent_text,
    ratio_text,
    usual_ratio,
)
from napari_wsss.plugin.results.state import RunState
from tiling.synthetic import SYNTHETIC_SCHEMA


def test_areas_so_far_and_in_the_end() -> None:
    state = RunState("running", mpp=0.5, counts=(10, 3_000_000, 1_000_000, 0, 0))
    rows = legend(SYNTHETIC_SCHEMA, class_areas(SYNTHETIC_SCHEMA, state))
    assert [row.label for row in rows] == [1, 2, 3, 4]
    assert rows[0].mm2 == pytest.approx(0.75)
    assert rows[0].percent_text == "75.0 %"
    assert rows[1].area_text == "0.250 mm²"
    done = RunState("done", areas={"Tumour": 2.0, "Stroma": 6.0})
    rows = legend(SYNTHETIC_SCHEMA, class_areas(SYNTHETIC_SCHEMA, done))
    assert [row.percent_text for row in rows] == ["25.0 %", "75.0 %", "0 %", "0 %"]
    assert class_areas(SYNTHETIC_SCHEMA, RunState()) == [0.0] * 4


@pytest.mark.parametrize(
    ("mm2", "text"),
    [
        (0, "0 mm²"),
        (0.000123, "0.000123 mm²"),
        (0.04567, "0.0457 mm²"),
        (12.345, "12.3 mm²"),
        (1234.5, "1234 mm²"),
    ],
)
def test_areas_have_three_digits(mm2: float, text: str) -> None:
    assert area_text(mm2) == text


def test_small_shares_are_not_nothing() -> None:
    assert percent_text(0.0002) == "< 0.1 %"
    assert percent_text(0) == "0 %"


areas = st.lists(st.floats(0, 1e4), min_size=4, max_size=4)


@given(areas, st.sets(st.integers(1, 4)))
def test_shares_of_what_is_shown_are_those_of_the_shown_classes_alone(
    mm2: list[float], hidden: set[int]
) -> None:
    rows = legend(SYNTHETIC_SCHEMA, mm2, hidden)
    assert [row.mm2 for row in rows] == mm2
    assert {row.label for row in rows if row.share_of_shown is None} == hidden
    shown = [row for row in rows if row.share_of_shown is not None]
    total = sum(row.mm2 for row in shown)
    assert sum(row.share_of_shown or 0.0 for row in shown) == pytest.approx(1.0 if total else 0.0)
    assert sum(row.share for row in rows) == pytest.approx(1.0 if sum(mm2) else 0.0)


def test_the_ratio_of_two_classes() -> None:
    rows = legend(SYNTHETIC_SCHEMA, [3.0, 1.5, 0.0, 0.0])
    assert ratio_text(rows, 1, 2) == "2 : 1"
    assert ratio_text(rows, 2, 1) == "0.5 : 1"
    assert ratio_text(rows, 1, 3) == "–"
    assert ratio_text(rows, 3, 1) == "0 : 1"
    rare = legend(SYNTHETIC_SCHEMA, [0.000017, 0.16, 2e-9, 0.0])
    assert ratio_text(rare, 1, 2) == "1 : 9,412"
    assert ratio_text(rare, 2, 1) == "9,412 : 1"
    assert ratio_text(rare, 3, 2) == "1 : >9999"


@given(st.floats(0, 1e6), st.floats(1e-12, 1e6))
def test_a_ratio_is_never_wider_than_its_place(one: float, other: float) -> None:
    text = ratio_text(legend(SYNTHETIC_SCHEMA, [one, other, 0, 0]), 1, 2)
    assert len(text) <= 9
    assert "e" not in text


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("adipose", "smooth muscle", "cancer-associated stroma", "tumour epithelium"), (4, 3)),
        (("Tumorstroma", "Fett", "Tumor"), (3, 1)),
        (("stroma", "invasive carcinoma", "tumor in situ"), (2, 1)),
        (("tumor", "normal"), (1, 2)),
        (("a", "b", "c"), (1, 2)),
        (("a",), (1, 2)),
    ],
)
def test_the_ratio_starts_with_tumour_to_stroma(names: tuple[str, ...], expected: tuple[int, int]) -> None:
    assert usual_ratio(names) == expected


def test_the_table_for_the_clipboard() -> None:
    head, first, *_ = legend_table(legend(SYNTHETIC_SCHEMA, [3.0, 1.0, 0.0, 0.0], {1}))
    assert head == ("class", "area_mm2", "percent_of_tissue", "percent_of_shown")
    assert first == (SYNTHETIC_SCHEMA.names[0], "3.000000", "75.000", "")
