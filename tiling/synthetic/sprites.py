"""The cast: small pictures of nuclei, ghosts, debris and red cells, and endless textures, drawn once per resolution."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tiling.synthetic.fields import Float

__all__ = ["MARGIN_UM", "Cast", "Kind", "cast"]

MARGIN_UM = 12.0
"""No sprite reaches further than this from its centre, µm."""


@dataclass(frozen=True)
class Kind:
    """All variants of one sprite.

    Attributes
    ----------
    stamps : tuple of tuple of (s, s) float32
        Amount of stain, by angle (of a half turn) and variant; odd side, the centre in the middle.
    """

    stamps: tuple[tuple[Float, ...], ...]

    @property
    def angles(self) -> int:
        """Number of drawn directions in half a turn."""
        return len(self.stamps)

    @property
    def variants(self) -> int:
        """Number of variants of each direction."""
        return len(self.stamps[0])


@dataclass(frozen=True)
class Cast:
    """Sprites and textures for one resolution.

    Attributes
    ----------
    tumour, spindle, lymphocyte, debris, ghost, red_cell, cell : Kind
    fine, coarse, cloud : (n, n) float32
        Periodic isotropic noise of mean 0 and standard deviation 1: grain of about 0.6, 1.6 and 6 µm.
    fibre : (n, n) float32
        Periodic fibres along the second axis, mean 0, standard deviation about 1; two pixels per pixel of the
        slide across the fibres, one along.
    """

    tumour: Kind
    spindle: Kind
    lymphocyte: Kind
    debris: Kind
    ghost: Kind
    red_cell: Kind
    cell: Kind
    fine: Float
    coarse: Float
    cloud: Float
    fibre: Float


def _contours(rng: np.random.Generator, count: int, rough: float, orders: int = 4) -> NDArray[np.float64]:
    """Return relative radii by direction, (count, 256): circles with ``orders`` random harmonics."""
    theta = np.linspace(0, 2 * np.pi, 256, endpoint=False)
    radii = np.ones((count, 256))
    for order in range(2, 2 + orders):
        size = rng.normal(0, rough / (order - 1), (count, 1))
        phase = rng.uniform(0, 2 * np.pi, (count, 1))
        radii += size * np.cos(order * theta + phase)
    return np.maximum(radii, 0.35)


def _radius(
    mpp: float, reach: float, theta: float, half_axes: tuple[float, float], contour: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the relative radius (1 at the border) of each pixel of a stamp, and its own axes' coordinates in µm."""
    half = max(1, round(reach / mpp))
    axis = np.arange(-half, half + 1) * mpp
    x, y = axis[None, :], axis[:, None]
    u, v = x * np.cos(theta) + y * np.sin(theta), -x * np.sin(theta) + y * np.cos(theta)
    a, b = half_axes
    direction = np.arctan2(v / b, u / a)
    bin_number = np.round(direction / (2 * np.pi) * 256).astype(int) % 256
    return np.hypot(u / a, v / b) / contour[bin_number], u, v


def _soft(radius: NDArray[np.float64], edge: float) -> NDArray[np.float64]:
    """Return 1 inside, 0 outside, with a linear border of relative width ``edge`` around 1."""
    return np.clip((1 - radius) / edge + 0.5, 0, 1)


