"""From a label raster of any size to valid polygons, block by block and without seams.

A block of the raster becomes the faces of a planar graph: its edges are the pixel edges between different labels
and the block's rim. Faces are 4-connected regions with their holes, valid by construction. Faces that touch the rim
wait and are united with their continuation in the next blocks; a region is handed out as soon as no later block can
touch it. Memory holds one row of blocks and the regions still open, never the raster.

Simplification happens inside a block on all faces together, the background among them, so that neighbours keep
common edges; points on the rims of blocks stay where they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import shapely
from numpy.typing import NDArray

__all__ = ["LabelRaster", "Region", "label_regions"]


class LabelRaster(Protocol):
    """What is asked of a label image: its shape, and blocks by slicing (numpy and zarr arrays have both)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(height, width)."""
        ...

    def __getitem__(self, key: tuple[slice, slice]) -> Any:
        """Return a block, uint8."""
        ...


@dataclass(frozen=True)
class Region:
    """One 4-connected region of a label.

    Attributes
    ----------
    label : int
        Store label, at least 1.
    polygon : shapely.Polygon
        Outline and holes in raster pixels, (0, 0) at the outer corner of the first pixel.
    first : (int, int)
        Line and column of the region's first pixel in reading order: names the region, however it was cut.
    """

    label: int
    polygon: shapely.Polygon
    first: tuple[int, int]


@dataclass(frozen=True)
class _Faces:
    """The faces of one block, and which of them own the pixels along the rims."""

    polygons: NDArray[np.object_]
    labels: NDArray[np.uint8]
    first: NDArray[np.int64]  # (n, 2) line, column
    top: NDArray[np.int64]
    bottom: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]


def label_regions(labels: LabelRaster, *, block: int = 1024, tolerance: float = 0.0) -> Iterator[Region]:
    """Yield all regions of all labels but 0.

    Parameters
    ----------
    labels : (height, width) uint8
        Numpy or zarr array; read block by block.
    block : int
        Side of a block in pixels. The result without simplification does not depend on it.
    tolerance : float
        Simplification in pixels: corners whose triangle is smaller than its square go (Visvalingam–Whyatt).

    Yields
    ------
    Region
        Row of blocks by row of blocks, in reading order of the first pixel among those that end there.
    """
    height, width = labels.shape
    open_regions = _OpenRegions()
    above = np.full(width, -1, np.int64)  # region under each pixel of the last line done, -1 for background
    for y in range(0, height, block):
        below = np.full(width, -1, np.int64)
        left = np.full(min(block, height - y), -1, np.int64)
        for x in range(0, width, block):
            pixels = np.asarray(labels[y : y + block, x : x + block])
            faces = _faces(pixels, tolerance)
            ids = open_regions.add(faces, y, x)
            columns = slice(x, x + pixels.shape[1])
            open_regions.join(above[columns], ids[faces.top])
            open_regions.join(left, ids[faces.left])
            below[columns] = ids[faces.bottom]
            left = ids[faces.right]
        above = open_regions.roots(below)
        yield from open_regions.close_all_but(above)
    yield from open_regions.close_all_but(np.empty(0, np.int64))


class _OpenRegions:
    """Regions that later blocks may continue: disjoint sets of pieces (union–find)."""

    def __init__(self) -> None:
        self._count = 0
        self._parent: dict[int, int] = {}
        self._pieces: dict[int, list[Any]] = {}
        self._first: dict[int, tuple[int, int]] = {}
        self._label: dict[int, int] = {}

    def add(self, faces: _Faces, y: int, x: int) -> NDArray[np.int64]:
        """Take the faces of the block at (y, x); return the region id of each, -1 for background."""
        kept = np.flatnonzero(faces.labels)
        ids = np.full(len(faces.labels) + 1, -1, np.int64)
        ids[kept] = np.arange(self._count, self._count + len(kept))
        self._count += len(kept)
        corner = np.array([x, y], np.float64)
        moved = shapely.transform(faces.polygons[kept], lambda points: points + corner)
        for face, polygon in zip(kept, moved, strict=True):
            region = int(ids[face])
            line, column = faces.first[face]
            self._parent[region] = region
            self._pieces[region] = [polygon]
            self._first[region] = int(line) + y, int(column) + x
            self._label[region] = int(faces.labels[face])
        return ids

    def join(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> None:
        """Unite regions of the same label on both sides of a seam, given pixel by pixel."""
        both = (one >= 0) & (other >= 0)
        for a, b in np.unique(np.stack([one[both], other[both]], axis=1), axis=0).tolist():
            if self._label[a] != self._label[b]:
                continue
            a, b = self._find(a), self._find(b)
            if a == b:
                continue
            if len(self._pieces[a]) < len(self._pieces[b]):
                a, b = b, a
            self._parent[b] = a
            self._pieces[a] += self._pieces.pop(b)
            self._first[a] = min(self._first[a], self._first.pop(b))

    def roots(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Replace every id by the one that now stands for its region."""
        known, places = np.unique(ids, return_inverse=True)
        found = np.array([self._find(int(i)) if i >= 0 else -1 for i in known], np.int64)
        return found[places]

    def close_all_but(self, still_open: NDArray[np.int64]) -> Iterator[Region]:
        """Hand out and forget all regions that the given ids do not name."""
        stay = set(np.unique(still_open).tolist())
        done = sorted((self._first[region], region) for region in self._pieces if region not in stay)
        for first, region in done:
            pieces = self._pieces.pop(region)
            yield Region(self._label[region], _united(pieces), first)
        self._first = {region: self._first[region] for region in self._pieces}
        self._label = {region: self._label[region] for region in self._pieces}
        self._parent = {region: region for region in self._pieces}

    def _find(self, region: int) -> int:
        root = region
        while self._parent[root] != root:
            root = self._parent[root]
        while self._parent[region] != root:
            self._parent[region], region = root, self._parent[region]
        return root


