"""Stage 2 in training: a segmentation network on pseudo masks, validated with and without the gate."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from napari_wsss.models import Gate, PatchClassifier, SegmentationNetwork, apply_gate
from training.data import MaskedImage, PseudoMaskSet, pseudo_mask_path
from training.loop import Stage, Trainee, channels_last, run_device
from training.networks.gate_search import calibrate_gate
from training.networks.losses import masked_loss, noise_weights, partial_label_loss, reference_loss
from training.networks.presence_head import fit_presence, held_out, labelled_batches
from training.networks.sharing import gatekeeper, share_stages
from training.networks.weights import initial_segmenter
from training.scores import SegmentationScores
from training.settings import LearningRateSchedule, Stage2Settings

_log = logging.getLogger("training")

__all__ = ["ENOUGH", "SegmenterStage", "SegmenterTrainee", "self_label_ramp", "self_labels", "unjudged_gate"]

ENOUGH = 20
"""Patches with a class from which its presence is learned well enough to take it away where no val says so.

On synthetic slides a gate that eight patches had taught took every small focus of their class away: IoU 0.88 to 0.00.
"""


KEPT = 0.98
"""Share of the patches with a class that keep it, where patches that were held out say how far its gate may close."""

_CLOSED = 0.5  # no gate asks for more: a class that is likelier there than not is never taken away


def unjudged_gate(
    labels: Sequence[Sequence[bool]], threshold: float, presence: Tensor | None = None
) -> tuple[float, ...]:
    """Return thresholds where no val judges them: what few patches have taught takes no class away.

    Parameters
    ----------
    labels : (N, C) bool
        Of the patches that train.
    threshold : float
        Of the classes that at least :data:`ENOUGH` of them hold.
    presence : (N, C) float, optional
        What a network that has not seen the label of a patch says of it
        (:func:`training.networks.presence_head.held_out`). The gate of a class then closes as far as :data:`KEPT`
        of the patches that hold it allow, in place of ``threshold``.
    """
    known = [sum(held) >= ENOUGH for held in zip(*labels, strict=True)]
    if presence is not None:
        held = torch.tensor(labels, dtype=torch.bool)
        return tuple(
            min(_CLOSED, float(torch.quantile(presence[held[:, c], c].float(), 1 - KEPT))) if enough else 0.0
            for c, enough in enumerate(known)
        )
    return (threshold,) if all(known) else tuple(threshold if enough else 0.0 for enough in known)


def self_label_ramp(progress: float) -> float:
    """Return the say of a network's own labels: 0 in the first quarter of a run, 1 from three quarters on.

    A network learns what most labels agree on before it learns the wrong ones by heart (Liu et al., CVPR 2022), so it
    may correct them when it has learned the one and not yet the other.

    Parameters
    ----------
    progress : float
        0 at the start of the run, 1 at the end.
    """
    return min(max((progress - 0.25) / 0.5, 0.0), 1.0)


def self_labels(logits: Tensor, targets: Sequence[Tensor], present: Tensor) -> Tensor:
    """Label patches of several classes by the network itself, among the classes that they hold.

    Parameters
    ----------
    logits : (N, C, H, W) float
    targets : sequence of (N, H, W) int
        Pseudo masks; what is ignored in the first stays ignored.
    present : (N, C) bool
        Patch labels; a patch with fewer than two classes keeps its first target, which is exact.

    Returns
    -------
    (N, H, W) int64
    """
    classes = logits.shape[1]
    first = targets[0].long()
    with torch.no_grad():
        own = logits.masked_fill(~present[:, :, None, None], -torch.inf).argmax(1)
    unsure = (present.sum(1) > 1)[:, None, None] & (first < classes)
    return torch.where(unsure, own, first)


@dataclass(frozen=True)
class SegmenterStage(Stage):
    """Stage 2: pseudo masks to a segmentation network, with stage 1 as its gate.

    Attributes
    ----------
    stage1 : PatchClassifier
    stage1_facts : mapping
        JSON-ready facts about it.
    """

    program = "stage2"

    settings: Stage2Settings
    stage1: PatchClassifier
    stage1_facts: Mapping[str, Any]

    @property
    def drop_last(self) -> bool:
        """As the settings say."""
        return self.settings.drop_last

    @property
    def facts(self) -> Mapping[str, Any]:
        """Which masks, made with what, and which gate."""
        data = self.data
        return {
            "layers": list(data.layers),
            "masks": dict(data.made_with),
            "stage1": dict(self.stage1_facts),
        }

    @property
    def taught(self) -> Sequence[MaskedImage]:
        """The patches with the masks of the deepest layer."""
        assert self.data.masks is not None
        return [
            MaskedImage(p.path, pseudo_mask_path(self.data.masks, self.data.layers[0], p.path), p.size)
            for p in self.data.train
        ]

    @property
    def misfit(self) -> str | None:
        """Whether a layer has no weight."""
        layers, weights = self.data.layers, self.settings.layer_weights
        if len(weights) != len(layers):
            return (
                f"--layer-weights has {len(weights)} numbers for {len(layers)} layers ({', '.join(layers)}); "
                "give one each, deepest first."
            )
        if self.settings.partial_labels and self.settings.loss == "reference":
            return "--partial-labels needs the masked loss; give --loss masked, or leave it out."
        return None

    def samples(self) -> PseudoMaskSet:
        """Return patches with their pseudo masks."""
        s = self.settings
        assert self.data.masks is not None
        return PseudoMaskSet(
            self.data.train,
            self.data.masks,
            self.data.layers,
            len(self.data.schema),
            s.augment,
            self.options.seed,
            s.crop,
            s.mosaic,
            s.mosaic_cell,
            s.self_labels > 0 or s.partial_labels > 0,
            self.data.exact,
        )

    def trainee(self, schedule: LearningRateSchedule) -> SegmenterTrainee:
        """Build the segmentation network."""
        s = self.settings
        network = initial_segmenter(s, self.data.schema, self.weights, self.data.side)
        wanted = s.shared_stages and self.weights is None and not s.one_encoder
        if wanted and not share_stages(network, self.stage1, s.shared_stages):
            _log.info("stage 1 has another encoder or input, so the networks share nothing")
        return SegmenterTrainee(
            network, gatekeeper(self.stage1, s.gate_stride), s, schedule, self.options.seed
        )

    def finished(
        self, trainee: Trainee, val: DataLoader[Any] | None, row: Mapping[str, float]
    ) -> dict[str, Any]:
        """Calibrate the gate on val and return both networks."""
        assert isinstance(trainee, SegmenterTrainee)
        network = trainee.network
        presence: Callable[[Tensor], Tensor] = trainee.presence
        coarse = gatekeeper(self.stage1, self.settings.gate_stride) is not self.stage1
        stride = self.settings.gate_stride if coarse else None
        search = val is not None and self.settings.gated_selection
        threshold = self.settings.gate_threshold
        start: tuple[float, ...] = (threshold,)
        if self.settings.one_encoder:
            stride = None
            device = run_device(self.options)
            fitted = fit_presence(network.to(device), labelled_batches(self.data.labelled))
            network, presence = fitted.network, fitted.network.sees
            if not search:  # in the order in which the patches were looked at
                told = held_out(fitted.features, fitted.labels)
                start = unjudged_gate(fitted.labels.bool().tolist(), threshold, told)
        elif val is None:
            start = unjudged_gate([patch.label for patch in self.data.labelled], threshold)
        thresholds, metrics = calibrate_gate(network, presence, val, run_device(self.options), start, search)
        networks = {"stage1": self.stage1.cpu().eval(), "stage2": network.cpu().eval()}
        return {**networks, "gate": Gate(thresholds), "metrics": metrics, "presence_stride": stride}


class SegmenterTrainee(Trainee):
    """Stage 2 in training.

    Parameters
    ----------
    network : SegmentationNetwork
    stage1 : PatchClassifier
        Trained patch classifier; only its probabilities on val are used.
    settings : Stage2Settings
    schedule : LearningRateSchedule
    seed : int
    """

    network: SegmentationNetwork

    def __init__(
        self,
        network: SegmentationNetwork,
        stage1: PatchClassifier,
        settings: Stage2Settings,
        schedule: LearningRateSchedule,
        seed: int,
    ) -> None:
        if settings.freeze_bn:
            for module in _batch_norms(network):
                module.requires_grad_(False)
        super().__init__(network, settings.optimiser, schedule, seed)
        self.stage = settings
        # In a tuple, so that Lightning neither trains nor saves it.
        self._gatekeeper = (channels_last(stage1).eval().requires_grad_(False),)
        self._presence: dict[int, Tensor] = {}
        self._plain = SegmentationScores(network.num_classes)
        self._gated = SegmentationScores(network.num_classes)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return backbone (1 ×) and head (``head_lr`` ×), both with weight decay, as the reference has them."""
        s, model = self.settings, self.network
        parts = (model.backbone_parameters(), model.head_parameters())
        rates = (s.lr, s.lr * s.head_lr)
        return [
            {"params": list(p), "lr": lr, "weight_decay": s.weight_decay}
            for p, lr in zip(parts, rates, strict=True)
        ]

    def on_train_epoch_start(self) -> None:
        """Keep batch norm still when asked to."""
        super().on_train_epoch_start()
        if self.stage.freeze_bn:
            for module in _batch_norms(self.network):
                module.eval()

    def loss(self, batch: Any) -> Tensor:
        """Weighted loss over the pseudo masks of all layers, and later in the run over the network's own labels."""
        images, masks, *known, _ = batch
        logits = self.network(images.contiguous(memory_format=torch.channels_last))
        targets = masks.unbind(1)
        weights = self.stage.layer_weights
        ramp = self_label_ramp(self.global_step / self.schedule.total_steps)
        share, label_alone = self.stage.self_labels * ramp, self.stage.partial_labels * ramp
        if share and known:
            own = self_labels(logits, targets, known[0])
            targets = (*targets, own)
            weights = (*(w * (1.0 - share) for w in weights), share * sum(weights))
        if self.stage.loss == "reference":
            return reference_loss(logits, targets, weights, self.stage.loss_type)[0]
        trust = [noise_weights(logits, t) for t in targets] if self.stage.noise_weights else None
        if not (label_alone and known):
            return masked_loss(logits, targets, weights, self.stage.loss_type, trust)[0]
        (present,) = known
        left = 1.0 - label_alone * (present.sum(1) > 1).float()[:, None, None]
        trust = [left.expand(t.shape) if trust is None else trust[i] * left for i, t in enumerate(targets)]
        by_masks = masked_loss(logits, targets, weights, self.stage.loss_type, trust)[0]
        return by_masks + label_alone * sum(weights) * partial_label_loss(logits, targets[0], present)

    def presence(self, images: Tensor) -> Tensor:
        """Return stage 1's probabilities, (N, C) float32."""
        stage1 = self._gatekeeper[0].to(images.device)
        return torch.sigmoid(stage1(images.contiguous(memory_format=torch.channels_last)).float())

    def label_maps(self, images: Tensor) -> dict[str, Tensor]:
        """Return the label map before and after the gate."""
        logits = self.network(images.contiguous(memory_format=torch.channels_last)).float()
        gated = apply_gate(logits, self.presence(images), self.stage.gate_threshold)
        return {"stage 2": logits.argmax(1), "gated": gated.argmax(1)}

    def on_validation_epoch_start(self) -> None:
        """Forget the last validation."""
        self._plain.reset()
        self._gated.reset()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Score the label map before and after the gate."""
        images, masks = batch
        if batch_idx not in self._presence:
            self._presence[batch_idx] = self.presence(images)
        logits = self.network(images.contiguous(memory_format=torch.channels_last)).float()
        self._plain.update(logits.argmax(1), masks)
        gated = apply_gate(logits, self._presence[batch_idx], self.stage.gate_threshold)
        self._gated.update(gated.argmax(1), masks)

    def on_validation_epoch_end(self) -> None:
        """Sum up; the score is that of the gated map if the settings say so."""
        plain, gated = self._plain.compute(), self._gated.compute()
        chosen = gated if self.stage.gated_selection else plain
        self.scores = {
            "miou": plain.miou,
            "fwiou": plain.fwiou,
            "gated_miou": gated.miou,
            "gated_fwiou": gated.fwiou,
            "score": chosen.miou if self.stage.select == "miou" else (chosen.miou + chosen.fwiou) / 2,
        }


def _batch_norms(network: nn.Module) -> list[nn.Module]:
    return [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
