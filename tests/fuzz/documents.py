"""Manifests, class schemas and annotations that are damaged or lie: text that people and other programs write."""

from __future__ import annotations

import gzip
import itertools
import json
import math
import os
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from wsss_mutations import BYTES, Build, change_leaf, files_of

from napari_wsss.models import resolve_schema
from tiling.annotations import Place, PolygonRaster, read_annotation_file
from tiling.batch.manifest import read_manifest
from tiling.errors import WsssError
from tiling.plan import read_roi

__all__ = ["mutants", "outcome", "prepare"]

PLACE = Place(dimensions=(2000, 1000), mpp=0.5, centre_offset_nm=(100_000.0, -50_000.0))
SECRET = "a-line-of-another-file"
_SQUARES = [[[100, 100], [400, 100], [400, 300], [100, 300], [100, 100]], [[5, 5], [60, 5], [60, 40], [5, 5]]]


def prepare(intact: Path) -> None:
    """Write the intact documents."""
    features = [
        {
            "type": "Feature",
            "properties": {"classification": {"name": f"class {i}", "color": [200, 0, i]}},
            "geometry": {"type": "Polygon", "coordinates": [ring]},
        }
        for i, ring in enumerate(_SQUARES)
    ]
    geojson = {"type": "FeatureCollection", "features": features}
    classes = [{"name": f"tissue {i}", "abbreviation": f"T{i}", "color": f"#aa00{i:02x}"} for i in range(4)]
    schema = {"name": "four", "white_background": False, "classes": classes}
    ring = _SQUARES[0][:-1]
    aperio = "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in ring)
    asap = "".join(f'<Coordinate Order="{i}" X="{x}" Y="{y}"/>' for i, (x, y) in enumerate(ring))
    ndpa = "".join(f"<point><x>{x * 500}</x><y>{y * 500}</y></point>" for x, y in ring)
    documents = {
        "manifest.csv": 'slide_id,path,mpp\n# first\na,slides/a.svs,0.25\nb,slides/b.svs,\n"c, d",c.tif,0.5\n',
        "tabs.tsv": "Slide_ID\tPath\tnote\none\t/data/one.svs\t\ntwo\ttwo.ndpi\tx\n",
        "schema.json": json.dumps(schema),
        "areas.geojson": json.dumps(geojson),
        "aperio.xml": f'<?xml version="1.0"?><Annotations MicronsPerPixel="0.5"><Annotation Id="1" Name="tumour" '
        f'LineColor="255"><Regions><Region Id="1" Type="0"><Vertices>{aperio}</Vertices></Region></Regions>'
        "</Annotation></Annotations>",
        "asap.xml": '<?xml version="1.0"?><ASAP_Annotations><Annotations><Annotation Name="a" Type="Polygon" '
        f'PartOfGroup="tumour" Color="#F4FA58"><Coordinates>{asap}</Coordinates></Annotation></Annotations>'
        "<AnnotationGroups/></ASAP_Annotations>",
        "view.ndpa": '<?xml version="1.0" encoding="utf-8"?><annotations><ndpviewstate id="1"><title>tumour</title>'
        '<coordformat>nanometers</coordformat><annotation type="freehand" displayname="AnnotateFreehand" '
        f'color="#ff0000"><closed>1</closed><pointlist>{ndpa}</pointlist></annotation></ndpviewstate></annotations>',
    }
    for name, text in documents.items():
        (intact / name).write_text(text, encoding="utf-8")
    (intact / "packed.geojson.gz").write_bytes(gzip.compress(json.dumps(geojson).encode(), mtime=0))


def mutants(seed: int, intact: Path) -> Iterator[tuple[str, Build]]:
    """Yield mutants without end; two runs with the same seed yield the same ones."""
    chance = random.Random(seed)
    files = {p.name: p.read_bytes() for p in files_of(intact)}
    for number in itertools.count():
        name = chance.choice(list(files))
        how = chance.choice([how for how, (fits, _) in _WAYS.items() if re.search(fits, name)])
        own = random.Random(f"{seed} {number}")
        yield f"{number:05} {name} {how}", _mutant(own, name, files[name], how)


