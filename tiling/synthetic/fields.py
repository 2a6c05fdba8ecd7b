"""Randomness as a function of position: hashed lattices, so any part of a plane can be made alone.

Everything here is element-wise in the coordinates. The value at a place is therefore the same, bit for bit,
whatever region is asked for; that is what keeps blocks free of seams.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Float", "fractal", "noise", "smoothstep", "uniforms", "upsample"]

Float = NDArray[np.float32]

# A cubic B-spline of uniform values has a small spread; this brings it to a standard deviation of about one.
_UNIT_SPREAD = np.float32(3.6)


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit integers (the finaliser of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def uniforms(seed: int, channel: int, ix: NDArray[np.int64], iy: NDArray[np.int64]) -> Float:
    """Return one uniform number in [0, 1) for each lattice place.

    Parameters
    ----------
    seed, channel : int
        Together they name an independent random lattice.
    ix, iy : int64
        Lattice coordinates of any sign; they are broadcast.

    Returns
    -------
    float32
        Shape of the broadcast coordinates.
    """
    key = np.array([seed * 0x9E3779B97F4A7C15 + channel * 0xD1B54A32D192ED03 & 0xFFFFFFFFFFFFFFFF], np.uint64)
    start = _mix(key)[0]
    column = _mix(ix.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + start)
    mixed = _mix(column + iy.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F))
    return (mixed >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def _taps(coordinates: NDArray[np.float64], spacing: float) -> tuple[NDArray[np.int64], Float]:
    """Return the first lattice index and the four cubic B-spline weights, shape (4, n), of each coordinate."""
    position = coordinates / spacing
    first = np.floor(position).astype(np.int64)
    t = (position - first).astype(np.float32)
    t2, t3 = t * t, t * t * t
    weights = np.stack([(1 - t) ** 3, 3 * t3 - 6 * t2 + 4, -3 * t3 + 3 * t2 + 3 * t + 1, t3])
    return first - 1, (weights / np.float32(6)).astype(np.float32)


def noise(seed: int, channel: int, spacing: float, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> Float:
    """Return smooth noise of mean 0 and standard deviation about 1 on the grid ``ys`` × ``xs``.

    Parameters
    ----------
    seed, channel : int
        Name of the noise.
    spacing : float
        Lattice spacing, in the unit of the coordinates; bumps are about twice as wide.
    xs, ys : float64, ascending
        Coordinates of the columns and lines.

    Returns
    -------
    (len(ys), len(xs)) float32
    """
    (ix, wx), (iy, wy) = _taps(xs, spacing), _taps(ys, spacing)
    columns, lines = np.arange(ix[0], ix[-1] + 4), np.arange(iy[0], iy[-1] + 4)
    lattice = uniforms(seed, channel, columns[None, :], lines[:, None]) - np.float32(0.5)
    lattice *= 2 * _UNIT_SPREAD
    ix, iy = ix - ix[0], iy - iy[0]
    wide: Float = sum((lattice[:, ix + k] * wx[k] for k in range(1, 4)), lattice[:, ix] * wx[0])
    tall: Float = sum((wide[iy + k] * wy[k][:, None] for k in range(1, 4)), wide[iy] * wy[0][:, None])
    return tall


def fractal(
    seed: int,
    channel: int,
    octaves: tuple[tuple[float, float], ...],
    xs: NDArray[np.float64],
    ys: NDArray[np.float64],
) -> Float:
    """Return a sum of noises; ``octaves`` holds pairs (spacing, amplitude). Shape (len(ys), len(xs)) float32."""
    total = np.zeros((len(ys), len(xs)), np.float32)
    for number, (spacing, amplitude) in enumerate(octaves):
        total += np.float32(amplitude) * noise(seed, channel + 1000 * number, spacing, xs, ys)
    return total


def upsample(coarse: Float, step: int, left: int, top: int, width: int, height: int) -> Float:
    """Interpolate linearly from a coarse grid to pixels.

    Parameters
    ----------
    coarse : (h, w) float32
        Values at the pixels ``step * i`` of a frame.
    step : int
        Pixels between coarse places.
    left, top, width, height : int
        Wanted pixels in that frame; the coarse grid must reach one place beyond them.

    Returns
    -------
    (height, width) float32
    """
    t = (np.arange(step) / step).astype(np.float32)
    first_x, first_y = left // step, top // step
    columns, lines = (left + width - 1) // step - first_x + 1, (top + height - 1) // step - first_y + 1
    left, top = left - first_x * step, top - first_y * step
    part = coarse[first_y : first_y + lines + 1, first_x : first_x + columns + 1].astype(
        np.float32, copy=False
    )
    # All pixels between two places at once: an outer product with the step's weights, no gathering.
    wide = part[:, :-1, None] + (part[:, 1:] - part[:, :-1])[..., None] * t
    wide = wide.reshape(lines + 1, columns * step)[:, left : left + width]
    tall = (wide[1:] - wide[:-1])[:, None] * t[:, None]
    tall += wide[:-1, None]
    return tall.reshape(lines * step, width)[top : top + height]


def smoothstep(values: Float, low: float, high: float) -> Float:
    """Rise smoothly from 0 at ``low`` to 1 at ``high`` (or fall, if ``high`` < ``low``); shape is kept."""
    t = np.clip((values - np.float32(low)) * np.float32(1.0 / (high - low)), 0, 1)
    result: Float = t * t * (3 - 2 * t)
    return result
