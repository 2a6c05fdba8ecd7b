"""ICC profiles: another reader's pixels in sRGB, for slides of scanners that embed what their colours mean."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from tiling.errors import SlideError
from tiling.slides.level import LevelReader

__all__ = ["SrgbReader", "in_srgb"]


def in_srgb(reader: LevelReader) -> LevelReader:
    """Return a reader whose pixels are sRGB; the same one, when the file has no colour profile.

    Raises
    ------
    SlideError
        When the profile is damaged or not for RGB.
    """
    return reader if reader.icc_profile is None else SrgbReader(reader, reader.icc_profile)


class SrgbReader:
    """A :class:`tiling.slides.level.LevelReader` that converts another one's pixels to sRGB."""

    def __init__(self, reader: LevelReader, profile: bytes) -> None:
        self._reader = reader
        try:
            self._transform = ImageCms.buildTransform(
                io.BytesIO(profile),
                ImageCms.createProfile("sRGB"),
                "RGB",
                "RGB",
                renderingIntent=ImageCms.Intent.PERCEPTUAL,
            )
        except (ImageCms.PyCMSError, OSError) as error:
            raise SlideError(
                f"{reader.path} has a colour profile that cannot be used ({error}); open it without ICC conversion."
            ) from error
        self.path = reader.path
        # A part of the slide's identity: stores made with and without conversion are told apart.
        self.format = f"{reader.format} in sRGB"
        self.vendor = reader.vendor
        self.levels = reader.levels
        self.bounds = reader.bounds
        self.statements = reader.statements
        self.held_bytes = reader.held_bytes
        self.fingerprint = reader.fingerprint
        self.beside = getattr(reader, "beside", ())
        self.centre_offset_nm = getattr(reader, "centre_offset_nm", None)
        self.icc_profile: bytes | None = None
        self.warnings = (*reader.warnings, "Colours were converted to sRGB by the slide's ICC profile.")
        self.files = reader.files

    def read_level(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return a part of one level in sRGB; see :class:`tiling.slides.level.LevelReader`."""
        stored = self._reader.read_level(level, x, y, width, height)
        converted = ImageCms.applyTransform(Image.fromarray(stored), self._transform)
        assert converted is not None
        result = np.array(converted)
        # White stands for "never scanned" and must not take the tint of the profile's white.
        result[(stored == 255).all(2)] = 255
        return result

    def close(self) -> None:
        """Close the reader below."""
        self._reader.close()