def _mutant(own: random.Random, name: str, data: bytes, how: str) -> Build:
    def build(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(data)
        (folder / "secret.txt").write_text(SECRET)
        _WAYS[how][1](own, path)
        return path

    return build


def outcome(path: Path, intact: Path) -> str:
    """Read a document; an error that is not ours escapes."""
    try:
        if path.suffix in (".csv", ".tsv"):
            for job in read_manifest(path):
                if job.mpp is not None and not (math.isfinite(job.mpp) and job.mpp > 0):
                    return f"wrong: {job.mpp} µm per pixel"
                if os.sep in job.slide_id or job.slide_id in ("", ".", ".."):
                    return f"wrong: the id {job.slide_id!r} leaves its folder"
        elif path.name == "schema.json":
            schema = resolve_schema(path)
            if any(os.sep in c.abbreviation or "\n" in c.name for c in schema.classes):
                return "wrong: a class name that is no file name"
        else:
            found = read_annotation_file(path, PLACE)
            if SECRET in repr(found):
                return "wrong: another file was read"
            for annotation in found.annotations:
                if not np.isfinite(annotation.polygon.bounds).all() or annotation.polygon.area <= 0:
                    return f"wrong: a polygon {annotation.polygon.bounds}"
            roi = read_roi(path, PLACE)
            PolygonRaster([a.polygon for a in found.annotations]).draw(0, 0, 20, 20, 50, 50)
            if not roi.polygons and found.annotations:
                return "wrong: areas that are no region"
    except WsssError as error:
        text = str(error)
        if SECRET in text:
            return "wrong: another file is quoted"
        return "refused" if "\n" not in text and "\x1b" not in text else f"said {error}"
    return "read"


# --- ways ---


def _changed(mutate: Callable[[random.Random, bytes], bytes]) -> Callable[[random.Random, Path], None]:
    def change(own: random.Random, path: Path) -> None:
        data = path.read_bytes()
        packed = path.suffix == ".gz" and own.random() < 0.5
        data = mutate(own, gzip.decompress(data) if packed else data)
        path.write_bytes(gzip.compress(data, mtime=0) if packed else data)

    return change


def _number(own: random.Random, data: bytes) -> bytes:
    """Let a number be another."""
    found = list(re.finditer(rb"\d+(\.\d+)?", data))
    if not found:
        return data
    one = own.choice(found)
    odd = [
        b"NaN",
        b"Infinity",
        b"-1e308",
        b"1e400",
        b"9" * 400,
        b"-0",
        b"1,5",
        b"0x10",
        b"",
        b"1e-320",
        b"-99999999",
    ]
    return data[: one.start()] + own.choice(odd) + data[one.end() :]


def _deep(own: random.Random, data: bytes) -> bytes:
    depth = own.choice((50, 2000, 100_000))
    if data.lstrip()[:1] == b"<":
        return b"<a>" * depth + data + b"</a>" * depth
    return own.choice((b"[", b'{"features":')) * depth


def _doubled(own: random.Random, data: bytes) -> bytes:
    """Say a line or a tag twice, or leave one out."""
    parts = re.split(rb"(?<=[>\n}])", data)
    at = own.randrange(len(parts))
    return b"".join(parts[:at] + parts[at : at + 1] * own.choice((0, 2, 40)) + parts[at + 1 :])


def _entities(own: random.Random, data: bytes) -> bytes:
    """Put a bomb of entities, or another file, where a name should be."""
    body = re.sub(rb"<\?xml.*?\?>", b"", data)
    if own.random() < 0.5:
        levels = b"".join(b'<!ENTITY a%d "%s">' % (i, b"&a%d;" % (i - 1) * 10) for i in range(1, 9))
        kind, use = b'<!ENTITY a0 "ha">' + levels, b"&a8;"
    else:
        kind, use = b'<!ENTITY x SYSTEM "secret.txt">', b"&x;"
    root = re.search(rb"<(\w+)", body)
    name = root[1] if root else b"a"
    return b"<!DOCTYPE %s [%s]>" % (name, kind) + body.replace(b"tumour", use)


def _encoded(own: random.Random, data: bytes) -> bytes:
    text = data.decode("utf-8", "replace")
    name = own.choice(["utf-16", "utf-16-be", "utf-32", "latin-1", "utf-8-sig", "cp037"])
    return text.encode(name, "replace")


def _control(own: random.Random, data: bytes) -> bytes:
    at = own.randrange(len(data))
    return (
        data[:at] + own.choice([b"\0", b"\x1b[2J", b"\r", "\u202e".encode(), b"\xff\xfe", b'"']) + data[at:]
    )


def _path(own: random.Random, data: bytes) -> bytes:
    odd = [
        b"../../etc/passwd",
        b"~nobody_/x",
        b"http://example.invalid/a.svs",
        b"=cmd()",
        b"/dev/zero",
        b"x" * 300,
    ]
    words = list(re.finditer(rb"[a-z/]{1,}[a-z0-9./]*", data))
    one = own.choice(words)
    return data[: one.start()] + own.choice(odd) + data[one.end() :]


def _bomb(own: random.Random, data: bytes) -> bytes:
    """Pack 300 MB into a few hundred kB."""
    head = own.choice([b"", b'{"type": "FeatureCollection", "features": ['])
    fill = own.choice([b" ", b"0", b"[0,0],"])
    return gzip.compress(head + fill * (300_000_000 // len(fill)), 1, mtime=0)


def _no_file(own: random.Random, path: Path) -> None:
    path.unlink()
    kind = own.choice(("pipe", "folder", "loop", "zero", "nowhere"))
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"loop": path.name, "zero": "/dev/zero", "nowhere": "nowhere"}[kind])


def _leaf(own: random.Random, data: bytes) -> bytes:
    for _ in range(own.randint(1, 3)):
        data = change_leaf(own, data)
    return data


_TEXT = r"(csv|tsv|json|xml|ndpa)$"
_WAYS: dict[str, tuple[str, Callable[[random.Random, Path], None]]] = {
    **{
        how: ("", _changed(lambda own, data, m=mutate: bytes(m(own, bytearray(data)))))
        for how, mutate in BYTES.items()
    },
    "number": (_TEXT, _changed(_number)),
    "leaf": (r"json$", _changed(_leaf)),
    "deep": (r"(json|xml|ndpa)$", _changed(_deep)),
    "doubled": (_TEXT, _changed(_doubled)),
    "entities": (r"(xml|ndpa)$", _changed(_entities)),
    "encoded": (_TEXT, _changed(_encoded)),
    "control": (_TEXT, _changed(_control)),
    "path": (r"(csv|tsv)$", _changed(_path)),
    "no file": ("", _no_file),
    "bomb": (r"gz$", _changed(_bomb)),
}
