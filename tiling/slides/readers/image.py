"""Plain pictures (PNG, JPEG) through Pillow: small regions cut from slides, held in memory whole."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from tiling.errors import SlideError
from tiling.files import unreadable
from tiling.geometry import Box
from tiling.slides.level import Level, LevelReader
from tiling.slides.readers.brightfield import GREY_WARNING, refuse_bits
from tiling.slides.readers.oriented import oriented
from tiling.slides.statements import Statement, tag_statement

__all__ = ["MAX_PIXELS", "ImageReader", "open_reader"]

MAX_PIXELS = 150_000_000
"""Largest picture that is decoded (450 MB): PNG and JPEG cannot be read in parts."""

_DIRECT = {"RGB", "L", "P", "RGBA", "LA", "PA", "CMYK", "YCbCr"}


def open_reader(path: Path) -> LevelReader | None:
    """Open a PNG or JPEG; None when the file is neither.

    Raises
    ------
    SlideError
        When the picture is damaged, too large to be held whole, or has more than 8 bits.
    """
    if path.is_dir():
        return None
    try:
        with warnings.catch_warnings():
            # Pillow warns from 89 megapixels on; ours is the limit that counts.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(path, formats=("PNG", "JPEG"))
        with opened as image:
            if image.width * image.height > MAX_PIXELS:
                raise _too_large(path)
            if any(";16" in str(tile[3]) for tile in image.tile):  # Pillow would cut the lower half off
                raise refuse_bits(path, "16-bit")
            if image.mode not in _DIRECT:
                raise refuse_bits(path, "1-bit" if image.mode == "1" else f"16-bit or deeper ({image.mode})")
            reader = ImageReader(path, image)
            return oriented(reader, image.getexif().get(ExifTags.Base.Orientation, 1))
    except UnidentifiedImageError:
        return None
    except Image.DecompressionBombError as error:
        raise _too_large(path) from error
    except OSError as error:
        if error.errno is not None:  # not the picture's fault
            raise
        raise SlideError(f"{path} is a damaged picture ({error}); copy or export it again.") from error
    # Pillow raises whatever the decoder of a damaged picture stumbles over (struct, zlib, index, value errors).
    except Exception as error:
        if isinstance(error, SlideError):
            raise
        damaged = f"{path} is a damaged picture ({error}); copy or export it again."
        raise unreadable(path, error, damaged) from error


_STRIP = 256
"""Rows that are copied at once: Pillow makes two copies of what it hands on, and the whole of a slide is large."""


class ImageReader:
    """A :class:`tiling.slides.level.LevelReader` over one decoded picture."""

    format = "image"
    fingerprint = ""

    def __init__(self, path: Path, image: Image.Image) -> None:
        self.path = path
        self.files = (path,)
        self.vendor = (image.format or "").lower()
        self.warnings: tuple[str, ...] = (GREY_WARNING,) if image.mode in ("L", "LA") else ()
        self.icc_profile: bytes | None = image.info.get("icc_profile")
        self.statements = tuple(_statements(image))
        image.load()
        self._pixels: NDArray[np.uint8] = np.empty((image.height, image.width, 3), np.uint8)
        # Older Pillow takes a strip for a bomb, too: the file's size was judged where it was opened.
        rows = max(1, min(_STRIP, (Image.MAX_IMAGE_PIXELS or 2**31) // max(1, image.width)))
        for top in range(0, image.height, rows):
            bottom = min(top + rows, image.height)
            self._pixels[top:bottom] = np.asarray(_opaque(image.crop((0, top, image.width, bottom))))
        self.held_bytes = self._pixels.nbytes
        self.levels = (Level(image.width, image.height, 1.0),)
        self.bounds = Box(0, 0, image.width, image.height)

    def read_level(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return a part of the picture, (height, width, 3) uint8, white outside."""
        if level != 0:
            raise IndexError(level)
        inside = Box(x, y, width, height).intersection(self.bounds)
        result = np.full((height, width, 3), 255, np.uint8)
        result[inside.y - y : inside.bottom - y, inside.x - x : inside.right - x] = self._pixels[
            inside.y : inside.bottom, inside.x : inside.right
        ]
        return result

    def close(self) -> None:
        """Do nothing: the file was closed after decoding."""


def _opaque(image: Image.Image) -> Image.Image:
    """Return a picture in RGB, on white where it is transparent."""
    if "A" not in image.getbands() and "transparency" not in image.info:
        return image if image.mode == "RGB" else image.convert("RGB")
    rgba = image.convert("RGBA")
    opaque = Image.new("RGB", image.size, (255, 255, 255))
    opaque.paste(rgba, mask=rgba.getchannel("A"))
    return opaque


def _statements(image: Image.Image) -> Iterator[Statement]:
    """Yield what a picture says of its resolution: in its format's own way, and in EXIF."""
    exif = image.getexif()
    x, y = image.info.get("dpi", (None, None))
    tag = ExifTags.Base
    across, down, unit = (exif.get(t) for t in (tag.XResolution, tag.YResolution, tag.ResolutionUnit))
    found = (
        tag_statement(x, y, 2, f"{image.format} dpi"),
        tag_statement(across, down, unit, "EXIF XResolution"),
    )
    yield from (said for said in found if said is not None and said.numbers)


def _too_large(path: Path) -> SlideError:
    return SlideError(
        f"{path} has more than {MAX_PIXELS // 1_000_000} megapixels, and PNG and JPEG cannot be read in "
        "parts; convert it with: vips tiffsave IN OUT.tif --tile --pyramid --compression jpeg --bigtiff."
    )
