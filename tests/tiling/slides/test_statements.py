"""What files say of their resolution, read from strings and tags as people's programs write them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, strategies as st

from tiling.errors import ResolutionError
from tiling.slides.resolution import CONFLICT_TOLERANCE, MAX_MPP, MIN_MPP, contradicted, resolve_mpp, weigh
from tiling.slides.statements import (
    Statement,
    aperio_statements,
    imagej_statement,
    length_statement,
    micrometres,
    openslide_statements,
    tag_statement,
    vips_statements,
)

SIZE = (640, 512)
plausible = st.floats(MIN_MPP, MAX_MPP)


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        *(
            (unit, 1.0)
            for unit in ("µm", "μm", "um", "micron", "Microns", "micrometer", "\\u00B5m", "㎛", "&micro;m")
        ),
        *((unit, 1.0) for unit in ("Âµm", "?m", "\ufffdm", "Ã‚Âµm", "Î¼m", "√Çµm", "Âµm\0")),
        *((unit, 1e3) for unit in ("mm", "millimeter", "Millimetres", " mm ")),
        *((unit, 1e-3) for unit in ("nm", "nanometer")),
        *((unit, 25_400.0) for unit in ("inch", "in", "Inches", '"')),
        ("cm", 1e4),
        ("m", 1e6),
        ("Å", 1e-4),
        *((unit, None) for unit in ("Mm", "MM", "furlong", "pixel", "", "xm", "mµ", "µ")),
    ],
)
def test_units(unit: str, expected: float | None) -> None:
    assert micrometres(unit) == expected


@pytest.mark.parametrize(
    ("x", "unit", "mpp"),
    [
        ((20_000, 1), 3, 0.5),
        ((50_800, 1), 2, 0.5),
        ((50_800, 1), None, 0.5),
        (20_000.0, 3, 0.5),
        (20_000, "cm", 0.5),
        ("20000", "CENTIMETER", 0.5),
        (b"20000\0", b"3", 0.5),
        ((20_000, 1, 20_000, 1), (3,), 0.5),
        ((40_000, 2), 3, 0.5),
        ("2.0", "um", 0.5),
    ],
)
def test_resolution_tags_of_any_type(x: object, unit: object, mpp: float) -> None:
    said = tag_statement(x, x, unit)
    assert said is not None
    assert said.numbers == (mpp, mpp)


@pytest.mark.parametrize(
    ("x", "unit"),
    [((20_000, 1, 30_000, 1), 3), ("fine", 3), ((1, 2, 3), 3), ((), 3), (20_000, 7), (20_000, "furlong")],
)
def test_a_tag_that_is_not_clear_is_a_problem_with_its_name(x: object, unit: object) -> None:
    said = tag_statement(x, x, unit)
    assert said is not None
    assert said.problem
    assert not said.numbers


@given(
    x=st.none()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.tuples(st.integers(), st.integers())
)
def test_no_tag_raises(x: object) -> None:
    for unit in (None, 1, 2, 3, x):
        said = tag_statement(x, x, unit)
        weigh([] if said is None else [said], SIZE)


def test_without_a_unit_the_tags_say_nothing_of_lengths() -> None:
    assert tag_statement((4, 1), (4, 1), 1) is None
    assert tag_statement(None, None, 2) is None


def test_imagej_units() -> None:
    for unit, pixels in (("microns", 2), ("mm", 2_000), ("nm", 0.002), ("cm", 20_000), ("inch", 50_800)):
        said = imagej_statement(pixels, pixels, unit)
        assert said is not None
        assert said.numbers == pytest.approx((0.5, 0.5))
    assert imagej_statement(1, 1, "pixel") is None
    both = imagej_statement(2, 2000, "micron", "mm")
    assert both is not None
    assert both.numbers == pytest.approx((0.5, 0.5))
    assert "furlong" in getattr(imagej_statement(1, 1, "mm", "furlong"), "problem", "")
    unknown = imagej_statement(1, 1, "furlong")
    assert unknown is not None
    assert "furlong" in unknown.problem


def test_aperio_lines() -> None:
    whole = "Aperio Image Library v11 \n640x512 [0,0 640x512] (64x64) JPEG/RGB Q=70|AppMag = 40|MPP = 0.2500"
    assert aperio_statements(whole) == [Statement(0.25, 0.25, "Aperio MPP", (640, 512))]
    older = "Aperio v10\r\n4692x3301 [0,10 4600x3291]|MPP=0.5"
    crop = f"Aperio Image Library v11\r\n4600x3291 [42,55 640x512] (240x240) JPEG;{older}"
    assert aperio_statements(crop) == [Statement(0.5, 0.5, "Aperio MPP", (640, 512))]
    assert aperio_statements("Aperio Image Library v11 \n640x512|AppMag = 40") == []
    assert aperio_statements("A letter about |MPP = 0.25") == []


def test_two_values_in_one_place_are_two_statements() -> None:
    """The first, or the last, taken silently would be a guess."""
    once = "Aperio Image Library v11 \n640x512 [0,0 640x512] (64x64)|MPP = 0.5"
    twice = aperio_statements(f"{once}|AppMag = 20|MPP = 0.25")
    assert {w.verdict for w in weigh(twice, SIZE)} == {"in conflict"}
    assert len(aperio_statements(f"{once}|MPP = 0.5")) == 1
    # That of a larger picture from which this one was made speaks of that one.
    made = aperio_statements(f"{once};Aperio Image Library\n1280x1024 (64x64)|MPP = 0.25")
    assert [w.verdict for w in weigh(made, SIZE)] == ["taken", "not believed"]
    properties = {
        "openslide.vendor": "aperio",
        "openslide.mpp-x": "0.5",
        "openslide.mpp-y": "0.5",
        "tiff.ImageDescription": f"{once}|MPP = 0.25",
    }
    assert {w.verdict for w in weigh(openslide_statements(properties), SIZE)} == {"in conflict"}
    quarter = "<property><name>openslide.mpp-x</name><value>0.25</value></property></properties>"
    double = _vips(**{"openslide.mpp-x": 0.5}).replace("</properties>", quarter)
    assert {w.verdict for w in weigh(vips_statements(double), SIZE)} == {"in conflict"}
    assert len(vips_statements(_vips(**{"openslide.mpp-x": 0.5, "openslide.mpp-y": 0.5}))) == 1


def _vips(**properties: object) -> str:
    inside = "".join(
        f'<property><name>{name.replace("__", "-")}</name><value type="VipsRefString">{value}</value></property>'
        for name, value in properties.items()
    )
    return f'<?xml version="1.0"?><image xmlns="http://www.vips.ecs.soton.ac.uk//dzsave"><properties>{inside}</properties></image>'


def test_libvips_carries_the_resolution_of_the_source_along() -> None:
    """Made half as large, the picture keeps ``openslide.mpp-x``: it speaks of the source's level 0."""
    old = {"openslide.mpp-x": 0.25, "openslide.level[0].width": 1280, "openslide.level[0].height": 1024}
    description = _vips(width=640, height=512, xres=2000, yres=2000, **old)
    carried, own = vips_statements(description)
    assert (carried.numbers, carried.speaks_of) == ((0.25, 0.25), (1280, 1024))
    assert (own.numbers, own.speaks_of) == ((0.5, 0.5), SIZE)
    assert resolve_mpp("a", statements=weigh([carried, own], SIZE)).mpp == 0.5
    assert vips_statements(_vips()[:-9]) == []
    assert vips_statements("nothing of the kind") == []


