"""Every annotation format becomes the same named polygons: areas by hand, holes, layers, a sentence for the rest."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest
import shapely

from tiling.annotations import AnnotationFile, Place, annotations_of, read_annotation_file
from tiling.errors import AnnotationError

PLACE = Place(dimensions=(2000, 1000), mpp=0.5, centre_offset_nm=(100_000.0, -50_000.0))


def square(x: float, y: float, side: float) -> list[list[float]]:
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]


def feature(rings: Any, kind: str = "Polygon", **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "properties": properties, "geometry": {"type": kind, "coordinates": rings}}


def written(folder: Path, text: str | bytes, name: str = "a.xml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(folder: Path, data: Any, place: Place = PLACE) -> AnnotationFile:
    text = data if isinstance(data, str | bytes) else json.dumps(data)
    return read_annotation_file(written(folder, text), place)


def areas(file: AnnotationFile) -> list[float]:
    return [round(annotation.polygon.area, 1) for annotation in file.annotations]


# --- GeoJSON ---


@pytest.mark.parametrize(
    ("rings", "kind", "area"),
    [
        ([square(0, 0, 200), square(0, 50, 100)], "Polygon", 30_000),  # the hole touches the outline
        ([square(0, 0, 200), square(210, 0, 50)], "Polygon", 40_000),  # a hole outside
        ([[[0, 0], [200, 200], [200, 0], [300, 0], [200, 0], [0, 200], [0, 0]]], "Polygon", 20_000),
        ([square(0, 0, 200)[:-1]], "Polygon", 40_000),  # open
        ([square(0, 0, 200), [[1, 1], [2, 2]]], "Polygon", 40_000),  # a hole of two corners is none
        ([[square(0, 0, 10)], [square(5, 0, 10)]], "MultiPolygon", 150),  # parts that overlap count once
        ([square(0, 0, 100), square(10, 10, 20), square(50, 50, 20)], "Polygon", 9_200),
    ],
)
def test_areas_are_right_however_rings_lie(tmp_path: Path, rings: Any, kind: str, area: float) -> None:
    assert areas(read(tmp_path, feature(rings, kind))) == [area]


def test_collections_and_everything_else_that_is_json(tmp_path: Path) -> None:
    inner = {"type": "Polygon", "coordinates": [square(0, 0, 10)]}
    point = {"type": "Point", "coordinates": [1, 1]}
    parts = {"type": "MultiPolygon", "coordinates": [[square(20, 0, 10)]]}
    collection = {"type": "GeometryCollection", "geometries": [inner, point, parts]}
    found = read(tmp_path, {"type": "Feature", "properties": {}, "geometry": collection})
    assert areas(found) == [200]
    assert found.left_out == ("Annotation 1 of a.xml is a point or a line, without area and is left out.",)
    one = feature([square(0, 0, 10)])
    for data in ([one], one, inner, {"type": "FeatureCollection", "features": [one]}, [[one]]):
        assert areas(read(tmp_path, data)) == [100]


def test_names_and_classes_as_qupath_writes_them(tmp_path: Path) -> None:
    ring = [square(0, 0, 10)]
    found = read(
        tmp_path,
        [
            {
                **feature(ring, name="A", classification={"name": "Tumor: Positive", "color": [1, 2, 3]}),
                "id": "x1",
            },
            feature(ring, classification={"names": ["Tumor", "Positive"]}),
            feature(ring, classification="Stroma"),
            feature(ring, classification=["Tumor", "Positive"]),
            {**feature(ring, **{"class": "C"}), "id": "x1"},
        ],
    ).annotations
    assert [(a.name, a.class_name) for a in found] == [
        ("A", "Tumor: Positive"),
        ("", "Tumor: Positive"),
        ("", "Stroma"),
        ("", "Tumor: Positive"),
        ("", "C"),
    ]
    assert [a.key for a in found] == ["x1", "2", "3", "4", "5"]  # an id that comes twice is no key


@pytest.mark.parametrize(
    "corners",
    [
        square(0, 0, 10),
        [[*corner, 7.5] for corner in square(0, 0, 10)],
        [[str(x), str(y)] for x, y in square(0, 0, 10)],
    ],
    ids=["plain", "three dimensions", "text"],
)
def test_frames_differ_by_the_origin(tmp_path: Path, corners: list[list[Any]]) -> None:
    found = read(tmp_path, feature([corners]), Place(origin=(30, 40)))
    assert found.annotations[0].polygon.bounds == (30, 40, 40, 50)


@pytest.mark.parametrize(
    ("geometry", "why"),
    [
        ({"type": "CurvePolygon", "coordinates": [square(0, 0, 10)]}, "not GeoJSON"),
        ({"type": "MultiSurface", "coordinates": []}, "not GeoJSON"),
        ({"type": "Topology", "objects": {}, "arcs": []}, "not GeoJSON"),
        (feature([square(0, 0, 10)]), "not GeoJSON"),
        ({"type": "GeometryCollection", "geometries": [feature([square(0, 0, 10)])]}, "not GeoJSON"),
    ],
)
def test_what_is_written_another_way_is_named(tmp_path: Path, geometry: Any, why: str) -> None:
    found = read(tmp_path, [{"type": "Feature", "properties": None, "geometry": geometry}])
    assert found.annotations == ()
    assert why in found.left_out[0]


@pytest.mark.parametrize(
    "content",
    [b"\xef\xbb\xbf%s", b"gzip %s"],
    ids=["byte order mark", "gzip"],
)
def test_packed_and_marked_files_are_read(tmp_path: Path, content: bytes) -> None:
    text = content.removeprefix(b"gzip ") % json.dumps(feature([square(0, 0, 10)])).encode()
    assert areas(read(tmp_path, gzip.compress(text) if content.startswith(b"gzip") else text)) == [100]


def test_all_parts_of_a_gzip_file_are_read(tmp_path: Path) -> None:
    """Only the first was, without a word."""
    text = json.dumps([feature([square(0, 0, 10)])]).encode()
    blocks = b"".join(gzip.compress(text[i : i + 20]) for i in range(0, len(text), 20))
    assert areas(read(tmp_path, blocks)) == [100]
    assert areas(read(tmp_path, blocks + bytes(512))) == [100]
    with pytest.raises(AnnotationError, match="Extra data"):
        read(tmp_path, gzip.compress(text) + gzip.compress(text))
    with pytest.raises(AnnotationError, match="damaged gzip"):
        read(tmp_path, gzip.compress(text) + b"junk")


@pytest.mark.parametrize(
    ("corner", "why"),
    [
        ('"a"', "no pair of numbers"),
        ("NaN", "lies on no slide"),
        ("-Infinity", "lies on no slide"),
        ("1e308", "lies on no slide"),
        ("1" + "0" * 400, "no pair of numbers"),
        ("null", "no pair of numbers"),
        ("[1]", "no pair of numbers"),
        ("true", "no pair of numbers"),
        ("1e9", "lies on no slide"),
    ],
)
@pytest.mark.parametrize("origin", [(0, 0), (3, 4)])
def test_a_corner_that_is_none_leaves_its_annotation_out(
    tmp_path: Path, corner: str, why: str, origin: tuple[int, int]
) -> None:
    bad = json.dumps(feature([[["X", 0], [5, 0], [5, 5]]])).replace('"X"', corner)
    found = read(tmp_path, f"[{json.dumps(feature([square(0, 0, 10)]))}, {bad}]", Place(origin=origin))
    assert areas(found) == [100]
    assert why in found.left_out[0]
    assert found.left_out[0].startswith("Annotation 2")


@pytest.mark.parametrize(
    "geometry",
    [
        None,
        {},
        {"type": "Polygon"},
        {"type": "Polygon", "coordinates": []},
        {"type": "Polygon", "coordinates": [[]]},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]},
        {"type": "Polygon", "coordinates": [5]},
        {"type": "Polygon", "coordinates": [[5, 6, 7]]},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [2, 2]]]},
        {"type": "MultiPolygon", "coordinates": [5]},
        {"type": "GeometryCollection", "geometries": 3},
        {"type": "Circle"},
        "POLYGON",
    ],
)
def test_what_has_no_area_is_left_out_in_one_sentence(tmp_path: Path, geometry: Any) -> None:
    bad = {"type": "Feature", "properties": {}, "geometry": geometry}
    found = read(tmp_path, [bad, feature([square(0, 0, 10)])])
    assert areas(found) == [100]
    assert len(found.left_out) == 1
    assert "left out" in found.left_out[0]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no annotation file"),
        (b"hello", "no annotation file"),
        (b"{", "not GeoJSON"),
        (b"[1]", "has no type"),
        (b'{"type": "FeatureCollection"}', "no list of features"),
        (b'{"type": 3}', "has no type"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * 300 + b"]" * 300, "nested too deeply"),
        ('{"type": "Feature", "properties": {"name": "M\xfcller"}}'.encode("cp1252"), "UTF-8"),
        ('{"type": "Feature"}'.encode("utf-16"), "UTF-8"),
        (gzip.compress(b'{"type": "Feature"}' * 1000, mtime=0)[:-20], "gzip"),
        (b"<Annotations><Annotation>", "not well-formed"),
        (b"<annotations><ndpviewstate/></annotationz>", "not well-formed"),
        (b"<ASAP_Annotations>" + b"<a>" * 5000, "nested too deeply"),
        (b'<!DOCTYPE a [<!ENTITY x "y">]><Annotations>&x;</Annotations>', "document type"),
        (b'<!DOCTYPE Annotations SYSTEM "http://localhost/x.dtd"><Annotations/>', "document type"),
        (b"<x><Annotations/></x>", "root"),
    ],
)
def test_a_wrong_file_is_one_short_sentence(tmp_path: Path, content: bytes, why: str) -> None:
    with pytest.raises(AnnotationError, match=why) as caught:
        read(tmp_path, content)
    message = str(caught.value)
    assert str(tmp_path / "a.xml") in message
    assert len(message) < 400
    assert "\n" not in message


def test_what_is_no_file_is_one_sentence(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", Path("a\0b")):
        with pytest.raises(AnnotationError, match="cannot be read"):
            read_annotation_file(path)


# --- ASAP ---


def asap(*annotations: str) -> str:
    inner = "".join(annotations)
    return f"<?xml version='1.0'?><ASAP_Annotations><Annotations>{inner}</Annotations></ASAP_Annotations>"


def asap_square(
    x: float, y: float, side: float, group: str, kind: str = "Polygon", shuffled: bool = False
) -> str:
    corners = list(enumerate(square(x, y, side)[:-1]))
    order = [2, 0, 3, 1] if shuffled else [0, 1, 2, 3]
    points = "".join(
        f'<Coordinate Order="{i}" X="{corners[i][1][0]}" Y="{corners[i][1][1]}"/>' for i in order
    )
    return f'<Annotation Name="n" Type="{kind}" PartOfGroup="{group}"><Coordinates>{points}</Coordinates></Annotation>'


def test_asap(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        asap(
            asap_square(0, 0, 100, "Tumor", shuffled=True),
            asap_square(200, 0, 50, "None", "Rectangle"),
            asap_square(10, 10, 20, "Exclusion"),
            asap_square(0, 0, 5, "Tumor", "Dot"),
        ),
    )
    assert found.format == "ASAP XML"
    assert areas(found) == [10_000 - 400, 2_500]
    assert [a.class_name for a in found.annotations] == ["Tumor", ""]
    assert any("exclude" in note for note in found.left_out)
    assert any("point or a line" in note for note in found.left_out)


def test_asap_of_camelyon(tmp_path: Path) -> None:
    found = read(tmp_path, asap(asap_square(0, 0, 100, "_0"), asap_square(10, 10, 20, "_2")))
    assert areas(found) == [9_600]
    alone = read(tmp_path, asap(asap_square(0, 0, 100, "_2")))
    assert areas(alone) == [10_000]


def test_asap_counts_from_level_zero_whatever_the_bounds(tmp_path: Path) -> None:
    found = read(tmp_path, asap(asap_square(0, 0, 10, "T")), Place(origin=(30, 40)))
    assert found.annotations[0].polygon.bounds == (0, 0, 10, 10)


# --- Aperio ---


def region(points: list[list[float]], kind: int = 0, negative: int = 0, text: str = "") -> str:
    vertices = "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in points)
    head = f'<Region Id="1" Type="{kind}" NegativeROA="{negative}" Text="{text}">'
    return f"{head}<Vertices>{vertices}</Vertices></Region>"


def layer(number: int, *regions: str, name: str = "", description: str = "") -> str:
    return (
        f'<Annotation Id="{number}" Name="{name}"><Attributes><Attribute Name="Description" Value="{description}"/>'
        f"</Attributes><Regions><RegionAttributeHeaders/>{''.join(regions)}</Regions><Plots/></Annotation>"
    )


def test_aperio(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        '<Annotations MicronsPerPixel="0.5">'
        + layer(
            1,
            region(square(0, 0, 100)[:-1]),
            region(square(10, 10, 20)[:-1], negative=1),
            region([[300, 0], [400, 50]], kind=2),
            name="Tumor",
        )
        + layer(
            2, region([[0, 200], [50, 300]], kind=1), region([[0, 0], [9, 9]], kind=4), description="Stroma"
        )
        + layer(3, region(square(10, 10, 20)[:-1], text="core A"), region(square(0, 0, 7)))
        + "</Annotations>",
    )
    ellipse = math.pi * 50 * 25
    assert areas(found) == pytest.approx([10_000 - 400, ellipse, 5_000, 400, 49], rel=2e-4)
    # A negative region is a hole of its own layer only.
    assert [a.class_name for a in found.annotations] == ["Tumor", "Tumor", "Stroma", "core A", "Layer 3"]
    assert found.left_out == (
        "Annotation 5 of a.xml is an arrow, a ruler or a point, without area and is left out.",
    )


@pytest.mark.parametrize("said", ["1", " 1 ", "true"])
def test_a_negative_region_is_a_hole_however_it_says_so(tmp_path: Path, said: Any) -> None:
    both = layer(1, region(square(0, 0, 10)), region(square(2, 2, 5), negative=said))
    assert areas(read(tmp_path, f"<Annotations>{both}</Annotations>")) == [75]
    circle = layer(1, region(square(0, 0, 10)), region([[2, 2], [8, 8]], kind=2, negative=said))
    assert areas(read(tmp_path, f"<Annotations>{circle}</Annotations>")) == pytest.approx(
        [100 - 9 * math.pi], rel=1e-3
    )


def test_negative_regions_are_never_lost_without_a_word(tmp_path: Path) -> None:
    def notes(*layers: str) -> tuple[str, ...]:
        return read(tmp_path, f"<Annotations>{''.join(layers)}</Annotations>").left_out

    area, hole = region(square(0, 0, 10)), region(square(2, 2, 5), negative=1)
    assert "Annotation 2 of a.xml is negative in a layer without" in notes(layer(1, area), layer(2, hole))[0]
    assert "Annotation 2 of a.xml is an arrow" in notes(layer(1, area, region([[2, 2], [8, 8]], 3, 1)))[0]
    far = region(square(1e9, 0, 10), negative=1)
    assert "Annotation 2 of a.xml has a corner that lies on no slide" in notes(layer(1, area, far))[0]
    unclear = layer(1, area, region(square(2, 2, 5), negative=7))
    with pytest.raises(AnnotationError, match="NegativeROA='7'"):
        read(tmp_path, f"<Annotations>{unclear}</Annotations>")


def test_annotations_of_another_resolution_are_doubted(tmp_path: Path) -> None:
    text = f'<Annotations MicronsPerPixel="0.2500">{layer(1, region(square(0, 0, 10)))}</Annotations>'
    assert read(tmp_path, text, Place((100, 100), 0.2527)).left_out == ()
    assert (
        "drawn at 0.25 µm per pixel, and the slide has 0.5"
        in read(tmp_path, text, Place((9, 9), 0.5)).left_out[0]
    )


def test_encodings_of_xml_are_its_own_affair(tmp_path: Path) -> None:
    inner = f"<Annotations>{layer(1, region(square(0, 0, 10)), name='Tümör')}</Annotations>"
    for encoding in ("utf-8", "utf-16", "iso-8859-1", "windows-1252"):
        text = f'<?xml version="1.0" encoding="{encoding}"?><!--{"-".join("x" * 3000)}-->{inner}'
        assert read(tmp_path, text.encode(encoding)).annotations[0].class_name == "Tümör"
    with pytest.raises(AnnotationError, match="not well-formed"):
        read(tmp_path, inner.encode("latin-1"))


# --- NDPA ---


def state(title: str, annotation: str, unit: str = "nanometers") -> str:
    head = f"<title>{title}</title><coordformat>{unit}</coordformat>"
    return f'<ndpviewstate id="1">{head}<x>0</x>{annotation}</ndpviewstate>'


def freehand(points: list[list[float]], closed: int = 1, special: str = "") -> str:
    inner = "".join(f"<point><x>{x}</x><y>{y}</y></point>" for x, y in points)
    extra = f' specialtype="{special}"' if special else ""
    return f'<annotation type="freehand"{extra}><closed>{closed}</closed><pointlist>{inner}</pointlist></annotation>'


def test_ndpa(tmp_path: Path) -> None:
    def nm(points: list[list[float]]) -> list[list[float]]:
        return [[(x - 1000) * 500 + 100_000, (y - 500) * 500 - 50_000] for x, y in points]

    circle = '<annotation type="circle"><x>100000</x><y>-50000</y><radius>20000</radius></annotation>'
    text = "".join(
        [
            state("Tumor", freehand(nm(square(100, 200, 60)))),
            state("Stroma", freehand(nm(square(0, 0, 10)[:-1]), special="rectangle")),
            state("Core", circle),
            state("line", freehand(nm(square(0, 0, 10)), closed=0)),
            state("pin", '<annotation type="pin"><x>0</x><y>0</y></annotation>'),
        ]
    )
    found = read(tmp_path, f"<annotations>{text}</annotations>")
    assert areas(found) == pytest.approx([3_600, 100, math.pi * 40**2], rel=2e-4)
    assert found.annotations[0].polygon.bounds == pytest.approx((100, 200, 160, 260))
    assert found.annotations[2].polygon.centroid.coords[0] == pytest.approx((1000, 500))
    assert [a.class_name for a in found.annotations] == ["Tumor", "Stroma", "Core"]
    assert "2 annotations of a.xml are a point, a line" in found.left_out[0]


def test_ndpa_says_what_it_lacks(tmp_path: Path) -> None:
    text = f"<annotations>{state('T', freehand(square(0, 0, 9)))}</annotations>"
    with pytest.raises(AnnotationError, match="pass --mpp"):
        read(tmp_path, text, Place(dimensions=(10, 10)))
    assert "middle" in read(tmp_path, text, Place((2000, 1000), 0.5)).left_out[0]
    for unit in ("furlongs", "pixels", "micrometers"):
        wrong = f"<annotations>{state('T', freehand(square(0, 0, 9)), unit)}</annotations>"
        with pytest.raises(AnnotationError, match=unit):
            read(tmp_path, wrong)


@pytest.mark.parametrize(
    ("radius", "area"), [("20000,0", math.pi * 40**2), ("-20000", 0), ("", 0), ("far", 0)]
)
def test_a_radius_that_is_none_has_no_area(tmp_path: Path, radius: str, area: float) -> None:
    circle = f'<annotation type="circle"><x>0</x><y>0</y><radius>{radius}</radius></annotation>'
    found = read(tmp_path, f"<annotations>{state('T', circle, 'Nanometers')}</annotations>")
    assert areas(found) == (pytest.approx([area], rel=1e-3) if area else [])
    assert bool(found.left_out) == (not area)


def test_a_folder_has_one_file_per_slide(tmp_path: Path) -> None:
    written(tmp_path, asap(), "one.xml")
    written(tmp_path, "[]", "two.geojson")
    written(tmp_path, asap(), "two.xml")
    assert annotations_of(tmp_path, "one").name == "one.xml"
    for slide, why in (("two", "several"), ("three", "has no annotations")):
        with pytest.raises(AnnotationError, match=why):
            annotations_of(tmp_path, slide)


def test_polygons_are_valid(tmp_path: Path) -> None:
    star = [[0, 0], [10, 30], [20, 0], [-5, 20], [25, 20]]
    found = read(tmp_path, [feature([star]), feature([square(0, 0, 9), square(2, 2, 3)])])
    assert all(shapely.is_valid(a.polygon) for a in found.annotations)


def test_a_file_that_unpacks_without_end_is_refused(tmp_path: Path) -> None:
    bomb = gzip.compress(b'{"type": "FeatureCollection", "features": [' + b"[0,0]," * 4_000_000)
    with pytest.raises(AnnotationError, match="200 times its size, as no annotations do"):
        read(tmp_path, bomb)


def test_a_small_file_may_pack_as_well_as_it_can(tmp_path: Path) -> None:
    features = [feature([square(0, 0, 100)], classification={"name": "a"})] * 20_000
    assert len(read(tmp_path, gzip.compress(json.dumps(features).encode())).annotations) == 20_000
