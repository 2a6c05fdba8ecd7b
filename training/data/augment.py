"""Random changes to training patches, as pure functions of arrays and a numpy generator.

The generator is the only source of randomness, so a sample is a function of (seed, epoch, index): the same on a
resumed run and with any number of workers.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from training.settings import AugmentSettings

__all__ = ["augment", "coarser_colour", "crop", "mosaic", "recompress", "stain_jitter", "voronoi_cells"]

# Optical densities of haematoxylin, eosin and DAB (Ruifrok & Johnston 2001), rows of unit length.
_STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
_STAINS /= np.linalg.norm(_STAINS, axis=1, keepdims=True)
_UNMIX = np.linalg.inv(_STAINS)
_JAG = 6.0  # amplitude of the warp of Voronoi cells in px


def augment(
    image: NDArray[np.uint8],
    masks: Sequence[NDArray[np.uint8]],
    settings: AugmentSettings,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], list[NDArray[np.uint8]]]:
    """Flip, rotate, blur and stain a patch; masks follow the geometry only.

    Parameters
    ----------
    image : (H, W, 3) uint8
    masks : sequence of (H, W) uint8
    settings : AugmentSettings
    rng : numpy.random.Generator

    Returns
    -------
    image : (H, W, 3) uint8
    masks : list of (H, W) uint8
    """
    arrays: list[NDArray[np.uint8]] = [image, *masks]
    if rng.random() < settings.horizontal_flip:
        arrays = [a[:, ::-1] for a in arrays]
    if rng.random() < settings.vertical_flip:
        arrays = [a[::-1] for a in arrays]
    if settings.rotate and image.shape[0] == image.shape[1]:
        turns = int(rng.integers(4))
        arrays = [np.rot90(a, turns) for a in arrays]
    image, rest = arrays[0], arrays[1:]
    if settings.stain > 0:
        image = stain_jitter(image, settings.stain, rng)
    if rng.random() < settings.blur:
        blurred = Image.fromarray(np.ascontiguousarray(image)).filter(
            ImageFilter.GaussianBlur(float(rng.random()))
        )
        image = np.asarray(blurred)
    # Drawn only when it is on, so that the other presets keep their sequence of random numbers.
    if settings.jpeg > 0 and rng.random() < settings.jpeg:
        image = recompress(np.ascontiguousarray(image), rng)
    if settings.colour > 0 and rng.random() < settings.colour:
        image = coarser_colour(np.ascontiguousarray(image), int(rng.integers(2, 17)), rng)
    if settings.noise > 0:
        noise = rng.standard_normal(image.shape, np.float32) * np.float32(rng.random() * settings.noise)
        image = np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(image), [np.ascontiguousarray(m) for m in rest]


def stain_jitter(image: NDArray[np.uint8], strength: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Scale and shift the amounts of haematoxylin, eosin and DAB (Tellez et al., arXiv 1902.06543).

    Parameters
    ----------
    image : (H, W, 3) uint8
    strength : float
        Factors come from U(1 - s, 1 + s), shifts from U(-s, s), per stain.
    rng : numpy.random.Generator

    Returns
    -------
    (H, W, 3) uint8
    """
    factor = rng.uniform(1 - strength, 1 + strength, 3)
    shift = rng.uniform(-strength, strength, 3)
    # One colour matrix does unmixing, change and mixing.
    matrix = (_UNMIX * factor) @ _STAINS
    offset = shift @ _STAINS
    density = _DENSITY[image] @ matrix.astype(np.float32) + offset.astype(np.float32)
    return np.asarray(np.clip(np.exp(-density) * 255.0 + 0.5, 0, 255), np.uint8)