def test_a_file_that_contradicts_itself_is_refused_with_both_values() -> None:
    """libvips 4669: pixels per cm written as pixels per inch."""
    said = [*vips_statements(_vips(**{"openslide.mpp-x": 0.5})), tag_statement((20_000, 1), (20_000, 1), 2)]
    weighed = weigh([s for s in said if s is not None], SIZE)
    assert {w.verdict for w in weighed} == {"in conflict"}
    with pytest.raises(ResolutionError, match=r"0\.5 µm \(libvips.*1\.27 µm \(TIFF XResolution\).*--mpp"):
        resolve_mpp("a.tif", statements=weighed)
    assert resolve_mpp("a.tif", override=0.5, statements=weighed).mpp == 0.5
    both = vips_statements(_vips(**{"openslide.mpp-x": 0.25, "aperio.MPP": 0.5}))
    assert {w.verdict for w in weigh(both, SIZE)} == {"in conflict"}


def test_openslide_properties() -> None:
    aperio = "Aperio Image Library v11 \n1280x1024 [0,0 1280x1024] (64x64) JPEG|MPP = 0.25"
    properties = {
        "openslide.vendor": "aperio",
        "openslide.mpp-x": "0.25",
        "openslide.mpp-y": "0.25",
        "tiff.ImageDescription": aperio,
        "tiff.XResolution": "20000",
        "tiff.YResolution": "20000",
        "tiff.ResolutionUnit": "centimeter",
    }
    weighed = weigh(openslide_statements(properties), SIZE)
    assert [w.verdict for w in weighed] == ["not believed", "taken"]
    assert resolve_mpp("a", statements=weighed).source == "TIFF XResolution"
    trestle = {
        "openslide.vendor": "trestle",
        "openslide.mpp-x": "0.5",
        "openslide.mpp-y": "0.5",
        "tiff.XResolution": "7",
    }
    assert len(openslide_statements(trestle)) == 1
    assert openslide_statements({}) == []


