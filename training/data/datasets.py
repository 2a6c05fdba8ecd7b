"""Torch data sets over the checked files, whose every sample depends only on (seed, epoch, index).

That is what makes a resumed run equal an uninterrupted one, and the number of workers irrelevant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from napari_wsss.models import white_background
from tiling.errors import DataError
from training.data.augment import augment, crop, mosaic, voronoi_cells
from training.data.files import MaskedImage, Patch, pseudo_mask_path
from training.settings import AugmentSettings

__all__ = [
    "EpochSampler",
    "EvaluationSet",
    "PatchSet",
    "PseudoMaskSet",
    "SingleLabelMixer",
    "balance_weights",
    "read_image",
    "read_mask",
    "to_input",
]

EpochIndex = tuple[int, int]
_REPEAT = 1 << 20
"""Added to the epoch of a sample that comes again in it; more than any run has epochs."""


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image as (H, W, 3) uint8 RGB; transparency is put on white.

    Raises
    ------
    DataError
        When the file cannot be decoded.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in {"RGBA", "LA"} and "transparency" not in image.info:
                return np.array(image.convert("RGB"))
            rgba = image.convert("RGBA")
        return np.array(Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} is not a readable image ({error}); copy it again or leave it out."
        ) from error


def read_mask(path: Path, num_classes: int) -> NDArray[np.uint8]:
    """Read a palette mask as (H, W) uint8; every label above ``num_classes`` becomes ``num_classes`` (ignore).

    Raises
    ------
    DataError
        When the file cannot be decoded or holds no indexes.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in {"P", "L"}:
                raise DataError(
                    f"{path} is a {image.mode} mask; labels must be palette (P) or gray (L) indexes."
                )
            return np.array(np.minimum(np.asarray(image), num_classes), np.uint8)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is not a readable mask ({error}); make it again.") from error


def to_input(image: NDArray[np.uint8]) -> Tensor:
    """Turn (H, W, 3) uint8 into the networks' input, (3, H, W) float32 RGB / 255."""
    # In numpy: a torch operation this small would spend its time waking threads.
    return torch.from_numpy(np.divide(image.transpose(2, 0, 1), np.float32(255), dtype=np.float32, order="C"))


class EpochSampler(Sampler[EpochIndex]):
    """Shuffled indexes that carry their epoch, so that workers know it too.

    Parameters
    ----------
    length : int
        Number of samples.
    seed : int
    weights : (length,) float, optional
        How often a sample comes, relative to others (:func:`balance_weights`); an epoch still has ``length`` samples.
        The second time in an epoch it carries another epoch number, so that it is changed in another way.
    """

    def __init__(self, length: int, seed: int, weights: NDArray[np.float64] | None = None) -> None:
        self.length = length
        self.seed = seed
        self.weights = weights
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of this epoch (Lightning calls it)."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[EpochIndex]:
        order = np.arange(self.length)
        rng = np.random.default_rng((self.seed, self.epoch))
        rng.shuffle(order)
        if self.weights is None:
            return ((self.epoch, int(i)) for i in order)
        # Evenly spaced marks on the line of weights: each sample comes as often as it should, up to one.
        line = np.cumsum(self.weights[order])
        marks = (np.arange(self.length) + rng.random()) * (line[-1] / self.length)
        drawn = order[np.minimum(np.searchsorted(line, marks, side="right"), self.length - 1)]
        runs = np.concatenate([[0], np.cumsum(drawn[1:] != drawn[:-1])])
        repeat = np.arange(self.length) - np.searchsorted(runs, runs)
        shuffled = rng.permutation(self.length)
        return ((self.epoch + _REPEAT * int(repeat[k]), int(drawn[k])) for k in shuffled)


def balance_weights(patches: Sequence[Patch], power: float) -> NDArray[np.float64]:
    """Weigh patches so that frequent label combinations come less often.

    A set in which most patches hold the same two classes says little about which is which; patches of one class, and
    of rare classes, do.

    Parameters
    ----------
    patches : sequence of Patch
    power : float
        0: every patch counts the same. 1: every combination counts the same. Between: a combination that makes up a
        share f of the patches makes up f ** (1 − power), scaled. Combinations of less than one in a hundred weigh
        as if they were one in a hundred: a label that occurs once may be wrong.

    Returns
    -------
    (len(patches),) float64
        Mean 1.
    """
    counts = Counter(patch.label for patch in patches)
    least = 0.01 * len(patches)
    weights = np.array([max(counts[patch.label], least) ** -power for patch in patches])
    return np.asarray(weights / weights.mean())