def _grain(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> NDArray[np.float64]:
    field = ndimage.gaussian_filter(rng.standard_normal(shape), sigma)
    return np.asarray(field / max(float(field.std()), 1e-9))


def _nuclei(
    rng: np.random.Generator,
    mpp: float,
    angles: int,
    variants: int,
    length: tuple[float, float],
    width: tuple[float, float],
    rough: float,
    stain: tuple[float, float],
    clump: float,
    rim: float,
    nucleoli: float,
) -> Kind:
    """Draw nuclei: an outline, a darker membrane, clumped chromatin and now and then a nucleolus (sizes in µm)."""
    reach = min(MARGIN_UM - 1, 0.5 * length[1] * (1 + 2.5 * rough) + 1)
    contours = _contours(rng, variants, rough)
    sizes = np.stack([rng.uniform(*length, variants), rng.uniform(*width, variants)], axis=1) / 2
    amount = rng.uniform(*stain, variants)
    seeds = rng.integers(0, 2**31, variants)
    rows = []
    for angle in range(angles):
        row = []
        for n in range(variants):
            # The same nucleus in every direction: only its rotation differs.
            own = np.random.default_rng(seeds[n])
            a, b = sizes[n]
            radius, u, v = _radius(mpp, reach, np.pi * angle / angles, (a, b), contours[n])
            body = _soft(radius, 0.9 * mpp / b)
            chromatin = 1 + clump * _grain(own, radius.shape, 0.75 / mpp)
            chromatin += rim * np.exp(-np.square((radius - 0.88) / 0.16)) - 0.6 * rim * (radius < 0.7)
            for _ in range(own.poisson(nucleoli)):
                px, py = own.uniform(-0.4, 0.4) * a, own.uniform(-0.35, 0.35) * b
                chromatin += 0.9 * np.exp(-((u - px) ** 2 + (v - py) ** 2) / (2 * 0.6**2))
            row.append((amount[n] * body * np.clip(chromatin, 0.3, 2.0)).astype(np.float32))
        rows.append(tuple(row))
    return Kind(tuple(rows))


def _debris(rng: np.random.Generator, mpp: float, variants: int) -> Kind:
    """Draw nuclear dust: one to five dark uneven crumbs."""
    row = []
    for _ in range(variants):
        total = np.zeros(())
        for _ in range(rng.integers(1, 6)):
            size = rng.uniform(0.5, 1.7)
            contour = _contours(rng, 1, 0.22)[0]
            radius, _, _ = _radius(
                mpp, 5.5, rng.uniform(0, np.pi), (size * rng.uniform(1, 1.6), size), contour
            )
            shift = rng.normal(0, 1.6, 2) / mpp
            crumb = _soft(radius, 1.4 * mpp / size) * rng.uniform(0.7, 1.7)
            total = np.maximum(total, ndimage.shift(crumb, shift, order=1))
        row.append(total.astype(np.float32))
    return Kind((tuple(row),))


def _ghosts(rng: np.random.Generator, mpp: float, variants: int) -> Kind:
    """Draw dead cells: a faded nucleus, a faint outline."""
    row = []
    for _ in range(variants):
        size = rng.uniform(3.0, 5.0)
        axes = (size * rng.uniform(1, 1.4), size)
        radius, _, _ = _radius(mpp, 9.0, rng.uniform(0, np.pi), axes, _contours(rng, 1, 0.1)[0])
        body = _soft(radius, 2.5 * mpp / size)
        ring = np.exp(-np.square((radius - 0.95) / 0.2))
        picture = rng.uniform(0.10, 0.30) * body * (1 + 0.4 * _grain(rng, radius.shape, 1.0 / mpp))
        row.append(np.maximum(picture + rng.uniform(0.0, 0.2) * ring * (radius < 1.5), 0).astype(np.float32))
    return Kind((tuple(row),))


def _red_cells(rng: np.random.Generator, mpp: float, variants: int) -> Kind:
    """Draw red blood cells: discs with a paler middle."""
    row = []
    for _ in range(variants):
        axes = (rng.uniform(3.0, 3.7), rng.uniform(2.4, 3.5))
        radius, _, _ = _radius(mpp, 5.0, rng.uniform(0, np.pi), axes, _contours(rng, 1, 0.06)[0])
        disc = _soft(radius, 1.2 * mpp / 3) * (1 - 0.3 * np.exp(-np.square(radius / 0.5)))
        row.append((rng.uniform(0.8, 1.3) * disc).astype(np.float32))
    return Kind((tuple(row),))


def _cells(mpp: float) -> Kind:
    """Draw a cone: the largest of many cones makes creases half-way between nuclei, where cell borders are."""
    radius, _, _ = _radius(mpp, MARGIN_UM - 1, 0.0, (MARGIN_UM - 1, MARGIN_UM - 1), np.ones(256))
    return Kind(((np.clip(1 - radius, 0, 1).astype(np.float32),),))


def _texture(rng: np.random.Generator, side: int, sigma: tuple[float, float]) -> Float:
    field = ndimage.gaussian_filter(rng.standard_normal((side, side)), sigma, mode="wrap")
    return np.asarray((field - field.mean()) / field.std(), np.float32)


def _fibre(rng: np.random.Generator, mpp: float, side: int) -> Float:
    """Draw collagen: short threads of several widths."""
    across, along = 2 / mpp, 1 / mpp
    threads = 0.55 * _texture(rng, side, (0.5 * across, 6 * along))
    threads += 0.70 * _texture(rng, side, (1.4 * across, 11 * along))
    threads += 0.30 * _texture(rng, side, (0.5 * across, 1.8 * along))
    threads += 0.55 * _texture(rng, side, (4.5 * across, 16 * along))
    return np.asarray(threads, np.float32)


@lru_cache(maxsize=4)
def cast(mpp: float) -> Cast:
    """Draw the whole cast for a resolution of ``mpp`` µm per pixel; the same for every slide."""
    rng = np.random.default_rng(20220)
    side = 1024
    return Cast(
        tumour=_nuclei(rng, mpp, 12, 32, (6.5, 13.0), (5.0, 8.8), 0.065, (0.7, 1.3), 0.26, 0.24, 0.9),
        spindle=_nuclei(rng, mpp, 24, 10, (8.0, 16.0), (1.9, 3.4), 0.05, (0.9, 1.4), 0.12, 0.1, 0.0),
        lymphocyte=_nuclei(rng, mpp, 1, 72, (5.2, 6.8), (5.0, 6.4), 0.045, (1.25, 1.8), 0.16, 0.12, 0.0),
        debris=_debris(rng, mpp, 64),
        ghost=_ghosts(rng, mpp, 40),
        red_cell=_red_cells(rng, mpp, 24),
        cell=_cells(mpp),
        fine=_texture(rng, side, (0.55 / mpp, 0.55 / mpp)),
        coarse=_texture(rng, side, (1.5 / mpp, 1.5 / mpp)),
        cloud=_texture(rng, side, (6.0 / mpp, 6.0 / mpp)),
        fibre=_fibre(rng, mpp, side),
    )
