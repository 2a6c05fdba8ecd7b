"""What is on disk: patch labels in file names, image and mask folders, and one check that lists every bad file.

The layout is that of BCSS-WSSS and LUAD-HistoSeg as published::

    train/*.png                      the label in the name, "…[1101].png" or "…[1 0 0 1].png"
    val/{img,mask}, test/{img,mask}  masks are palette PNGs, class i = i, the index after the last class = ignore
    train_PM/PM_<layer>/*.png        pseudo masks, same indexing

Nothing here needs torch. Pixels are read by :mod:`training.data.datasets`.
"""

from __future__ import annotations

import logging
import stat
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from tiling.errors import DataError
from tiling.files import read_json
from tiling.patch_files import PatchName
from training.data.mask_encoding import IGNORE, MaskEncoding

__all__ = [
    "IMAGE_SUFFIXES",
    "MASKS_JSON",
    "MaskedImage",
    "Patch",
    "Problem",
    "check_pairs",
    "check_patches",
    "check_pseudo_masks",
    "in_threads",
    "pseudo_mask_path",
    "recorded_layers",
    "report_or_raise",
]

_log = logging.getLogger("training")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_IMAGE_MODES = {"RGB", "RGBA", "L", "LA", "P", "1", "CMYK"}
_MASK_MODES = {"P", "L"}
_THREADS = 4
MASKS_JSON = "masks.json"
"""Beside the layers of pseudo masks: what they were made with."""
SAID_JSON = "said.json"
"""Beside the layers, where it is: patches whose mask somebody painted (``exact``) and patches that nobody labelled,
whose name holds what their mask was drawn with (``guessed``); lists of names without suffix."""
_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True)
class _Decoded:
    size: tuple[int, int]
    mode: str
    pixels: NDArray[np.uint8] | None


@dataclass(frozen=True)
class Problem:
    """One bad file and what is wrong with it."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Patch:
    """One training patch.

    Attributes
    ----------
    path : Path
    label : tuple of bool
        Which classes are somewhere in the patch, shape (C,); at least one is True.
    size : tuple of int
        Width and height in px.
    """

    path: Path
    label: tuple[bool, ...]
    size: tuple[int, int]

    @property
    def single(self) -> int | None:
        """The class of a patch that holds only one, else None."""
        return self.label.index(True) if sum(self.label) == 1 else None


@dataclass(frozen=True)
class MaskedImage:
    """One image of val or test with its mask; ``size`` is width and height in px."""

    image: Path
    mask: Path
    size: tuple[int, int]


def pseudo_mask_path(root: Path, layer: str, patch: Path) -> Path:
    """Return where the pseudo mask of a patch lies, as the reference has it: ``train_PM/PM_<layer>/<name>.png``."""
    return root / f"PM_{layer}" / f"{patch.stem}.png"


def recorded_layers(masks: Path) -> tuple[str, ...]:
    """Return the layers that our program wrote in a folder, deepest first; none for other programs'."""
    record = masks / MASKS_JSON
    return tuple(reversed(read_json(record)["layers"])) if record.is_file() else ()


def check_patches(folder: Path, num_classes: int) -> tuple[list[Patch], list[Problem]]:
    """Check a folder of labelled training patches.

    Parameters
    ----------
    folder : Path
    num_classes : int

    Returns
    -------
    patches : list of Patch
        The good ones, by name.
    problems : list of Problem
        Unreadable or stray files, bad labels, patches of an odd size, two files with one name.
    """
    files, problems = _images(folder)
    problems += _same_stem(files)
    patches: list[Patch] = []
    for path, image in zip(files, in_threads(_decoded, files), strict=True):
        label: tuple[bool, ...] | None = None
        try:
            label = PatchName.parse(path.name, num_classes).label
        except DataError as error:
            problems.append(Problem(path, str(error)))
        if isinstance(image, str):
            problems.append(Problem(path, image))
        elif image.mode not in _IMAGE_MODES:
            problems.append(Problem(path, f"is a {image.mode} image; save it as 8-bit RGB"))
        elif label is not None:
            patches.append(Patch(path, label, image.size))
    if patches:
        common = Counter(p.size for p in patches).most_common(1)[0][0]
        odd = [p for p in patches if p.size != common]
        problems += [Problem(p.path, f"is {_px(p.size)}, the others are {_px(common)}") for p in odd]
        patches = [p for p in patches if p.size == common]
    elif not problems:
        problems.append(Problem(folder, "holds no training patches"))
    return patches, problems