class SingleLabelMixer:
    """Mixes two to four single-label patches of different classes into one, whose mask is exact.

    Parameters
    ----------
    patches : sequence of Patch
        Those with several classes are left out.
    num_classes : int
    mask_of : callable
        Patch and image (H, W, 3) uint8 to the mask of a single-label patch, (H, W) uint8.
    cell : int
        Typical side of a piece in px; 0 draws it anew for every mosaic.
    """

    def __init__(
        self,
        patches: Sequence[Patch],
        num_classes: int,
        mask_of: Callable[[Patch, NDArray[np.uint8]], NDArray[np.uint8]],
        cell: int = 0,
    ) -> None:
        self._singles: list[list[Patch]] = [[] for _ in range(num_classes)]
        for patch in patches:
            if patch.single is not None:
                self._singles[patch.single].append(patch)
        self._mixable = [c for c, found in enumerate(self._singles) if found]
        self._mask_of = mask_of
        self._cell = cell

    @property
    def possible(self) -> bool:
        """Whether two classes have patches of their own."""
        return len(self._mixable) > 1

    def __call__(self, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return an image (H, W, 3) uint8 and its mask (H, W) uint8."""
        count = int(rng.integers(2, min(4, len(self._mixable)) + 1))
        classes = rng.permutation(self._mixable)[:count]
        chosen = [self._singles[c][int(rng.integers(len(self._singles[c])))] for c in classes]
        pairs = []
        for patch in chosen:
            image = read_image(patch.path)
            pairs.append(augment(image, (self._mask_of(patch, image),), _GEOMETRY, rng))
        images = [image for image, _ in pairs]
        height, width = images[0].shape[:2]
        cell = self._cell or float(np.exp(rng.uniform(np.log(24.0), np.log(max(height, 25.0)))))
        pieces = max(count, round(height * width / cell**2))
        cells = voronoi_cells((height, width), min(pieces, 64), count, rng)
        return mosaic(images, [masks[0] for _, masks in pairs], cells)


class PatchSet(Dataset[tuple[Tensor | int, ...]]):
    """Patches with their labels for stage 1: (3, H, W) float32 in 0 … 1, (C,) float32 and the index of the patch.

    With ``exact``, an (H, W) uint8 mask comes before the index: the class of every pixel where the label tells it
    (single-label patches and mosaics), C elsewhere.

    Parameters
    ----------
    patches : sequence of Patch
    settings : AugmentSettings
    seed : int
    crop_side : int
        Side of a random crop; 0 keeps the patch. The label stays that of the whole patch.
    mosaic_share : float
        Share of samples that are mixed from single-label patches. The share is drawn on top of the patches: each epoch
        still has ``len(patches)`` samples.
    exact : bool
        Give masks.
    white : bool
        Bright pixels belong to no class.
    """

    def __init__(
        self,
        patches: Sequence[Patch],
        settings: AugmentSettings,
        seed: int = 0,
        crop_side: int = 0,
        mosaic_share: float = 0.0,
        exact: bool = False,
        white: bool = False,
    ) -> None:
        self.patches = patches
        self.settings = settings
        self.seed = seed
        self.crop_side = crop_side
        self.exact = exact
        self.white = white
        self._mixer = SingleLabelMixer(patches, len(patches[0].label), self._mask)
        self.mosaic_share = mosaic_share if self._mixer.possible else 0.0

    def __len__(self) -> int:
        return len(self.patches)

    def __getitem__(self, key: EpochIndex) -> tuple[Tensor | int, ...]:
        epoch, index = key
        rng = np.random.default_rng((self.seed, 1, epoch, index))
        patch = self.patches[index]
        if self.mosaic_share and rng.random() < self.mosaic_share:
            image, mask = self._mixer(rng)
            label = [float((mask == c).any()) for c in range(len(patch.label))]
            masks: tuple[NDArray[np.uint8], ...] = (mask,)
        else:
            image, label = read_image(patch.path), [float(v) for v in patch.label]
            masks = (self._mask(patch, image),) if self.exact else ()
        masks = masks if self.exact else ()
        image, found = crop(image, masks, self.crop_side, rng)
        image, found = augment(image, found, self.settings, rng)
        return to_input(image), torch.tensor(label), *(torch.from_numpy(m) for m in found), index

    def _mask(self, patch: Patch, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the class of every pixel of a single-label patch, and C for all of another one."""
        classes = len(patch.label)
        mask = np.full(image.shape[:2], classes if patch.single is None else patch.single, np.uint8)
        if self.white and patch.single is not None:
            mask[white_background(image)] = classes
        return mask


class PseudoMaskSet(Dataset[tuple[Tensor | int, ...]]):
    """Patches with their pseudo masks for stage 2: (3, H, W) float32, (L, H, W) uint8 and the index of the patch.

    With ``labels``, the patch label comes before the index, (C,) bool; all False where the mask is exact: in mosaics
    and where ``exact`` says so.

    Parameters
    ----------
    patches : sequence of Patch
    masks : Path
        The ``train_PM`` folder.
    layers : sequence of str
        Deepest first.
    num_classes : int
    settings : AugmentSettings
    seed : int
    crop_side : int
    mosaic_share : float
        Share of samples that are mixed from single-label patches, with an exact mask in every layer. The share is
        drawn on top of the patches: each epoch still has ``len(patches)`` samples.
    mosaic_cell : int
        Typical side of a mosaic piece in px; 0 draws it anew for every sample.
    labels : bool
        Give patch labels.
    exact : collection of str
        Names without suffix of the patches whose mask a person has painted.
    """

    def __init__(
        self,
        patches: Sequence[Patch],
        masks: Path,
        layers: Sequence[str],
        num_classes: int,
        settings: AugmentSettings,
        seed: int = 0,
        crop_side: int = 0,
        mosaic_share: float = 0.0,
        mosaic_cell: int = 0,
        labels: bool = False,
        exact: Collection[str] = (),
    ) -> None:
        self.patches = patches
        self.masks = masks
        self.exact = exact
        self.layers = tuple(layers)
        self.labels = labels
        self.num_classes = num_classes
        self.settings = settings
        self.seed = seed
        self.crop_side = crop_side
        self._mixer = SingleLabelMixer(patches, num_classes, self._mask, mosaic_cell)
        self.mosaic_share = mosaic_share if self._mixer.possible else 0.0

    def __len__(self) -> int:
        return len(self.patches)

    def __getitem__(self, key: EpochIndex) -> tuple[Tensor | int, ...]:
        epoch, index = key
        rng = np.random.default_rng((self.seed, 2, epoch, index))
        label = torch.zeros(self.num_classes, dtype=torch.bool)
        if rng.random() < self.mosaic_share:
            image, mask = self._mixer(rng)
            masks = [mask] * len(self.layers)
        else:
            patch = self.patches[index]
            if patch.path.stem not in self.exact:
                label = torch.tensor(patch.label)
            image = read_image(patch.path)
            masks = [
                read_mask(pseudo_mask_path(self.masks, layer, patch.path), self.num_classes)
                for layer in self.layers
            ]
        image, masks = crop(image, masks, self.crop_side, rng)
        image, masks = augment(image, masks, self.settings, rng)
        known = (label,) if self.labels else ()
        return to_input(image), torch.from_numpy(np.stack(masks)), *known, index

    def _mask(self, patch: Patch, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the pseudo mask of a single-label patch: its class, with white background left out."""
        return read_mask(pseudo_mask_path(self.masks, self.layers[0], patch.path), self.num_classes)


_GEOMETRY = AugmentSettings(vertical_flip=0.5, rotate=True)


class EvaluationSet(Dataset[tuple[Tensor, Tensor]]):
    """Val or test in windows of the training size: (3, T, T) float32 and (T, T) uint8, C = ignore.

    Images larger than the patches are cut into windows side by side, because the networks, and above all the gate,
    know one size; what hangs over the edge is white and ignored.

    Parameters
    ----------
    pairs : sequence of MaskedImage
    num_classes : int
    tile : int
        Side T of a window.
    """

    def __init__(self, pairs: Sequence[MaskedImage], num_classes: int, tile: int) -> None:
        self.pairs = pairs
        self.num_classes = num_classes
        self.tile = tile
        self.windows = [
            (i, x, y)
            for i, pair in enumerate(pairs)
            for y in range(0, pair.size[1], tile)
            for x in range(0, pair.size[0], tile)
        ]
        self._cached: tuple[int, NDArray[np.uint8], NDArray[np.uint8]] | None = None

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        number, x, y = self.windows[index]
        if self._cached is None or self._cached[0] != number:
            pair = self.pairs[number]
            self._cached = (number, read_image(pair.image), read_mask(pair.mask, self.num_classes))
        _, image, mask = self._cached
        tile = self.tile
        pixels = np.full((tile, tile, 3), 255, np.uint8)
        labels = np.full((tile, tile), self.num_classes, np.uint8)
        part = image[y : y + tile, x : x + tile]
        pixels[: part.shape[0], : part.shape[1]] = part
        part_mask = mask[y : y + tile, x : x + tile]
        labels[: part_mask.shape[0], : part_mask.shape[1]] = part_mask
        return to_input(pixels), torch.from_numpy(labels)
