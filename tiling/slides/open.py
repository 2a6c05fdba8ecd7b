"""Opening a slide: the formats, asked one after the other, and the slide over the first that knows the file.

Other packages add formats with :func:`register_format`, or by an entry point of the group ``napari_wsss.slide_formats``
whose object is a :class:`SlideFormat`.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tiling.address import is_address
from tiling.checks import flag
from tiling.errors import SlideError
from tiling.files import lacks_memory, unreadable
from tiling.plugins import loaded, others
from tiling.slides.level import LevelReader
from tiling.slides.readers import srgb
from tiling.slides.slide import Slide

__all__ = ["GROUP", "SlideFormat", "open_slide", "register_format", "slide_suffixes"]

GROUP = "napari_wsss.slide_formats"
"""Entry-point group of slide formats."""


@dataclass(frozen=True)
class SlideFormat:
    """A family of slide files and who reads it.

    Attributes
    ----------
    name : str
        Of the family; no two formats share one.
    open_reader : callable or str
        Takes a path, returns an open :class:`tiling.slides.LevelReader`, or None when the file is of another format.
        ``module:name`` loads it when it is first needed.
    suffixes : tuple of str
        What such files are called (``.svs``), in lower case: folder scans look for these. A format of another
        package is asked for files of its suffixes only, and before ours.
    """

    name: str
    open_reader: Callable[[Path], LevelReader | None] | str
    suffixes: tuple[str, ...] = ()

    def open(self, path: Path) -> LevelReader | None:
        """Return an open reader, or None when the file is of another format."""
        found: LevelReader | None = loaded(self.open_reader)(path)
        return found


_READERS = "tiling.slides.readers"
_OWN = (
    # Asked in this order.
    SlideFormat("ome-zarr", f"{_READERS}.ome_zarr:open_reader"),
    SlideFormat(
        "openslide",
        f"{_READERS}.openslide:open_reader",
        (".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".svslide", ".vms", ".vmu", ".czi", ".dcm"),
    ),
    SlideFormat("tiff", f"{_READERS}.tiff:open_reader", (".tif", ".tiff", ".btf", ".tf2", ".tf8", ".qptiff")),
    SlideFormat("image", f"{_READERS}.image:open_reader"),
)


_UNREAD = {
    ".vsi": "Olympus VSI",
    ".isyntax": "Philips iSyntax",
    ".i2syntax": "Philips iSyntax",
    ".kfb": "KFBio",
    ".kfbf": "KFBio",
    ".sdpc": "SQRAY SDPC",
    ".mds": "Motic",
    ".mdsx": "Motic",
    ".tmap": "UNIC TMAP",
    ".lif": "Leica LIF",
    ".nd2": "Nikon ND2",
    ".zvi": "Zeiss ZVI",
    ".oir": "Olympus OIR",
}
"""Slides of scanners that nothing here reads. Folder scans find them, so that each fails by its name instead of being
passed over; and some (VSI) are TIFFs of a label and a thumbnail, which must not be taken for the scan."""

_IN_PIECES = _OWN[:1]
"""What is read piece by piece, so that a slide need not come whole over a network."""


def register_format(kind: SlideFormat) -> None:
    """Make a slide format known: :func:`open_slide` asks it, and folder scans find its suffixes.

    Raises
    ------
    ValueError
        When there is a format of that name, or it names no suffix.
    """
    known = _others()
    if kind.name in {*known, *(own.name for own in _OWN)}:
        raise ValueError(f"there is a slide format {kind.name!r} already; register it under another name")
    if not kind.suffixes or not all(s.startswith(".") and s == s.lower() for s in kind.suffixes):
        raise ValueError(f"the slide format {kind.name!r} needs suffixes such as '.abc', in lower case")
    known[kind.name] = kind


def slide_suffixes() -> frozenset[str]:
    """Return the suffixes that a folder scan takes for slides, those of scanners that are not read among them.

    Plain images (PNG, JPEG) are not among them: folders of slides are full of labels and thumbnails.
    """
    read = {suffix for kind in (*_OWN, *_others().values()) for suffix in kind.suffixes}
    return frozenset(read | _UNREAD.keys())


def open_slide(
    path: str | Path, mpp: float | None = None, mpp_source: str = "--mpp", *, icc: bool = False
) -> Slide:
    """Open a slide of any known format.

    Parameters
    ----------
    path : str or Path
        A file, the folder of a DICOM series or OME-Zarr image, or the address (http, https, s3) of an OME-Zarr image.
    mpp : float, optional
        µm per level-0 pixel; overrides what the file says.
    mpp_source : str
        How the user gave ``mpp``, for messages and the receipt.
    icc : bool
        Convert colours to sRGB by the profile in the file, if it has one. Off by default: models are trained on
        colours as they are stored.

    Returns
    -------
    Slide
        Also when the file does not say its resolution: then ``slide.mpp`` is None.

    Raises
    ------
    SlideError
        When the path is missing, no format knows the file, or it is damaged.
    ResolutionError
        When ``mpp`` is implausible.
    """
    flag("icc", icc)
    path = Path(path)
    if not is_address(path):
        _refuse_no_file(path)
    suffix = path.suffix.casefold()
    problems: list[SlideError] = []
    asked = tuple(other for other in _others().values() if suffix in other.suffixes)
    if not asked and suffix in _UNREAD:
        raise SlideError(
            f"{path} is a slide in the format {_UNREAD[suffix]}, which is not read here; convert it to OME-TIFF or "
            "OME-Zarr, for example with Bio-Formats."
        )
    for kind in (*asked, *_own(path)):
        try:
            reader = kind.open(path)
        except SlideError as error:
            problems.append(error)
            continue
        except OSError as error:
            raise SlideError(f"{path} cannot be read: {error.strerror or error}; check the file.") from error
        except Exception as error:
            if lacks_memory(error):
                raise unreadable(path, error, str(error)) from error
            if kind in _OWN:
                raise
            problem = SlideError(
                f"{path} cannot be read by the slide format {kind.name!r}: {error}; tell its makers."
            )
            problem.__cause__ = error
            problems.append(problem)
            continue
        if reader is not None:
            return _as_slide(reader, mpp, mpp_source, icc)
    if problems:
        raise problems[-1]
    raise SlideError(
        f"{path} is not a slide that OpenSlide, tifffile, Pillow or zarr can read; "
        "check that the file is complete, or convert it to a pyramidal TIFF."
    )


def _own(path: Path) -> tuple[SlideFormat, ...]:
    """Return the formats of ours that a path can have."""
    if is_address(path):
        return _IN_PIECES
    # A file is never in pieces, and need not wait until zarr is loaded.
    return _OWN if path.is_dir() else tuple(own for own in _OWN if own not in _IN_PIECES)


@cache
def _others() -> dict[str, SlideFormat]:
    """Return the formats of other packages by name; one that cannot be loaded is warned of, once, and left out."""
    return others(GROUP, SlideFormat, "slide format", [own.name for own in _OWN])


def _refuse_no_file(path: Path) -> None:
    """Refuse what is neither a file nor a folder: opening a pipe would wait for ever."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise SlideError(f"{path} does not exist; check the path.") from None
    except (OSError, ValueError) as error:  # a name too long, no permission; a zero byte
        reason = getattr(error, "strerror", None) or error
        raise SlideError(f"{path} cannot be read: {reason}; check the path.") from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise SlideError(f"{path} is a pipe or a device, not a file; name the slide itself.")


def _as_slide(reader: LevelReader, mpp: float | None, mpp_source: str, icc: bool) -> Slide:
    """Return the slide over a reader; close the reader when that fails."""
    try:
        if icc:
            reader = srgb.in_srgb(reader)
        return Slide(reader, mpp, mpp_source)
    except SlideError:
        reader.close()
        raise
