"""Preparing the slides of a project: the reduction once, then each slide's features."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack

import numpy as np

from napari_wsss.project.core import ProjectCore
from napari_wsss.project.encoder import Encode, build_network, make_encoder
from napari_wsss.project.events import PrepareEvent
from napari_wsss.project.prepare import (
    PrepareOptions,
    describe,
    plan_slide,
    prepare_slide,
    sample_pixels,
)
from napari_wsss.project.reduction import VALUES, Reduction, principal_components
from tiling.errors import FeaturesError

__all__ = ["encoder_of", "prepare_slides", "reduction_of"]

_SAMPLE_TILES = 120
_SAMPLE_PLACES = 6000
_SAMPLE_BATCH = 8


def prepare_slides(
    project: ProjectCore, slide_ids: Sequence[str], options: PrepareOptions, changed: Callable[[str], None]
) -> Generator[PrepareEvent]:
    """Prepare slides one after the other; see :meth:`napari_wsss.project.Project.prepare`.

    ``changed`` is called with a slide's id before its features are made anew.
    """
    project.require_writable()
    reduction = reduction_of(project)
    if reduction is None:
        reduction = _fit_reduction(project, slide_ids, options)
        reduction.write(project.folder)
        project.change(reduction=reduction.sha256)
    ref = project.description.encoder
    encode = encoder_of(project, reduction, options.device, options.backend)
    probe = encode(np.full((1, project.tile, project.tile, 3), 255, np.uint8))
    for slide_id in slide_ids:
        with project.open_slide(slide_id) as slide:
            plan = plan_slide(slide, project.tile, project.mpp, options)
            description = describe(
                project.entry(slide_id).identity, plan.grid, ref, reduction.sha256, project.mpp
            )
            changed(slide_id)
            yield from prepare_slide(
                slide_id,
                slide,
                plan,
                encode,
                project.features_path(slide_id),
                description,
                probe.shape[1],
                probe.shape[3],
                options,
            )


def encoder_of(project: ProjectCore, reduction: Reduction, device: str, backend: str = "auto") -> Encode:
    """Return the function that encodes tiles of the project; what it is converted to is kept with the features."""
    cache = project.folder / "features" / ".cache"
    return make_encoder(project.description.encoder, project.tile, reduction, cache, device, backend)[0]


def reduction_of(project: ProjectCore) -> Reduction | None:
    """Return the project's reduction; None before the first slide is prepared, or when its file is gone."""
    sha256 = project.description.reduction
    return Reduction.read(project.folder, sha256) if sha256 else None


def _fit_reduction(project: ProjectCore, slide_ids: Sequence[str], options: PrepareOptions) -> Reduction:
    """Fit the reduction on a sample of the slides that are there now."""
    import torch

    with ExitStack() as stack:
        slides = []
        for slide_id in slide_ids:
            slide = stack.enter_context(project.open_slide(slide_id))
            slides.append((slide, plan_slide(slide, project.tile, project.mpp, options)))
        pixels = sample_pixels(slides, project.mpp, _SAMPLE_TILES)
    if not len(pixels):
        raise FeaturesError(
            f"No tissue was found on {', '.join(slide_ids)}, so there is nothing to prepare; look at "
            "`wsss-tile tissue`."
        )
    network = build_network(project.description.encoder, project.tile)
    rng = np.random.default_rng(0)
    parts = []
    with torch.inference_mode():
        for first in range(0, len(pixels), _SAMPLE_BATCH):
            x = torch.from_numpy(pixels[first : first + _SAMPLE_BATCH]).permute(0, 3, 1, 2).float() / 255
            # Twice as fast on a CPU when channels lie together.
            raw = (
                network.raw(x.contiguous(memory_format=torch.channels_last))
                .permute(0, 2, 3, 1)
                .flatten(0, 2)
                .numpy()
            )
            wanted = -(-_SAMPLE_PLACES * len(x) // len(pixels))
            parts.append(raw[rng.permutation(len(raw))[:wanted]])
    return principal_components(np.concatenate(parts), VALUES)
