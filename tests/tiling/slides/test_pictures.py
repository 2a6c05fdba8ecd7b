"""Which picture is the slide, what its channels are, and OME-XML that went through other programs."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tiling.slides.channels import UNNAMED_RGB, Channel, colours_of
from tiling.slides.ome_xml import is_ome_xml, ome_pictures, other_files
from tiling.slides.pictures import Picture, left_out, main_picture

SCAN = Picture("", 320, 256, has_mpp=True)


@pytest.mark.parametrize(
    "other",
    [
        Picture("", 500, 400),
        Picture("macro", 500, 400, levels=3, has_mpp=True),
        Picture("Slide Macro Image", 500, 400, levels=3),
        Picture("label image", 900, 900, has_mpp=True),
        Picture("", 500, 400, reduced=True),
        Picture("Scene 2", 200, 200, has_mpp=True),
        Picture("Scene 2", 320, 256, has_mpp=True),
    ],
)
def test_the_scan_wins(other: Picture) -> None:
    assert main_picture([SCAN, other]) == 0
    if other != Picture("Scene 2", 320, 256, has_mpp=True):  # of equal scenes, the first
        assert main_picture([other, SCAN]) == 1


@given(
    st.lists(
        st.builds(Picture, st.text(max_size=9), st.integers(1, 99), st.integers(1, 99)),
        min_size=1,
        max_size=9,
    )
)
def test_every_picture_is_read_or_named(pictures: list[Picture]) -> None:
    chosen = main_picture(pictures)
    sentence = left_out(pictures, chosen)
    assert bool(sentence) == (len(pictures) > 1)
    assert "\n" not in sentence
    if 1 < len(pictures) <= 6:
        assert all(str(p) in sentence for p in pictures)


@pytest.mark.parametrize(
    ("channels", "count", "kind", "doubtful"),
    [
        ([], 1, "grey", False),
        ([Channel("Red"), Channel("Green"), Channel("Blue")], 3, "rgb", False),
        ([Channel(c, v) for c, v in zip("012", (0xFF0000, 0xFF00, 0xFF), strict=True)], 3, "rgb", False),
        ([], 3, "rgb", True),
        ([Channel("TL Brightfield", 0xFFFFFF)] * 3, 3, "rgb", True),
        ([Channel("Channel:0:0"), Channel("Channel:0:1"), Channel("Channel:0:2")], 3, "rgb", True),
        ([Channel("", 0x808080)] * 3, 3, "rgb", True),
        ([Channel(n) for n in ("r", "g", "b", "alpha")], 4, "rgba", False),
        ([], 4, "rgba", True),
        ([Channel("DAPI"), Channel("FITC"), Channel("Cy5")], 3, "stains", False),
        ([Channel("DAPI", 0xFF0000), Channel("FITC", 0xFF00), Channel("Cy5", 0xFF)], 3, "stains", False),
        ([Channel("", c) for c in (0xFF00FF, 0x00FFFF, 0xFFFF00)], 3, "stains", False),
        ([Channel(stained=True)] * 3, 3, "stains", False),
        ([Channel(n) for n in ("red", "green", "blue", "infrared")], 4, "stains", False),
        ([], 2, "stains", False),
        ([], 5, "stains", False),
    ],
)
def test_colours(channels: list[Channel], count: int, kind: str, doubtful: bool) -> None:
    got, doubt = colours_of(channels, count)
    assert got == kind
    assert bool(doubt) == doubtful


OME = (
    '{head}<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image Name="{name}">'
    '<Pixels SizeX="640" SizeY="512" PhysicalSizeX="0.25" PhysicalSizeY="0.25"{unit}>'
    '<Channel Name="TL Brightfield" Color="-1"/></Pixels></Image></OME>{tail}'
)


@pytest.mark.parametrize(
    "head", ["", "\ufeff", '<?xml version="1.0" encoding="UTF-16"?>', "<!-- made by us -->"]
)
@pytest.mark.parametrize("tail", ["", "\0", "\0\x01", "\n \0", "</End>"])
@pytest.mark.parametrize("name", ["a", "a\x02b", "Gewebe ä"])
def test_ome_xml_that_was_damaged_on_its_way(head: str, tail: str, name: str) -> None:
    text = OME.format(head=head, tail=tail, name=name, unit=' PhysicalSizeXUnit="?m" PhysicalSizeYUnit="Âµm"')
    assert is_ome_xml(text)
    (picture,) = ome_pictures(text)
    assert (picture.width, picture.height) == (640, 512)
    assert picture.statement.numbers == (0.25, 0.25)
    assert colours_of(picture.channels * 3, 3) == ("rgb", UNNAMED_RGB)


@given(st.text())
def test_any_text_is_parsed_or_not_believed(text: str) -> None:
    for candidate in (text, OME.format(head=text, tail="", name="", unit=""), "<OME>" + text + "</OME>"):
        for picture in ome_pictures(candidate):
            assert picture.width == 640
        other_files(candidate)


def test_entities_are_not_expanded() -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
    assert ome_pictures(OME.format(head=bomb, tail="", name="&b;", unit="")) == ()


def test_deeply_nested_xml_is_an_answer() -> None:
    ome_pictures("<OME>" + "<Image>" * 50_000 + "</Image>" * 50_000 + "</OME>")


def test_files_of_one_picture_are_listed() -> None:
    text = '<OME xmlns="x"><UUID FileName="a.tif">urn:1</UUID><UUID FileName="b.tif">urn:2</UUID></OME>'
    assert other_files(text) == ("a.tif", "b.tif")
    assert other_files(text.replace("urn:2", "urn:1")) == ()