def check_pairs(
    folder: Path, num_classes: int, trust_masks: bool = False
) -> tuple[list[MaskedImage], list[Problem]]:
    """Check a folder with ``img`` and ``mask`` (val or test).

    Parameters
    ----------
    folder : Path
    num_classes : int
    trust_masks : bool
        Take labels as they are where all masks together look like another encoding.

    Returns
    -------
    pairs : list of MaskedImage
        The good ones, by name.
    problems : list of Problem
        Unreadable or stray files, images without a mask and the reverse, RGB masks, masks of another size than their
        image, labels that the schema does not have.
    """
    images, problems = _images(folder / "img")
    masks, more = _images(folder / "mask", (".png",))
    problems += more + _same_stem(images)
    by_name = {m.stem: m for m in masks}
    names = {i.stem for i in images}
    problems += [
        Problem(i, f"has no mask {folder / 'mask' / (i.stem + '.png')}")
        for i in images
        if i.stem not in by_name
    ]
    problems += [Problem(m, "is a mask without an image") for m in masks if m.stem not in names]
    candidates = [(i, by_name[i.stem]) for i in images if i.stem in by_name]

    def check(pair: tuple[Path, Path]) -> tuple[MaskedImage, MaskEncoding] | list[Problem]:
        image, mask = pair
        found: list[Problem] = []
        decoded = _decoded(image)
        if isinstance(decoded, str):
            return [Problem(image, decoded), *_mask_problems(mask, None, num_classes)[0]]
        if decoded.mode not in _IMAGE_MODES:
            found.append(Problem(image, f"is a {decoded.mode} image; save it as 8-bit RGB"))
        more, labels = _mask_problems(mask, decoded.size, num_classes)
        if labels is None or found:
            return found + more
        return MaskedImage(image, mask, decoded.size), MaskEncoding.of(image, labels, num_classes)

    pairs: list[MaskedImage] = []
    encoding: MaskEncoding | None = None
    for result in in_threads(check, candidates):
        if isinstance(result, list):
            problems += result
            continue
        pairs.append(result[0])
        encoding = result[1] if encoding is None else encoding + result[1]
    odd = None if encoding is None or trust_masks else encoding.problem(num_classes)
    if odd is not None:
        problems.append(Problem(folder / "mask", odd))
        pairs = []
    return pairs, problems


def check_pseudo_masks(
    root: Path, layers: Sequence[str], patches: Sequence[Patch], num_classes: int
) -> list[Problem]:
    """Check that every patch has a whole pseudo mask of its size in every layer.

    Parameters
    ----------
    root : Path
        The ``train_PM`` folder.
    layers : sequence of str
    patches : sequence of Patch
    num_classes : int

    Returns
    -------
    list of Problem
    """
    jobs = [(pseudo_mask_path(root, layer, p.path), p.size) for layer in layers for p in patches]

    def check(job: tuple[Path, tuple[int, int]]) -> list[Problem]:
        path, size = job
        if not path.is_file():
            return [Problem(path, "pseudo mask is missing; run python -m training.pseudo_masks")]
        return _mask_problems(path, size, num_classes)[0]

    return [problem for found in in_threads(check, jobs) for problem in found]


