"""Where things are: tissue pieces, class regions, glands and the direction of fibres, on a coarse grid of the plane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiling.synthetic.fields import Float, fractal, noise, uniforms

__all__ = ["STEP", "Layout", "Pieces", "Regions", "lay_out", "regions"]

STEP = 4
"""Pixels between the places of the coarse grid."""


@dataclass(frozen=True)
class Pieces:
    """The rough shapes of the tissue pieces of a slide, in µm.

    Attributes
    ----------
    centres, axes : (n, 2) float64
        Centre and half axes (x, y) of each piece.
    extent : tuple of float
        Width and height of the slide.
    """

    centres: NDArray[np.float64]
    axes: NDArray[np.float64]
    extent: tuple[float, float]

    @classmethod
    def of_slide(cls, seed: int, width: float, height: float) -> Pieces:
        """Spread pieces over a slide of ``width`` × ``height`` µm: one in each cell of a near-square grid."""
        cell = min(0.8 * min(width, height), 9000.0)
        columns, lines = max(1, round(width / cell)), max(1, round(height / cell))
        ix, iy = (a.ravel() for a in np.meshgrid(np.arange(columns), np.arange(lines)))
        size = np.array([width / columns, height / lines])
        u = np.stack([uniforms(seed, 10 + k, ix, iy).astype(np.float64) for k in range(4)], axis=1)
        centres = (np.stack([ix, iy], axis=1) + 0.5 + 0.08 * (u[:, :2] - 0.5)) * size
        return cls(centres, (0.385 + 0.045 * u[:, 2:]) * size, (width, height))

    def inside(self, seed: int, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> Float:
        """Return roughly the distance to the nearest tissue edge in µm, positive inside; (len(ys), len(xs))."""
        best = np.full((len(ys), len(xs)), -1e4, np.float32)
        for (cx, cy), (ax, ay) in zip(self.centres, self.axes, strict=True):
            reach = 1.7
            if xs[-1] < cx - reach * ax or xs[0] > cx + reach * ax:
                continue
            if ys[-1] < cy - reach * ay or ys[0] > cy + reach * ay:
                continue
            dx, dy = (xs - cx) / ax, (ys - cy) / ay
            radius = (np.abs(dx)[None, :] ** 2.6 + np.abs(dy)[:, None] ** 2.6) ** (1 / 2.6)
            np.maximum(best, ((1 - radius) * min(ax, ay)).astype(np.float32), out=best)
        # The glass goes on around the tissue.
        width, height = self.extent
        border = np.minimum(np.minimum(xs, width - xs)[None, :], np.minimum(ys, height - ys)[:, None])
        scale = float(self.axes.min())
        np.minimum(best, 1.5 * border - 0.08 * scale, out=best, casting="same_kind")
        octaves = (
            (0.45 * scale, 0.10 * scale),
            (0.16 * scale, 0.045 * scale),
            (min(30.0, 0.1 * scale), min(5.0, 0.02 * scale)),
            (8.0, 1.6),
            (3.5, 0.8),
        )
        return best + fractal(seed, 20, octaves, xs, ys)


@dataclass(frozen=True)
class Regions:
    """The fields that decide the class of each place; each is (h, w) float32 on the coarse grid.

    Attributes
    ----------
    tissue : distance to the edge of the tissue in µm, positive inside.
    tumour, lymphocytes, necrosis : positive where the class is; later ones cover earlier ones; stroma is the rest.
    """

    tissue: Float
    tumour: Float
    lymphocytes: Float
    necrosis: Float

    def labels(self) -> NDArray[np.uint8]:
        """Return store labels of the four synthetic classes, (h, w) uint8."""
        return label_fields(self.tissue, self.tumour, self.lymphocytes, self.necrosis)


def label_fields(tissue: Float, tumour: Float, lymphocytes: Float, necrosis: Float) -> NDArray[np.uint8]:
    """Turn class fields of any resolution into store labels: 0 glass, 1 TUM, 2 STR, 3 LYM, 4 NEC."""
    labels = np.where(tumour > 0, np.uint8(1), np.uint8(2))
    labels[lymphocytes > 0] = 3
    labels[necrosis > 0] = 4
    labels[tissue <= 0] = 0
    return labels


def regions(
    seed: int, size: float, pieces: Pieces, xs: NDArray[np.float64], ys: NDArray[np.float64]
) -> Regions:
    """Compute the class fields at the places ``ys`` × ``xs`` (µm); ``size`` is the typical size of a region in µm."""
    borders = ((0.15 * size, 0.14), (0.05 * size, 0.045), (0.018 * size, 0.018))
    tumour = fractal(seed, 30, ((0.75 * size, 0.8), (0.35 * size, 0.35), *borders), xs, ys) + np.float32(0.2)
    clumps = fractal(seed, 31, ((0.45 * size, 0.9), (0.2 * size, 0.3), *borders), xs, ys)
    # Follicles and infiltrates sit in the stroma, most of all where it meets the tumour.
    margin = np.exp(-np.square((tumour + 0.35) / 0.45))
    lymphocytes = clumps - np.float32(1.05) + np.float32(0.65) * margin - np.maximum(tumour, 0)
    death = fractal(seed, 32, ((0.5 * size, 0.8), (0.22 * size, 0.3), *borders), xs, ys)
    # Tumour dies in its middle, far from the vessels of the stroma.
    necrosis = death - np.float32(0.95) + np.float32(0.6) * np.clip(tumour, -2, 1.2)
    return Regions(pieces.inside(seed, xs, ys), tumour, lymphocytes, necrosis)


@dataclass(frozen=True)
class Layout:
    """All that the painter must know about places, each (h, w) float32 on the coarse grid.

    Attributes
    ----------
    regions : Regions
    gland_centre : distance to the middle of the gland, µm
    gland_edge : distance to the border between two glands, µm
    gland_angle : direction from the middle of the gland, radians
    lumen : relative radius of the gland's lumen, 0 where it has none
    septum : half width of the stroma strand between glands, µm; negative where glands are fused
    along, across : coordinates along and across the fibres, µm, for two sheets of fibres (2, h, w)
    fibre_angle : direction of the fibres of both sheets, radians (2, h, w)
    sheet : share of the second sheet, 0 to 1
    density : slow variation, mean 0, standard deviation 1
    vessel : distance to the wall of the nearest blood vessel, µm, negative inside
    """

    regions: Regions
    gland_centre: Float
    gland_edge: Float
    gland_angle: Float
    lumen: Float
    septum: Float
    along: Float
    across: Float
    fibre_angle: Float
    sheet: Float
    density: Float
    vessel: Float


def _glands(
    seed: int, xs: NDArray[np.float64], ys: NDArray[np.float64], spacing: float
) -> tuple[Float, Float, Float, Float]:
    """Return centre, edge, angle and lumen of :class:`Layout`: a warped Voronoi diagram of the plane."""
    wx = xs[None, :] + 22 * noise(seed, 40, 45, xs, ys) + 5 * noise(seed, 41, 13, xs, ys)
    wy = ys[:, None] + 22 * noise(seed, 42, 45, xs, ys) + 5 * noise(seed, 43, 13, xs, ys)
    px, py = wx / spacing, wy / spacing
    cx, cy = np.floor(px).astype(np.int64), np.floor(py).astype(np.int64)
    left, top = int(cx.min()) - 1, int(cy.min()) - 1
    columns = np.arange(left, int(cx.max()) + 2)[None, :]
    lines = np.arange(top, int(cy.max()) + 2)[:, None]
    jitter_x = columns + 0.5 + 0.8 * (uniforms(seed, 44, columns, lines) - 0.5)
    jitter_y = lines + 0.5 + 0.8 * (uniforms(seed, 45, columns, lines) - 0.5)
    kind = uniforms(seed, 46, columns, lines)
    first = np.full(px.shape, np.inf)
    second = np.full(px.shape, np.inf)
    angle = np.zeros(px.shape)
    lumen = np.zeros(px.shape, np.float32)
    for oy in (-1, 0, 1):
        for ox in (-1, 0, 1):
            j, i = cy - top + oy, cx - left + ox
            dx, dy = px - jitter_x[j, i], py - jitter_y[j, i]
            distance = np.sqrt(dx * dx + dy * dy)
            nearer = distance < first
            second = np.where(nearer, first, np.minimum(second, distance))
            first = np.where(nearer, distance, first)
            angle = np.where(nearer, np.arctan2(dy, dx), angle)
            lumen = np.where(nearer, kind[j, i], lumen)
    lumen = np.where(lumen < 0.36, 0, 0.10 + 0.50 * (lumen - 0.36)).astype(np.float32)
    edge = (second - first) * (0.5 * spacing)
    return (first * spacing).astype(np.float32), edge.astype(np.float32), angle.astype(np.float32), lumen


def _vessels(seed: int, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> Float:
    """Return the vessel field of :class:`Layout`: uneven tubes, cut across, on every other place of a lattice."""
    spacing = 130.0
    wx = xs[None, :] + 5 * noise(seed, 70, 14, xs, ys)
    wy = ys[:, None] + 5 * noise(seed, 71, 14, xs, ys)
    ix = np.arange(np.floor(xs[0] / spacing) - 1, np.floor(xs[-1] / spacing) + 2).astype(np.int64)
    iy = np.arange(np.floor(ys[0] / spacing) - 1, np.floor(ys[-1] / spacing) + 2).astype(np.int64)
    best = np.full((len(ys), len(xs)), 1e3, np.float32)
    places_x, places_y = (a.ravel() for a in np.meshgrid(ix, iy))
    drawn = np.stack([uniforms(seed, 72 + k, places_x, places_y) for k in range(5)], axis=1).tolist()
    for jx, jy, u in zip(places_x.tolist(), places_y.tolist(), drawn, strict=True):
        if u[0] < 0.45:
            continue
        dx, dy = wx - (jx + u[1]) * spacing, wy - (jy + u[2]) * spacing
        theta, radius, stretch = np.pi * u[3], 5 + 13 * u[4] ** 2, 1 + 1.2 * u[0]
        a, b = dx * np.cos(theta) + dy * np.sin(theta), -dx * np.sin(theta) + dy * np.cos(theta)
        np.minimum(best, (np.hypot(a / stretch, b) - radius).astype(np.float32), out=best)
    return best


def _fibres(
    seed: int, tumour: Float, xs: NDArray[np.float64], ys: NDArray[np.float64]
) -> tuple[Float, Float, Float]:
    """Return along, across and fibre_angle of :class:`Layout`: straight bundles that are bent by smooth noise."""
    bend_x = (
        40 * noise(seed, 50, 85, xs, ys) + 7 * noise(seed, 51, 22, xs, ys) + 2.0 * noise(seed, 52, 8, xs, ys)
    )
    bend_y = (
        40 * noise(seed, 53, 85, xs, ys) + 7 * noise(seed, 54, 22, xs, ys) + 2.0 * noise(seed, 55, 8, xs, ys)
    )
    place_x, place_y = xs[None, :] + bend_x, ys[:, None] + bend_y
    turn = float(uniforms(seed, 56, np.array([0]), np.array([0]))[0]) * np.pi
    step = float(xs[1] - xs[0])
    along, across, angles = [], [], []
    for theta in (turn, turn + 1.2):
        u = place_x * np.cos(theta) + place_y * np.sin(theta)
        # Fibres run along the tumour's border near it.
        v = -place_x * np.sin(theta) + place_y * np.cos(theta) + 60 * tumour
        slope_y, slope_x = np.gradient(v, step)
        along.append(u.astype(np.float32))
        across.append(v.astype(np.float32))
        angles.append(np.arctan2(-slope_x, slope_y).astype(np.float32))
    return np.stack(along), np.stack(across), np.stack(angles)


def lay_out(
    seed: int, size: float, pieces: Pieces, xs: NDArray[np.float64], ys: NDArray[np.float64]
) -> Layout:
    """Compute the whole layout at the places ``ys`` × ``xs`` (µm, evenly spaced). See :func:`regions`."""
    found = regions(seed, size, pieces, xs, ys)
    centre, edge, angle, lumen = _glands(seed, xs, ys, 85.0)
    septum = 2.4 + 2.6 * noise(seed, 60, 60, xs, ys)
    along, across, fibre_angle = _fibres(seed, found.tumour, xs, ys)
    sheet = np.clip(0.5 + 1.6 * noise(seed, 61, 55, xs, ys), 0, 1)
    density = noise(seed, 62, 40, xs, ys)
    vessel = np.maximum(_vessels(seed, xs, ys), 12 + 60 * found.tumour)
    vessel = np.maximum(vessel, np.maximum(12 + 60 * found.lymphocytes, 12 + 60 * found.necrosis))
    return Layout(
        found, centre, edge, angle, lumen, septum, along, across, fibre_angle, sheet, density, vessel
    )