@given(a=plausible, b=plausible, c=plausible)
def test_agreement_is_taken_and_conflict_refused(a: float, b: float, c: float) -> None:
    said = [Statement(v, v, name, SIZE) for v, name in ((a, "first"), (b, "second"), (c, "third"))]
    weighed = weigh(said, SIZE)
    apart = max(a, b, c) / min(a, b, c) - 1
    if apart > CONFLICT_TOLERANCE + 1e-9:
        assert {w.verdict for w in weighed} == {"in conflict"}
        with pytest.raises(ResolutionError, match=" and "):
            resolve_mpp("x", statements=weighed)
    elif apart < CONFLICT_TOLERANCE - 1e-9:
        assert [w.verdict for w in weighed] == ["taken", "agrees", "agrees"]
        assert resolve_mpp("x", statements=weighed).mpp == a


@given(good=plausible, other=plausible, grown=st.floats(1.02, 50))
def test_a_statement_about_another_picture_is_not_believed(good: float, other: float, grown: float) -> None:
    stale = Statement(other, other, "OME PhysicalSizeX", (round(640 * grown), round(512 * grown)))
    weighed = weigh([stale, Statement(good, good, "TIFF XResolution", printed=True)], SIZE)
    assert [w.verdict for w in weighed] == ["not believed", "taken"]
    assert resolve_mpp("x", statements=weighed).mpp == good
    with pytest.raises(ResolutionError, match="speaks of a picture of"):
        resolve_mpp("x", statements=weigh([stale], SIZE))


@given(mpp=plausible, dpi=st.sampled_from([72, 96, 150, 300, 600]))
def test_a_print_resolution_beside_a_good_one_is_a_habit(mpp: float, dpi: int) -> None:
    print_tag = tag_statement(dpi, dpi, 2)
    assert print_tag is not None
    weighed = weigh([Statement(mpp, mpp, "OME PhysicalSizeX"), print_tag], SIZE)
    assert resolve_mpp("x", statements=weighed).mpp == mpp


@given(mpp=plausible, bad=st.sampled_from([0.0, -1.0, math.nan, math.inf, 250.0]))
def test_a_senseless_scan_resolution_is_never_replaced(mpp: float, bad: float) -> None:
    tags = Statement(mpp, mpp, "TIFF XResolution", printed=True)
    with pytest.raises(ResolutionError):
        resolve_mpp("x", statements=weigh([Statement(bad, bad, "OME PhysicalSizeX"), tags], SIZE))


def test_an_unknown_unit_is_named() -> None:
    said = length_statement("0.5", "0.5", "furlong", "furlong", "OME PhysicalSizeX")
    with pytest.raises(ResolutionError, match="'furlong'"):
        resolve_mpp("x", statements=weigh([said], SIZE))


def test_axes_that_only_one_place_states_are_completed_by_the_other() -> None:
    weighed = weigh([Statement(0.5, None, "a"), Statement(0.5, 0.5, "b")], SIZE)
    assert resolve_mpp("x", statements=weighed).source == "b"
    assert {w.verdict for w in weigh([Statement(0.5, 0.25, "a"), Statement(0.5, 0.5, "b")], SIZE)} == {
        "in conflict"
    }


@given(mpp=plausible, said=plausible)
def test_a_users_value_that_is_not_the_files_is_told(mpp: float, said: float) -> None:
    apart = max(mpp, said) / min(mpp, said) - 1
    words = contradicted(weigh([Statement(said, said, "TIFF XResolution")], SIZE), mpp)
    if apart > CONFLICT_TOLERANCE + 1e-9:
        assert words.endswith("µm (TIFF XResolution)")
    elif apart < CONFLICT_TOLERANCE - 1e-9:
        assert words == ""
    dpi = weigh([Statement(353.0, 353.0, "TIFF XResolution", printed=True)], SIZE)
    assert contradicted(dpi, mpp) == "", "72 dpi is nobody's µm"
