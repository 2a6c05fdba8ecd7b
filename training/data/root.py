"""The checked data of a run: what both stages train on and are validated with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiling.classes import ClassSchema
from tiling.errors import DataError
from tiling.files import read_json
from training.data.files import (
    MASKS_JSON,
    SAID_JSON,
    MaskedImage,
    Patch,
    check_pairs,
    check_patches,
    check_pseudo_masks,
    in_threads,
    pseudo_mask_path,
    report_or_raise,
)

__all__ = ["TrainingData", "data_digest", "read_data"]

LEAST_SIDE = 16
"""Side in px of the smallest patch: a bundle's tile has at least as many."""


@dataclass(frozen=True)
class TrainingData:
    """Checked patches with everything that belongs to them.

    Attributes
    ----------
    root : Path
    schema : ClassSchema
    train : tuple of Patch
    val : tuple of MaskedImage
        May be empty.
    masks : Path or None
        Folder of the pseudo masks; stage 1 has none.
    layers : tuple of str
        Their layers, deepest first.
    made_with : mapping
        What the pseudo masks were made with.
    exact : frozenset of str
        Names without suffix of the patches whose mask somebody painted.
    guessed : frozenset of str
        The same of patches that nobody labelled.
    """

    root: Path
    schema: ClassSchema
    train: tuple[Patch, ...]
    val: tuple[MaskedImage, ...] = ()
    masks: Path | None = None
    layers: tuple[str, ...] = ()
    made_with: Mapping[str, Any] = field(default_factory=dict)
    exact: frozenset[str] = frozenset()
    guessed: frozenset[str] = frozenset()

    @property
    def labelled(self) -> tuple[Patch, ...]:
        """The patches that somebody labelled; all of them where nobody labelled any."""
        return tuple(p for p in self.train if p.path.stem not in self.guessed) or self.train

    @property
    def side(self) -> int:
        """Side of the patches in px (the shorter one)."""
        return min(self.train[0].size)

    @property
    def digest(self) -> str:
        """Changes when a file is added, removed or replaced."""
        files = [p.path for p in self.train] + [f for p in self.val for f in (p.image, p.mask)]
        if self.masks is not None:
            files += [
                pseudo_mask_path(self.masks, layer, p.path) for layer in self.layers for p in self.train
            ]
            files += [said for said in (self.masks / SAID_JSON,) if said.is_file()]
        return data_digest(files)

    @property
    def remarks(self) -> list[str]:
        """What is possible but seldom meant, one sentence each."""
        found, labels = [], [p.label for p in self.train]
        names = self.schema.names
        absent = [n for n, held in zip(names, zip(*labels, strict=True), strict=True) if not any(held)]
        if absent:
            found.append(f"No patch holds {', '.join(absent)}; the model will never find it.")
        if len(names) == 1:
            found.append(
                "The schema has one class, so every patch holds it and there is nothing to tell it from; "
                "add a class for all other tissue."
            )
        elif len(set(labels)) == 1 and len(labels) > 1:
            found.append("All patches have the same label, so nothing tells the classes apart.")
        return found


def read_data(
    root: Path,
    schema: ClassSchema,
    skip_bad: bool = False,
    *,
    masks: Path | None = None,
    layers: Sequence[str] = (),
    trust_masks: bool = False,
) -> TrainingData:
    """Check ``train``, its pseudo masks in every layer when there are any, and, when it exists, ``val``.

    Parameters
    ----------
    root : Path
    schema : ClassSchema
    skip_bad : bool
        Leave bad files out instead of stopping.
    masks : Path, optional
        Folder of pseudo masks, for stage 2.
    layers : sequence of str
    trust_masks : bool
        Take labels as they are where they look like another encoding.

    Raises
    ------
    DataError
        One report of all bad files; patches that are too small for any network.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; --dataroot must hold train/ and may hold val/.")
    train, problems = check_patches(root / "train", len(schema))
    made_with: dict[str, Any] = {}
    exact, guessed = frozenset[str](), frozenset[str]()
    if masks is not None:
        exact, guessed = _said(masks)
        missing = check_pseudo_masks(masks, layers, train, len(schema))
        problems += missing
        bad = {p.path.stem for p in missing}
        train = [p for p in train if p.path.stem not in bad]
        record = masks / MASKS_JSON
        made_with = read_json(record) if record.is_file() else {}
        if not set(layers) <= set(made_with.get("layers", ())):
            made_with = {"made_with": "unknown"}
    val: list[MaskedImage] = []
    if (root / "val").is_dir():
        val, more = check_pairs(root / "val", len(schema), trust_masks)
        problems += more
    report_or_raise(problems, str(root), skip_bad)
    if not train:
        what = " with pseudo masks" if masks is not None else ""
        raise DataError(f"{root / 'train'} holds no good patch{what}.")
    data = TrainingData(
        root, schema, tuple(train), tuple(val), masks, tuple(layers), made_with, exact, guessed
    )
    if data.side < LEAST_SIDE:
        raise DataError(
            f"{root / 'train'} holds patches of {data.side} px, and networks need {LEAST_SIDE}; cut larger ones."
        )
    return data


def _said(masks: Path) -> tuple[frozenset[str], frozenset[str]]:
    """Return which masks somebody painted, and which patches nobody labelled; none where nothing is said."""
    path = masks / SAID_JSON
    if not path.is_file():
        return frozenset(), frozenset()
    try:
        said = read_json(path)
        lists = [said.get(key, []) for key in ("exact", "guessed")]
        if not all(isinstance(names, list) and all(isinstance(n, str) for n in names) for names in lists):
            raise ValueError("names are wanted")
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{path} cannot be read ({error}); make the pseudo masks again.") from error
    exact, guessed = map(frozenset, lists)
    return exact, guessed


def data_digest(files: Sequence[Path]) -> str:
    """Return a short digest of names and contents, 16 hex digits."""

    def one(path: Path) -> bytes:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").digest()

    ordered = sorted(set(files))
    digest = hashlib.sha256()
    for path, content in zip(ordered, in_threads(one, ordered), strict=True):
        digest.update(f"{path.parent.name}/{path.name}\0".encode("utf-8", "surrogateescape") + content)
    return digest.hexdigest()[:16]