def recompress(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Compress a patch as another scanner would.

    Slides of the same glass differ most in this: quality from 30 to 95, colour at full, half or quarter resolution.
    A network that has seen only one of them changes its mind at every border when it meets another.

    Parameters
    ----------
    image : (H, W, 3) uint8
    rng : numpy.random.Generator

    Returns
    -------
    (H, W, 3) uint8
    """
    buffer = io.BytesIO()
    quality, subsampling = int(rng.integers(30, 96)), int(rng.integers(3))
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return np.asarray(Image.open(buffer).convert("RGB"))


def coarser_colour(image: NDArray[np.uint8], cell: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Keep the brightness of every pixel but give squares of ``cell`` pixels one colour, as compression does.

    Parameters
    ----------
    image : (H, W, 3) uint8
    cell : int
        Side of a square in pixels; where the squares begin is random.
    rng : numpy.random.Generator

    Returns
    -------
    (H, W, 3) uint8
    """
    height, width = image.shape[:2]
    ycc = Image.fromarray(image).convert("YCbCr")
    luma, *chroma = ycc.split()
    left, top = rng.integers(0, cell, 2).tolist()
    columns, rows = -(-(width + left) // cell), -(-(height + top) // cell)
    coarse = []
    for channel in chroma:
        padded = np.pad(
            np.asarray(channel),
            ((top, rows * cell - height - top), (left, columns * cell - width - left)),
            mode="edge",
        )
        small = Image.fromarray(padded).resize((columns, rows), Image.Resampling.BOX)
        large = small.resize((columns * cell, rows * cell), Image.Resampling.BILINEAR)
        coarse.append(large.crop((left, top, left + width, top + height)))
    return np.asarray(Image.merge("YCbCr", (luma, *coarse)).convert("RGB"))


_DENSITY = -np.log(np.maximum(np.arange(256), 1) / 255.0).astype(np.float32)


def crop(
    image: NDArray[np.uint8], masks: Sequence[NDArray[np.uint8]], side: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], list[NDArray[np.uint8]]]:
    """Cut a random square of ``side`` px out of a patch and its masks; 0 or a larger side keeps the patch.

    Parameters
    ----------
    image : (H, W, 3) uint8
    masks : sequence of (H, W) uint8
    side : int
    rng : numpy.random.Generator
    """
    height, width = image.shape[:2]
    if side <= 0 or side >= min(height, width):
        return image, list(masks)
    y, x = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    window = np.s_[y : y + side, x : x + side]
    return image[window], [m[window] for m in masks]


def mosaic(
    images: Sequence[NDArray[np.uint8]], masks: Sequence[NDArray[np.uint8]], cells: NDArray[np.integer]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Mix single-label patches into one patch whose mask is exact.

    Parameters
    ----------
    images : sequence of (H, W, 3) uint8
        Patches that hold one class each.
    masks : sequence of (H, W) uint8
        Their class, or ignore.
    cells : (H, W) int
        Which patch each pixel comes from.

    Returns
    -------
    image : (H, W, 3) uint8
    mask : (H, W) uint8
    """
    rows, columns = np.ogrid[: cells.shape[0], : cells.shape[1]]
    return np.stack(images)[cells, rows, columns], np.stack(masks)[cells, rows, columns]


def voronoi_cells(
    shape: tuple[int, int], pieces: int, sources: int, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Partition a patch into irregular cells and give each a source patch.

    Borders of real tissue are neither straight nor on a grid, so the cells are Voronoi regions of random points in a
    slightly warped plane.

    Parameters
    ----------
    shape : (H, W)
    pieces : int
        Number of cells.
    sources : int
        Number of patches to draw from; each is used at least once if ``pieces`` ≥ ``sources``.
    rng : numpy.random.Generator

    Returns
    -------
    (H, W) int
        Index of the source patch.
    """
    height, width = shape
    points = rng.random((pieces, 2)) * (height, width)
    rows, columns = np.indices(shape, dtype=np.float32)
    for _ in range(3):
        wave_y, wave_x = rng.uniform(0.02, 0.15, 2)
        phase = rng.uniform(0, 2 * np.pi, 2)
        rows, columns = (
            rows + np.float32(_JAG / 3) * np.sin(columns * wave_x + phase[0]).astype(np.float32),
            columns + np.float32(_JAG / 3) * np.sin(rows * wave_y + phase[1]).astype(np.float32),
        )
    distance = (rows[..., None] - points[:, 0]) ** 2 + (columns[..., None] - points[:, 1]) ** 2
    owner = np.concatenate(
        [np.arange(min(sources, pieces)), rng.integers(sources, size=max(0, pieces - sources))]
    )
    return np.asarray(rng.permutation(owner)[np.argmin(distance, axis=-1)], np.intp)
