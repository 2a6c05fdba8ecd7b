"""Class schemas: which names are refused before anything is made from them, and the two label encodings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tiling.classes import ClassSchema, TissueClass, reference_to_store, store_to_reference
from tiling.errors import DataError


def schema(*names: tuple[str, str]) -> ClassSchema:
    return ClassSchema("s", tuple(TissueClass(*pair, "#112233") for pair in names))


@pytest.mark.parametrize(
    "text",
    [
        "..",
        ".",
        "A/B",
        "/etc/passwd",
        "a\\b",
        "a:b",
        "con",
        "LPT1",
        "zarr.json",
        ".hidden",
        "end.",
        "__x",
        "a*",
    ],
)
def test_an_abbreviation_is_a_folder_name(text: str) -> None:
    with pytest.raises(DataError, match="folder name"):
        TissueClass("tumour", text, "#112233")
    assert TissueClass(f"tumour {text} x", "TUM", "#112233").name  # a full name is only shown


@pytest.mark.parametrize(
    "text", ["", " ", " A", "A\n", "a\x1b[31m", "a\x00b", "a\u202eb", "a\u2028b", "\ud800", "x" * 101]
)
def test_names_are_readable_text(text: str) -> None:
    for fields in ((text, "T"), ("T", text)):
        with pytest.raises(DataError, match="tissue class has the"):
            TissueClass(*fields, "#112233")


@pytest.mark.parametrize(
    "pairs",
    [
        (("tumour", "T"), ("Tumour", "U")),
        (("tumour", "t"), ("stroma", "T")),
        (("é", "A"), ("e\u0301", "B")),
        (("stroma", "TUM"), ("tum", "S")),
        (("straße", "A"), ("STRASSE", "B")),
    ],
)
def test_two_classes_are_never_one_on_another_file_system(pairs: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(DataError, match="for two classes"):
        schema(*pairs)


def test_ordinary_names_pass() -> None:
    found = schema(("tumour", "tumour"), ("cancer-associated stroma (αSMA+)", "STR_1"), ("Nekrose", "Né 2"))
    assert ClassSchema.from_dict(found.to_dict()) == found


@pytest.mark.parametrize("wrong", [None, 5, ["A"], {}, True])
def test_only_text_is_a_name(wrong: object) -> None:
    data = schema(("tumour", "T")).to_dict()
    data["classes"][0]["abbreviation"] = wrong
    with pytest.raises(DataError, match="no text"):
        ClassSchema.from_dict(data)


@given(st.lists(st.integers(0, 255), min_size=1, max_size=20), st.integers(1, 254))
def test_encodings_are_inverse(values: list[int], classes: int) -> None:
    store = np.minimum(np.array(values, np.uint8), classes)
    assert np.array_equal(reference_to_store(store_to_reference(store, classes), classes), store)