def _united(pieces: list[Any]) -> Any:
    return pieces[0] if len(pieces) == 1 else shapely.union_all(pieces)


def _faces(pixels: NDArray[np.uint8], tolerance: float) -> _Faces:
    """Cut one block into faces, simplified together if asked for."""
    height, width = pixels.shape
    segments: Any = shapely.linestrings(_boundary_segments(pixels))
    arcs = shapely.line_merge(shapely.multilinestrings(segments))
    polygons = shapely.get_parts(shapely.polygonize(shapely.get_parts(arcs)))  # long arcs: twice as fast
    rings = shapely.get_exterior_ring(polygons)
    coordinates, owner = shapely.get_coordinates(rings, return_index=True)
    points = coordinates.astype(np.int64)
    # The top-left corner of a face's first pixel is the first of its outline's points in reading order.
    key = points[:, 1] * (width + 1) + points[:, 0]
    first = np.minimum.reduceat(key, np.flatnonzero(np.diff(owner, prepend=-1)))
    line, column = first // (width + 1), first % (width + 1)
    rims = [
        _owners_along(points, owner, axis, at, length)
        for axis, at, length in ((1, 0, width), (1, height, width), (0, 0, height), (0, width, height))
    ]
    if tolerance > 0:
        polygons = shapely.coverage_simplify(polygons, tolerance, simplify_boundary=False)
    return _Faces(polygons, pixels[line, column], np.stack([line, column], axis=1), *rims)


def _owners_along(
    points: NDArray[np.int64], owner: NDArray[np.int64], axis: int, at: int, length: int
) -> NDArray[np.int64]:
    """Return which face owns each pixel along one rim of the block (where coordinate `axis` equals `at`)."""
    on_rim = (points[:-1, axis] == at) & (points[1:, axis] == at) & (owner[:-1] == owner[1:])
    along = points[:, 1 - axis]
    owners = np.full(length, -1, np.int64)
    for edge in np.flatnonzero(on_rim):
        start, stop = sorted((along[edge], along[edge + 1]))
        owners[start:stop] = owner[edge]
    return owners


def _boundary_segments(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return all edges between different labels and around the block, (n, 2, 2) as x, y.

    Edges in line are one segment unless another edge meets them: segments cross at end points only.
    """
    height, width = pixels.shape
    across = np.ones((height + 1, width), bool)  # edge above pixel (line, column)
    across[1:-1] = pixels[1:] != pixels[:-1]
    down = np.ones((height, width + 1), bool)  # edge left of pixel (line, column)
    down[:, 1:-1] = pixels[:, 1:] != pixels[:, :-1]
    met_by_down = np.zeros((height + 1, width + 1), bool)  # at each corner
    met_by_down[:-1] |= down
    met_by_down[1:] |= down
    met_by_across = np.zeros((height + 1, width + 1), bool)
    met_by_across[:, :-1] |= across
    met_by_across[:, 1:] |= across
    y, x0, x1 = _runs(across, met_by_down)
    x, y0, y1 = _runs(down.T, met_by_across.T)
    horizontal = np.stack([np.stack([x0, y], axis=1), np.stack([x1, y], axis=1)], axis=1)
    vertical = np.stack([np.stack([x, y0], axis=1), np.stack([x, y1], axis=1)], axis=1)
    return np.concatenate([horizontal, vertical]).astype(np.float64)


def _runs(
    edges: NDArray[np.bool_], met: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Join the edges of each line of `edges` up to the next corner of `met`; return line, start and stop."""
    starts = edges.copy()
    starts[:, 1:] &= ~edges[:, :-1] | met[:, 1:-1]
    stops = edges.copy()
    stops[:, :-1] &= ~edges[:, 1:] | met[:, 1:-1]
    line, start = np.nonzero(starts)
    return line, start, np.nonzero(stops)[1] + 1
