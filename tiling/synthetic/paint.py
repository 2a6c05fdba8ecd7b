"""One block of a synthetic slide: regions, fibres, cytoplasm and cells become amounts of stain, then light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tiling.geometry import Box
from tiling.synthetic.fields import Float, noise, smoothstep, uniforms, upsample
from tiling.synthetic.layout import STEP, Layout, Pieces, label_fields, lay_out, regions
from tiling.synthetic.sprites import MARGIN_UM, Cast, Kind, cast
from tiling.synthetic.stain import Stain

__all__ = ["Scene", "paint", "paint_truth"]

OPTICS_UM = 0.28
"""Standard deviation of the blur of the optics, µm."""

T = TypeVar("T", np.float32, np.uint8)

SOFT = 0.1
"""More than half the width of any soft border between classes, in the unit of the class fields."""

TUMOUR, STROMA, LYMPHOCYTES, NECROSIS = 1, 2, 3, 4


@dataclass(frozen=True)
class Scene:
    """What is the same for every block of one slide.

    Attributes
    ----------
    seed : int
    mpp : float
        µm per pixel.
    region_um : float
        Typical size of a class region, µm.
    pieces : Pieces
    stain : Stain
    """

    seed: int
    mpp: float
    region_um: float
    pieces: Pieces
    stain: Stain

    def places(self, first: int, count: int, step: int = 1) -> NDArray[np.float64]:
        """Return ``count`` coordinates in µm: the centres of every ``step``-th pixel from ``first`` on."""
        return (np.float64(first) + step * np.arange(count, dtype=np.float64) + 0.5) * np.float64(self.mpp)


class _Grid:
    """The coarse grid around a block: reads fields at pixels and at points."""

    def __init__(self, scene: Scene, box: Box, margin: int) -> None:
        self.box = box
        self.left = (box.x - margin) // STEP * STEP
        self.top = (box.y - margin) // STEP * STEP
        columns = (box.right + margin - self.left) // STEP + 2
        lines = (box.bottom + margin - self.top) // STEP + 2
        self.xs = scene.places(self.left, columns, STEP)
        self.ys = scene.places(self.top, lines, STEP)
        self._mpp = scene.mpp

    def at_pixels(self, field: Float, around: int = 0) -> Float:
        """Interpolate ``field`` at the pixels of the block grown by ``around``."""
        box = self.box
        left, top = box.x - around - self.left, box.y - around - self.top
        return upsample(field, STEP, left, top, box.width + 2 * around, box.height + 2 * around)

    def at_points(self, field: NDArray[T], x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[T]:
        """Read ``field`` at the coarse place nearest to each pixel (x, y)."""
        return field[..., (y - self.top + STEP // 2) // STEP, (x - self.left + STEP // 2) // STEP]


def paint_truth(scene: Scene, box: Box) -> NDArray[np.uint8]:
    """Return the store labels of a block, (height, width) uint8."""
    grid = _Grid(scene, box, 0)
    found = regions(scene.seed, scene.region_um, scene.pieces, grid.xs, grid.ys)
    fields = (found.tissue, found.tumour, found.lymphocytes, found.necrosis)
    return label_fields(*(grid.at_pixels(f) for f in fields))


@dataclass(frozen=True)
class _Points:
    """Candidate places of cells: pixel coordinates, uniform numbers (4, n), and what lies there."""

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    u: Float
    label: NDArray[np.uint8]

    def only(self, keep: NDArray[np.bool_]) -> _Points:
        return _Points(self.x[keep], self.y[keep], self.u[:, keep], self.label[keep])


class _Painter:
    """Paints the block ``box`` of a scene."""

    def __init__(self, scene: Scene, box: Box) -> None:
        self.scene, self.box = scene, box
        self.cast: Cast = cast(scene.mpp)
        self.margin = int(np.ceil(MARGIN_UM / scene.mpp)) + 1
        # Sprites are painted on a canvas that holds any sprite whose centre can reach the block.
        self.pad = 2 * self.margin
        self.grid = _Grid(scene, box, self.margin + 2 * STEP)
        self.layout: Layout = lay_out(scene.seed, scene.region_um, scene.pieces, self.grid.xs, self.grid.ys)
        self.labels = self.layout.regions.labels()
        self.fine, self.coarse, self.cloud = (
            self.texture(table) for table in (self.cast.fine, self.cast.coarse, self.cast.cloud)
        )

    def canvas(self) -> Float:
        """Return an empty plane for sprites, grown by ``pad`` on each side."""
        return np.zeros((self.box.height + 2 * self.pad, self.box.width + 2 * self.pad), np.float32)

    def inner(self, plane: Float) -> Float:
        """Return the part of a plane that is the block."""
        return plane[self.pad : -self.pad, self.pad : -self.pad]

    def points(self, channel: int, spacing: float, jitter: float) -> _Points:
        """Return jittered lattice places (spacing in µm) in the block and the margin around it."""
        pixel, box = spacing / self.scene.mpp, self.box
        ix = np.arange((box.x - self.margin) // pixel - 1, (box.right + self.margin) // pixel + 2).astype(
            np.int64
        )
        iy = np.arange((box.y - self.margin) // pixel - 1, (box.bottom + self.margin) // pixel + 2).astype(
            np.int64
        )
        jx, jy = (a.ravel() for a in np.meshgrid(ix, iy))
        u = np.stack([uniforms(self.scene.seed, channel + k, jx, jy) for k in range(6)])
        shift = 0.5 * (jy % 2)
        x = np.floor((jx + shift + 0.5 + jitter * (u[4] - 0.5)) * pixel).astype(np.int64)
        y = np.floor((jy + 0.5 + jitter * (u[5] - 0.5)) * pixel).astype(np.int64)
        near = (x >= box.x - self.margin) & (x < box.right + self.margin)
        near &= (y >= box.y - self.margin) & (y < box.bottom + self.margin)
        x, y, u = x[near], y[near], u[:4, near]
        return _Points(x, y, u, self.grid.at_points(self.labels, x, y))

    def read(self, field: Float, points: _Points) -> Float:
        """Read a coarse field at points."""
        return self.grid.at_points(field, points.x, points.y)

    def stamp(self, plane: Float, kind: Kind, points: _Points, angle: Float | None = None) -> None:
        """Paint one sprite at each point; where sprites meet, the darker wins, so the order does not matter."""
        variant = (points.u[1] * kind.variants).astype(int)
        turn = np.zeros(len(variant), int)
        if angle is not None:
            turn = np.round(angle / np.pi * kind.angles).astype(int) % kind.angles
        half = kind.stamps[0][0].shape[0] // 2
        side = 2 * half + 1
        left = (points.x - self.box.x + self.pad - half).tolist()
        top = (points.y - self.box.y + self.pad - half).tolist()
        for x, y, a, n in zip(left, top, turn.tolist(), variant.tolist(), strict=True):
            part = plane[y : y + side, x : x + side]
            np.maximum(part, kind.stamps[a][n], out=part)

    def texture(self, table: Float) -> Float:
        """Cut a periodic texture at the place of the block."""
        side = len(table)
        lines = np.arange(self.box.y, self.box.bottom) % side
        columns = np.arange(self.box.x, self.box.right) % side
        return table[lines[:, None], columns]

    def fibres(self) -> Float:
        """Return the collagen of the block: 0 (cleft) to 1, bent along the fibre coordinates."""
        table, mpp = self.cast.fibre, self.scene.mpp
        sheets = []
        for along, across in zip(self.layout.along, self.layout.across, strict=True):
            u = (self.grid.at_pixels(along) * np.float32(1 / mpp)).astype(np.int32) % table.shape[1]
            v = (self.grid.at_pixels(across) * np.float32(2 / mpp)).astype(np.int32) % table.shape[0]
            sheets.append(table[v, u])
        threads = sheets[0] + (sheets[1] - sheets[0]) * self.grid.at_pixels(self.layout.sheet)
        # Loose tissue has more and wider clefts than dense collagen.
        threads += 0.45 - 0.4 * self.grid.at_pixels(self.layout.density)
        return smoothstep(threads, -2.0, 1.9)

    # -- cells ------------------------------------------------------------------------------------------------

    def tumour_cells(self, nuclei: Float, cells: Float) -> None:
        """Tumour nuclei: large, uneven, radial and crowded at the base of glands, everywhere in solid nests."""
        points = self.points(100, 8.2, 0.85)
        points = points.only(points.label == TUMOUR)
        edge, centre = self.read(self.layout.gland_edge, points), self.read(self.layout.gland_centre, points)
        lumen, septum = self.read(self.layout.lumen, points), self.read(self.layout.septum, points)
        relative = centre / np.maximum(centre + edge, 1e-3)
        gland = lumen > 0
        room = edge - np.maximum(septum, 0) > 2.6
        apical = (relative - lumen) * (centre + edge)
        depth = edge - np.maximum(septum, 0)
        # In a gland nuclei line the base, and few lie near the lumen.
        lining = np.where(depth < 12 + 6 * points.u[3], 1.0, 0.12)
        keep = room & np.where(gland, (apical > 7) & (points.u[0] < lining), points.u[0] < 0.93)
        points, gland = points.only(keep), gland[keep]
        radial = self.read(self.layout.gland_angle, points)
        angle = np.where(gland, radial + 0.5 * (points.u[2] - 0.5), radial + np.pi * (points.u[2] - 0.5))
        self.stamp(nuclei, self.cast.tumour, points, angle)
        self.stamp(cells, self.cast.cell, points)

    def spindle_cells(self, nuclei: Float) -> None:
        """Fibroblasts: sparse, thin, along the fibres; also in the strands between glands."""
        points = self.points(120, 15.0, 0.95)
        crowd = 0.55 + 0.18 * self.read(self.layout.density, points)
        strand = (
            self.read(self.layout.gland_edge, points)
            < np.minimum(self.read(self.layout.septum, points), 3) - 0.6
        )
        keep = ((points.label == STROMA) & (points.u[0] < crowd)) | ((points.label == TUMOUR) & strand)
        points = points.only(keep & (self.read(self.layout.vessel, points) > 2))
        sheet = self.read(self.layout.sheet, points) > 0.5
        angles = self.read(self.layout.fibre_angle, points)
        angle = np.where(sheet, angles[1], angles[0])
        across = self.read(self.layout.gland_angle, points) + np.float32(np.pi / 2)
        angle = np.where(points.label == TUMOUR, across, angle) + 0.3 * (points.u[2] - 0.5)
        self.stamp(nuclei, self.cast.spindle, points, angle)

    def lymphocytes(self, nuclei: Float, cells: Float) -> None:
        """Lymphocytes: packed in their regions, a few strays elsewhere, more of them close by."""
        points = self.points(140, 6.4, 1.05)
        crowd = self.read(self.layout.regions.lymphocytes, points)
        dense = 0.86 + 0.07 * self.read(self.layout.density, points)
        stray = np.array([0, 0.006, 0.02, 0, 0.004])[points.label] + 0.22 * np.exp(
            7 * np.minimum(crowd, 0)
        ) * (points.label == STROMA)
        keep = (
            (points.label > 0)
            & (self.read(self.layout.vessel, points) > 3)
            & (points.u[0] < np.where(points.label == LYMPHOCYTES, dense, stray))
        )
        points = points.only(keep)
        self.stamp(nuclei, self.cast.lymphocyte, points)
        self.stamp(cells, self.cast.cell, points.only(points.label == LYMPHOCYTES))

    def dead_cells(self, dust: Float, ghosts: Float) -> None:
        """Necrosis: ghosts of cells and clouds of nuclear dust."""
        points = self.points(160, 11.0, 0.9)
        points = points.only((points.label == NECROSIS) & (points.u[0] < 0.6))
        self.stamp(ghosts, self.cast.ghost, points)
        points = self.points(170, 7.0, 0.95)
        share = 0.16 + 0.14 * self.read(self.layout.density, points)
        points = points.only((points.label == NECROSIS) & (points.u[0] < share))
        self.stamp(dust, self.cast.debris, points)

    def red_cells(self, red: Float) -> None:
        """Red blood cells: in vessels, some of which are empty."""
        points = self.points(180, 5.2, 0.8)
        filled = 0.35 + 0.35 * self.read(self.layout.density, points)
        inside = self.read(self.layout.vessel, points) < -2.6
        self.stamp(red, self.cast.red_cell, points.only(inside & (points.u[0] < filled)))

    def endothelium(self, nuclei: Float) -> None:
        """Flat nuclei in the walls of vessels, along the wall."""
        points = self.points(190, 4.0, 0.9)
        vessel = self.layout.vessel
        ring = np.abs(self.read(vessel, points) - 1.2) < 1.6
        points = points.only(ring & (points.u[0] < 0.16))
        slope_y, slope_x = (np.asarray(slope, np.float32) for slope in np.gradient(vessel))
        angle = np.arctan2(self.read(slope_x, points), -self.read(slope_y, points))
        self.stamp(nuclei, self.cast.spindle, points, angle)

    # -- the picture ------------------------------------------------------------------------------------------

    def stains(self) -> tuple[Float, Float]:
        """Return the amounts of haematoxylin and eosin of the block, each (height, width)."""
        found = self.layout.regions
        nuclei, cells = self.canvas(), self.canvas()
        self.spindle_cells(nuclei)
        self.lymphocytes(nuclei, cells)
        fibre = self.fibres()
        stains = self.stroma(fibre)
        # A class is painted where its soft border can reach, so that a block's edge never cuts the border off.
        if float(self.layout.vessel.min()) < 10:
            self.vessels(stains, nuclei)
        if float(found.tumour.max()) > -SOFT:
            self.tumour_cells(nuclei, cells)
            self.epithelium(stains, self.inner(cells))
        if float(found.lymphocytes.max()) > -SOFT:
            self.infiltrate(stains, self.inner(cells), fibre)
        if float(found.necrosis.max()) > -SOFT:
            dust, ghosts = self.canvas(), self.canvas()
            self.dead_cells(dust, ghosts)
            self.necrosis(stains, self.inner(ghosts))
            np.maximum(nuclei, dust, out=nuclei)
        haematoxylin, eosin = stains
        dark = self.inner(nuclei)
        cover = np.minimum(dark * 2.2, 1)
        haematoxylin += (dark * (1 + 0.05 * self.fine) + 0.1 - haematoxylin) * cover
        eosin += (0.42 - eosin) * (0.8 * cover)
        inward = self.grid.at_pixels(found.tissue)
        eosin *= 1 + 0.25 * np.exp(np.minimum(-inward, 0) / 5)
        tissue = smoothstep(inward + 0.5 * self.coarse, 0.0, 2.0)
        # The optics: nothing is sharper than about half a micrometre.
        sigma = OPTICS_UM / self.scene.mpp
        haematoxylin = ndimage.gaussian_filter(np.maximum(haematoxylin, 0.01) * tissue, sigma, truncate=3)
        return haematoxylin, ndimage.gaussian_filter(np.maximum(eosin, 0.02) * tissue, sigma, truncate=3)

    def stroma(self, fibre: Float) -> tuple[Float, Float]:
        """Return the stains of collagen: pink, nearly white in the clefts."""
        eosin = 0.13 + 0.62 * fibre + 0.03 * self.coarse + 0.04 * self.cloud * fibre
        return 0.02 + 0.12 * fibre + 0.02 * self.coarse, eosin

    def vessels(self, stains: tuple[Float, Float], nuclei: Float) -> None:
        """Paint blood vessels into the stains: a wall, an empty lumen, red cells."""
        haematoxylin, eosin = stains
        vessel, red = self.grid.at_pixels(self.layout.vessel), self.canvas()
        self.red_cells(red)
        self.endothelium(nuclei)
        inside = smoothstep(vessel, 0.8, -0.8)
        wall = np.exp(-np.square((vessel - 2.2) / 1.6))
        eosin += 0.3 * wall
        haematoxylin += 0.08 * wall
        eosin += (0.04 + 1.0 * self.inner(red) - eosin) * inside
        haematoxylin *= 1 - 0.95 * inside

    def epithelium(self, stains: tuple[Float, Float], cone: Float) -> None:
        """Paint tumour into the stains: purple cytoplasm, strands of stroma left free between glands, lumina."""
        haematoxylin, eosin = stains
        read, layout = self.grid.at_pixels, self.layout
        tumour, edge, centre = read(layout.regions.tumour), read(layout.gland_edge), read(layout.gland_centre)
        relative, lumen = centre / np.maximum(centre + edge, 1e-3), read(layout.lumen)
        body = 0.50 + 0.07 * self.coarse + 0.04 * self.fine + 0.05 * self.cloud - 0.14 * (cone - 0.6)
        nest = smoothstep(edge - np.maximum(read(layout.septum), 0), -0.8, 0.8) * smoothstep(
            tumour, -0.02, 0.02
        )
        haematoxylin += (0.70 * body - haematoxylin) * nest
        eosin += (0.95 * body + 0.03 - eosin) * nest
        hollow = smoothstep((lumen - relative) * (centre + edge) + 0.8 * self.coarse, -1.0, 1.0)
        hollow *= (lumen > 0.05) & (tumour > 0)
        haematoxylin *= 1 - 0.93 * hollow
        eosin *= 1 - 0.90 * hollow

    def infiltrate(self, stains: tuple[Float, Float], cone: Float, fibre: Float) -> None:
        """Paint what lies between lymphocytes: thin cytoplasm, pale gaps."""
        haematoxylin, eosin = stains
        weight = smoothstep(self.grid.at_pixels(self.layout.regions.lymphocytes), -0.03, 0.05)
        gap = smoothstep(cone + 0.10 * self.coarse + 0.06 * self.cloud, 0.34, 0.76)
        haematoxylin += (0.05 + 0.22 * gap + 0.02 * self.coarse - haematoxylin) * weight
        eosin += (0.15 + 0.27 * gap + 0.15 * fibre * (1 - gap) + 0.03 * self.fine - eosin) * weight

    def necrosis(self, stains: tuple[Float, Float], ghost: Float) -> None:
        """Paint amorphous debris: pale, cloudy, granular, with ghosts of cells."""
        haematoxylin, eosin = stains
        weight = smoothstep(self.grid.at_pixels(self.layout.regions.necrosis), -0.03, 0.04)
        grain = 0.08 * self.cloud + 0.09 * self.coarse + 0.06 * self.fine
        eosin += (0.50 + grain + 0.35 * ghost - eosin) * weight
        haematoxylin += (0.10 + 0.05 * self.cloud + 0.03 * self.coarse + 0.8 * ghost - haematoxylin) * weight

    def picture(self) -> NDArray[np.uint8]:
        """Return the block as (height, width, 3) uint8."""
        scene, box = self.scene, self.box
        if float(self.layout.regions.tissue.max()) < -5:
            haematoxylin = eosin = np.zeros((box.height, box.width), np.float32)
        else:
            haematoxylin, eosin = self.stains()
        image = scene.stain.light_through(haematoxylin, eosin)
        lamp = 1 + 0.006 * noise(scene.seed, 90, 700.0, self.grid.xs, self.grid.ys)
        image *= self.grid.at_pixels(lamp)[..., None]
        image += (1.1 * self.fine)[..., None]
        np.clip(image + 0.5, 0, 255, out=image)
        return image.astype(np.uint8)


def paint(scene: Scene, box: Box) -> NDArray[np.uint8]:
    """Paint a block of a slide.

    Parameters
    ----------
    scene : Scene
    box : Box
        Level-0 pixels.

    Returns
    -------
    (height, width, 3) uint8
    """
    rim = int(np.ceil(3 * OPTICS_UM / scene.mpp))
    grown = Box(box.x - rim, box.y - rim, box.width + 2 * rim, box.height + 2 * rim)
    return np.ascontiguousarray(_Painter(scene, grown).picture()[rim:-rim, rim:-rim])
