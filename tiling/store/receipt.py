"""The receipt of a store: how it was made, that it is complete, and a digest that proves it is unchanged."""

from __future__ import annotations

import functools
import hashlib
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from tiling.classes import ClassSchema
from tiling.errors import StoreDamagedError, StoreError
from tiling.files import json_bytes, read_json, write_json_atomic
from tiling.store.contents import RECEIPT, content_names, telling_damage
from tiling.store.layout import DOUBTS, FLAG_PREDICTED, FLAG_READ_ERROR, read_run

__all__ = [
    "FORMAT_VERSION",
    "RECEIPT",
    "ContentDigest",
    "Verification",
    "areas_mm2",
    "content_digest",
    "count_doubts",
    "file_digests",
    "read_receipt",
    "sha256_of",
    "verify",
    "versions",
    "write_receipt",
]

FORMAT_VERSION = 1

_OWN = "receipt_digest"
"""Field of a receipt that proves its other fields unchanged."""


def sha256_of(path: Path) -> bytes:
    """Return the SHA-256 of a file."""
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").digest()


def file_digests(store: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and SHA-256 of each content file of a store, in a fixed order.

    Raises
    ------
    StoreDamagedError
        When the store holds anything that is no part of one.
    OSError
        When something cannot be read.
    """
    for name in content_names(store):
        yield name, sha256_of(store / name)


class ContentDigest:
    """A SHA-256 over the names and bytes of all content files of a store."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, name: str, sha256: bytes) -> None:
        """Add the next file."""
        encoded = name.encode()
        self._digest.update(len(encoded).to_bytes(4, "little") + encoded + sha256)

    def hexdigest(self) -> str:
        """Return the digest of all files added."""
        return self._digest.hexdigest()


def content_digest(store: Path) -> str:
    """Return the digest of all files of a store but its receipt and journal; raises as :func:`file_digests`."""
    digest = ContentDigest()
    for name, sha256 in file_digests(store):
        digest.add(name, sha256)
    return digest.hexdigest()


@functools.cache
def _package_version(package: str) -> str | None:
    """Return the version of an installed package; the same for all slides of a batch."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str]:
    """Return the versions that shaped a result: Python and the packages that touch pixels."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in ("napari-wsss", "numpy", "torch", "zarr", "openslide-python", "tifffile", "pillow"):
        if version := _package_version(package):
            found[package] = version
    return found


def read_receipt(store: Path) -> dict[str, Any] | None:
    """Return the receipt of a store, or None when the store is not complete.

    Raises
    ------
    StoreDamagedError
        When the receipt is not as it was written.
    StoreError
        When it cannot be read, or is from a newer version.
    """
    path = store / RECEIPT
    try:
        receipt = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}; mend it.") from error
    except ValueError as error:
        raise StoreDamagedError(
            f"{path} is damaged ({error}); run the slide again with --restart."
        ) from error
    version = receipt.get("format_version") if isinstance(receipt, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise StoreError(f"{path} has format version {version}; update napari-wsss to read it.")
    if version != FORMAT_VERSION or receipt.pop(_OWN, None) != _own_digest(receipt):
        raise StoreDamagedError(
            f"{path} was changed after the run that wrote it; run the slide again with --restart."
        )
    return dict(receipt)


def write_receipt(store: Path, receipt: dict[str, Any]) -> None:
    """Write the receipt: the last act of a run."""
    receipt = {"format_version": FORMAT_VERSION, **receipt}
    write_json_atomic(store / RECEIPT, {**receipt, _OWN: _own_digest(receipt)})


def _own_digest(receipt: dict[str, Any]) -> str:
    """Return the SHA-256 of what a receipt states, whatever the layout of the file."""
    # Through JSON and back, so that it is what a reader will see.
    return hashlib.sha256(json.dumps(json.loads(json_bytes(receipt)), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Verification:
    """The outcome of checking one store.

    Attributes
    ----------
    store : Path
    ok : bool
        Complete and equal to its receipt.
    problem : str
        What is wrong, one sentence; empty when ``ok``.
    code : str
        The kind of error (:mod:`tiling.errors`); empty when ``ok``.
    """

    store: Path
    ok: bool
    problem: str = ""
    code: str = ""


def areas_mm2(schema: ClassSchema, counts: Sequence[int], mpp: float) -> dict[str, float]:
    """Return class name → mm² from the pixels per store label, rounded to a square micrometre."""
    pixel_mm2 = (mpp / 1000) ** 2
    return {name: round(count * pixel_mm2, 6) for name, count in zip(schema.names, counts[1:], strict=True)}


def verify(store: Path, *, recount: bool = True) -> Verification:
    """Check that a store is complete and equals its receipt; reads every byte of it and raises nothing.

    Parameters
    ----------
    store : Path
        A ``<slide_id>.zarr`` folder.
    recount : bool
        Also count the labels, pixel by pixel; a run that finds a finished store leaves that out.
    """
    try:
        _check(store, recount)
    except StoreError as error:
        return Verification(store, ok=False, problem=str(error), code=error.code)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        problem = f"{store} cannot be read ({where}{error.strerror or error}); mend it and check again."
        return Verification(store, ok=False, problem=problem, code=StoreError.code)
    return Verification(store, ok=True)


def _check(store: Path, recount: bool) -> None:
    if not store.is_dir():
        raise StoreError(f"{store} does not exist or is not a folder.")
    receipt = read_receipt(store)
    if receipt is None:
        raise StoreError(f"{store} has no receipt: the run did not finish; run it again to resume.")
    if content_digest(store) != receipt.get("content_digest"):
        raise StoreDamagedError(
            f"{store} differs from its receipt: files were changed, lost or added; "
            "run the slide again with --restart."
        )
    run = read_run(store) or {}
    with telling_damage(store):
        for statement in _untrue(store, run, receipt, recount):
            raise StoreDamagedError(
                f"{store / RECEIPT} states another {statement} than the store holds; "
                "run the slide again with --restart."
            )


def _untrue(store: Path, run: Mapping[str, Any], receipt: Mapping[str, Any], recount: bool) -> Iterator[str]:
    """Yield the statements of a receipt that the store itself belies."""
    yield from (key for key, value in run.items() if receipt.get(key) != value)
    counters, schema = receipt["counters"], ClassSchema.from_dict(run["schema"])
    counts = counters["pixels_per_label"]
    if sum(counts) != run["grid"]["width"] * run["grid"]["height"]:
        yield "number of pixels"
    areas = areas_mm2(schema, counts, run["mpp"])
    label_image = read_json(store / "labels" / "tissue" / "zarr.json")
    properties = label_image["attributes"]["ome"]["image-label"]["properties"]
    shown = {entry["class"]: entry.get("area_mm2") for entry in properties[1:]}
    if not receipt["areas_mm2"] == areas == shown:
        yield "area"
    flags = np.asarray(zarr.open_array(store / "tiles" / "flags", mode="r")[...])
    tiles, lost = (int(np.count_nonzero(flags & flag)) for flag in (FLAG_PREDICTED, FLAG_READ_ERROR))
    if (tiles, lost) != (counters["tiles"], counters["read_errors"]):
        yield "number of tiles"
    if counters["doubts"] != count_doubts(store):
        yield "number of doubtful tiles"
    if receipt["status"] != ("done" if tiles + lost else "empty"):
        yield "status"
    if recount and _pixels_per_label(store, len(counts)) != counts:
        yield "number of pixels per label"


def count_doubts(store: Path) -> dict[str, int]:
    """Return how many predicted tiles of a store are out of focus, show pen, a fold or a bubble."""
    flags = np.asarray(zarr.open_array(store / "tiles" / "flags", mode="r")[...])
    return {name: int(np.count_nonzero(flags & flag)) for name, flag in DOUBTS.items()}


def _pixels_per_label(store: Path, known: int) -> list[int]:
    labels = zarr.open_array(store / "labels" / "tissue" / "0", mode="r")
    counts = np.zeros(256, np.int64)
    for first in range(0, labels.shape[0], labels.chunks[0]):
        lines = np.asarray(labels[first : first + labels.chunks[0]])
        counts += np.bincount(lines.reshape(-1), minlength=256)
    return [*counts[:known].tolist(), *(count for count in counts[known:].tolist() if count)]
