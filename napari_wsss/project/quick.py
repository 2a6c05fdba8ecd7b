"""The quick model: encoder, reduction and head of a project as a stage-1 bundle that runs on any slide at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from napari_wsss.project.card import card_of
from napari_wsss.project.core import ProjectCore
from napari_wsss.project.encoder import build_network
from napari_wsss.project.fitted import Head
from napari_wsss.project.preparation import reduction_of
from tiling.errors import FeaturesError

__all__ = ["write_quick_model"]

_NEVER = -50.0
"""Score of a class without labels: no probability is left, and no infinity goes through a network."""


def write_quick_model(project: ProjectCore, head: Head, folder: Path) -> Path:
    """Write a bundle; see :meth:`napari_wsss.project.Project.quick_model`."""
    import torch

    from napari_wsss.models import Gate, save_bundle

    project.require_writable()
    reduction = reduction_of(project)
    if reduction is None:
        raise FeaturesError(f"{project.folder} has no reduction any more; prepare its slides again.")
    network = build_network(project.description.encoder, project.tile, reduction, len(project.schema))
    offset = np.where(np.isfinite(head.weights.offset), head.weights.offset, _NEVER)
    rows = np.concatenate([head.weights.matrix, offset[None]]).T.astype(np.float32)
    with torch.no_grad():
        network.classifier.weight.copy_(torch.from_numpy(np.ascontiguousarray(rows))[:, :, None, None])
    card = card_of(project, head.taught.labels)
    metrics: dict[str, Any] = {}
    if head.score.mean is not None:
        metrics[f"left out by {head.score.by}"] = {
            "miou": round(head.score.mean, 4),
            "iou": {c.name: None if c.iou is None else round(c.iou, 4) for c in head.score.classes},
        }
    save_bundle(
        folder,
        name=f"{project.name}-{folder.name}",
        schema=project.schema,
        mpp=project.mpp,
        tile=project.tile,
        stage1=network,
        description=f"Quick model of the project {project.name}: a linear head on a frozen encoder. {card.sentence}",
        training_data=card.sentence,
        # The head compares classes with each other; it has no probability that a class is in a tile.
        gate=Gate((0.0,)),
        metrics=metrics,
        provenance={"project": card.to_dict(), "encoder": project.description.encoder.name},
        overwrite=True,
    )
    return folder
