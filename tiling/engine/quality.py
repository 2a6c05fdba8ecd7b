"""What is wrong with a tile that was read all the same: out of focus, pen, a fold, a bubble. A doubt, never a verdict.

Flags are computed from the tile alone, in the thread that read it, on no more of its pixels than the question needs:
colours 2 µm apart, focus along lines 8 µm apart. All sums are of whole numbers, so a flag does not depend on which
tiles were judged together. Nothing is dropped because of flags; *Review* shows such tiles and the receipt counts them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tiling.store import FLAG_BLUR, FLAG_BUBBLE, FLAG_FOLD, FLAG_PEN

__all__ = ["tile_quality"]

_ONE = 256  # of these make a density of 1
_DENSITY = np.rint(_ONE * np.log(246.0 / (np.arange(256) + 1.0))).astype(
    np.int16
)  # of gray levels, against white
_STAINED = 0.15 * _ONE  # density of what is no glass
_LEAST_TISSUE = 0.15  # share of a tile below which its focus is not judged
_LEAST_STRUCTURE = 0.03 * _ONE  # deviation of the density below which there is nothing to be sharp or not
_SHARP = 0.1  # part of the structure that lies in the finest details of a tile in focus
_FINEST_UM, _COARSEST_UM = (
    1.0,
    1.5,
)  # focus is judged at the first, as models see it; coarser tiles do not show it
_STRUCTURE_UM = 16.0  # what varies within this length is structure
_LINES_UM, _COLOURS_UM = 8.0, 2.0  # between the lines, between the colours that are looked at
_LAYERS_UM, _FOLDED = (
    12.0,
    1.45 * _ONE,
)  # mean density of two layers of tissue; one of dense nuclei has about 1
_GRAY_UM = 6.0
_PEN_SHARE, _FOLD_SHARE, _BUBBLE_SHARE = 0.1, 0.08, 0.4

Densities = NDArray[np.int16]
Whole = NDArray[np.int32]
Bools = NDArray[np.bool_]
Shares = NDArray[np.float64]


def tile_quality(tiles: NDArray[np.uint8], mpp: float) -> NDArray[np.uint8]:
    """Return the doubts about each of some tiles.

    Parameters
    ----------
    tiles : (N, H, W, 3) uint8
    mpp : float
        µm per pixel.

    Returns
    -------
    (N,) uint8
        Sums of ``FLAG_BLUR``, ``FLAG_PEN``, ``FLAG_FOLD`` and ``FLAG_BUBBLE``; 0 for a tile without doubts.
    """
    flags = np.zeros(len(tiles), np.uint8)
    step = _pixels(_COLOURS_UM, mpp)
    colours = _densities(np.moveaxis(_spaced(_spaced(tiles, step, 1), step, 2), 3, 0))
    total = colours.sum(0, dtype=np.int16)
    stained = total > 3 * _STAINED
    if not stained.any():
        return flags
    chroma: Densities = colours.max(0) - colours.min(0)
    pen = _shares(_pen(colours, total, chroma)) > _PEN_SHARE
    flags[pen] |= FLAG_PEN
    flags[(_shares(_means(total, _pixels(_LAYERS_UM, step * mpp)) > 3 * _FOLDED) > _FOLD_SHARE) & ~pen] |= (
        FLAG_FOLD
    )
    # Gray without stain and without cells: a bubble, the edge of a cover slip, a shadow.
    gray = _means(stained & (12 * chroma < total), _pixels(_GRAY_UM, step * mpp)) > 0.9
    flags[(_shares(gray) > _BUBBLE_SHARE) & ~pen] |= FLAG_BUBBLE
    factor = _pixels(_FINEST_UM, mpp)
    if factor * mpp <= _COARSEST_UM:
        flags[_are_blurred(tiles[..., 1], factor, mpp)] |= FLAG_BLUR
    return flags


def _pixels(um: float, mpp: float) -> int:
    return max(1, round(um / mpp))


def _spaced(tiles: NDArray[np.uint8], step: int, axis: int) -> NDArray[np.uint8]:
    """Return every so many pixels along an axis, from the middle of the first step."""
    first = min(step // 2, tiles.shape[axis] - 1)
    return tiles[(slice(None),) * axis + (slice(first, None, step),)]


def _densities(levels: NDArray[np.uint8]) -> Densities:
    densities: Densities = np.take(_DENSITY, np.ascontiguousarray(levels))
    return densities


def _shares(where: Bools) -> Shares:
    """Return the share of each tile, (N, h, w) → (N,)."""
    return np.asarray(np.count_nonzero(where, axis=(1, 2)) / where[0].size)


def _means(values: NDArray[np.generic], side: int) -> Shares:
    """Return the means of squares of pixels, (N, h, w) → (N, h // side, w // side); smaller tiles are one."""
    count, height, width = values.shape
    down, across = min(side, height), min(side, width)
    rows, columns = height // down, width // across
    lines = values[:, : rows * down, : columns * across].reshape(count, rows, down, columns * across)
    sums = lines.sum(2, dtype=np.int32).reshape(count, rows, columns, across).sum(3, dtype=np.int32)
    return np.asarray(sums / (down * across))


def _pen(colours: Densities, total: Densities, chroma: Densities) -> Bools:
    """Return what has the colour of ink; the rules of :mod:`tiling.plan.ink` for single pixels."""
    red, green, blue = colours
    blue_or_green = (red > 0.5 * _ONE) & (green < np.float32(0.68) * red)
    blue_or_green |= (red > 1.5 * _ONE) & (green < np.float32(0.88) * red)
    black = (total > 4.2 * _ONE) & (chroma < np.float32(0.35 / 3) * total)
    red_ink = (green > 1.8 * _ONE) & (blue > np.float32(0.62) * green) & (red < np.float32(0.25) * green)
    return np.asarray(blue_or_green | black | red_ink)


def _are_blurred(green: NDArray[np.uint8], factor: int, mpp: float) -> Bools:
    """Whether little of the structure of the stained parts is fine, (N, H, W) → (N,); False for tiny tiles."""
    step, side = factor * _pixels(_LINES_UM, factor * mpp), _pixels(_STRUCTURE_UM, factor * mpp)
    along_rows = _spaced(_spaced(green, step, 1), factor, 2)
    along_columns = _spaced(_spaced(green, step, 2), factor, 1).swapaxes(1, 2)
    fine, structure, stained, pieces = _details(along_rows, side) + _details(along_columns, side)
    is_judged = (stained >= _LEAST_TISSUE * pieces) & (structure > _LEAST_STRUCTURE**2 * stained)
    return np.asarray(is_judged & (fine < _SHARP**2 * structure))


def _details(lines: NDArray[np.uint8], side: int) -> Shares:
    """Cut lines (N, L, W) into pieces of some pixels and look at those that are mostly stained.

    Returns
    -------
    (4, N) float64
        Sums of their variance between neighbouring pixels and of all their variance, their number, that of all pieces.
    """
    density = _densities(lines)
    pieces = max(density.shape[2] - 2, 0) // side
    end = 1 + pieces * side
    inner = density[:, :, 1:end]
    fine = 2 * inner  # three times what a pixel has more than the mean of itself and its neighbours
    fine -= density[:, :, : end - 1]
    fine -= density[:, :, 2 : end + 1]
    shape = (*density.shape[:2], pieces, side)
    inner, fine = inner.reshape(shape), fine.reshape(shape)
    stained = np.count_nonzero(inner > _STAINED, axis=3) >= side / 2
    spread = side * _squares(inner) - inner.sum(3, dtype=np.int64) ** 2
    found = [
        (_squares(fine) * stained).sum((1, 2)) / (9 * side),
        (spread * stained).sum((1, 2)) / side**2,
        stained.sum((1, 2)),
        np.full(len(lines), stained[0].size),
    ]
    return np.stack(found)


def _squares(values: Densities) -> NDArray[np.int64]:
    """Return the sums of squares along the last axis."""
    return np.asarray(np.einsum("...i,...i", values, values, dtype=np.int64))