def report_or_raise(problems: Sequence[Problem], what: str, skip_bad: bool) -> None:
    """Raise one error that lists every problem; with ``skip_bad`` log the list and go on.

    Raises
    ------
    DataError
    """
    if not problems:
        return
    lines = [f"  {p.path}: {p.reason}" for p in sorted(problems, key=lambda p: (str(p.path), p.reason))]
    files = len({p.path for p in problems})
    count = f"{what} has {files} bad {'file' if files == 1 else 'files'}"
    if skip_bad:
        _log.warning("\n".join([f"{count}; left out:", *lines]))
        return
    raise DataError("\n".join([f"{count}; mend or move them, or pass --skip-bad to leave them out:", *lines]))


def _images(folder: Path, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> tuple[list[Path], list[Problem]]:
    """List the images of a folder, sorted by name; anything else in it is a stray file."""
    if not folder.is_dir():
        return [], [Problem(folder, "folder does not exist")]
    files, problems = [], []
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix.lower() in suffixes and not path.name.startswith("."):
            files.append(path)
        else:
            kind = "folder" if path.is_dir() else "file"
            problems.append(Problem(path, f"stray {kind}; only {', '.join(suffixes)} images belong here"))
    return files, problems


def _same_stem(files: Sequence[Path]) -> list[Problem]:
    """Masks are found by name without suffix, so a name may occur once."""
    count = Counter(f.stem for f in files)
    return [Problem(f, f"shares its name with another file ({f.stem}.*)") for f in files if count[f.stem] > 1]


def _decoded(path: Path, keep: bool = False) -> _Decoded | str:
    """Decode an image to its last pixel, or say what is wrong with the file."""
    try:
        # A pipe would be waited for, a device never ends.
        if not stat.S_ISREG(path.stat().st_mode):
            return "is no ordinary file"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # large is fine, and what is damaged raises
            with Image.open(path) as image:
                depth = str(image.tile[0][3]) if image.tile else ""
                if image.mode in _IMAGE_MODES and ";16" in depth:  # Pillow would cut the lower half off
                    return "has 16 bits a colour, and 8 are read; save it with 8"
                if keep and depth in ("L;2", "L;4"):  # Pillow would spread the labels over 0 … 255
                    return f"has {depth[-1]}-bit gray labels; save them with 8 bits, or as a palette"
                image.load()
                return _Decoded(image.size, image.mode, np.asarray(image) if keep else None)
    except Image.DecompressionBombError:
        return (
            f"has more than {2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6:.0f} million pixels; cut it into patches"
        )
    except UnidentifiedImageError:
        return "is not a readable image; save it again or leave it out"
    except (OSError, ValueError, SyntaxError, EOFError, OverflowError, IndexError) as error:
        return f"is cut off or damaged ({str(error).partition(chr(10))[0]}); copy it again"


def _mask_problems(
    path: Path, size: tuple[int, int] | None, num_classes: int
) -> tuple[list[Problem], NDArray[np.uint8] | None]:
    """Check one mask file; its labels are given back when they can be read at all."""
    mask = _decoded(path, keep=True)
    if isinstance(mask, str):
        return [Problem(path, mask)], None
    if mask.mode not in _MASK_MODES or mask.pixels is None:
        advice = "labels must be the indexes of a palette (P) or gray (L) PNG"
        return [Problem(path, f"is a {mask.mode} mask; {advice}")], None
    if size is not None and mask.size != size:
        return [Problem(path, f"is {_px(mask.size)}, its image is {_px(size)}")], None
    wrong = [str(v) for v in np.unique(mask.pixels) if v > num_classes and v != IGNORE]
    if wrong:
        known = f"0 … {num_classes - 1} and {num_classes} for ignore"
        return [Problem(path, f"holds label {', '.join(wrong)}; the schema knows {known}")], None
    return [], mask.pixels


def _px(size: tuple[int, int]) -> str:
    return f"{size[0]} × {size[1]} px"


def in_threads(function: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
    """Map in a few threads; order is kept. Decoding and disk waits release the GIL."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(function, items))
