"""Pseudo masks: CAMs of the classes that a patch is known to hold become a label for every pixel."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

__all__ = ["PseudoMaskMode", "pseudo_mask", "white_background"]

PseudoMaskMode = Literal["clean", "reference"]


def white_background(image: ArrayLike, level: int = 200, min_size: int = 50) -> NDArray[np.bool_]:
    """Find bright, tissue-free pixels.

    Parameters
    ----------
    image : (H, W, 3) uint8
        RGB.
    level : int, optional
        Grey values strictly above are bright.
    min_size : int, optional
        Smaller 4-connected bright components, in pixels, are dropped.

    Returns
    -------
    (H, W) bool

    Notes
    -----
    The rule of the reference for LUAD-HistoSeg. The grey value is OpenCV's fixed-point formula; Pillow's
    differs by one for some colours.
    """
    rgb = np.asarray(image)
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ValueError(f"image must be (H, W, 3) uint8, not {rgb.shape} {rgb.dtype}")
    gray = (rgb @ np.array([9798, 19235, 3735], np.int32) + 16384) >> 15
    components, _ = ndimage.label(gray > level)
    large = np.bincount(components.ravel()) >= min_size
    large[0] = False
    return np.asarray(large[components], np.bool_)


def pseudo_mask(
    maps: ArrayLike,
    present: ArrayLike,
    image: ArrayLike | None = None,
    background: bool = False,
    mode: PseudoMaskMode = "clean",
) -> NDArray[np.uint8]:
    """Label every pixel of a patch with one of its classes.

    Parameters
    ----------
    maps : (C, H, W) float
        Raw CAMs (no ReLU), resized to the patch.
    present : (C,) bool
        Classes that the patch holds.
    image : (H, W, 3) uint8, optional
        The patch; needed for ``background``.
    background : bool, optional
        Mark white areas (:func:`white_background`) with the index C.
    mode : {"clean", "reference"}, optional
        ``clean``: the present class with the highest map. ``reference``: the same by way of the released
        code's joint min-max, in which the pixel of the global minimum can fall to class 0 although that class
        is absent, and a flat map gives class 0 everywhere.

    Returns
    -------
    (H, W) uint8
        The reference's PNG indexing: class *i* is *i*, background (and a patch without classes) is C.
    """
    scores = np.asarray(maps, np.float32)
    there = np.asarray(present, np.bool_)
    if scores.ndim != 3 or there.shape != scores.shape[:1]:
        raise ValueError(f"maps (C, H, W) and present (C,) must agree: {scores.shape} and {there.shape}")
    if mode == "clean":
        labels = _highest_present(scores, there)
    elif mode == "reference":
        labels = _reference(scores, there)
    else:
        raise ValueError(f"unknown pseudo-mask mode {mode!r}: use 'clean' or 'reference'")
    if background:
        if image is None:
            raise ValueError("the background rule needs the image")
        white = white_background(image)
        if white.shape != labels.shape:
            raise ValueError(f"image and maps must have one size: {white.shape} and {labels.shape}")
        labels[white] = len(scores)
    return labels


def _highest_present(scores: NDArray[np.float32], there: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Argmax over present classes; a NaN never wins, and a patch of one class needs no look at its map."""
    indices = np.flatnonzero(there)
    if len(indices) <= 1:
        only = indices[0] if len(indices) else len(scores)
        return np.full(scores.shape[1:], only, np.uint8)
    candidates = np.nan_to_num(scores[indices], nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    labels: NDArray[np.uint8] = indices[candidates.argmax(0)].astype(np.uint8)
    return labels


def _reference(scores: NDArray[np.float32], there: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """One min-max over all classes and pixels, absent classes at 0, argmax with the first of equals."""
    low, high = scores.min(), scores.max()
    if not high > low:
        return np.zeros(scores.shape[1:], np.uint8)
    normalised = (scores - low) / (high - low)
    normalised[~there] = 0
    labels: NDArray[np.uint8] = normalised.argmax(0).astype(np.uint8)
    return labels
