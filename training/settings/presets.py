"""All settings of the three programs as frozen data, and the three named presets.

``reference`` is the released code number for number, slips included; ``paper`` follows the published rules;
``recommended`` is what this project advises. A flag on the command line replaces one field of the preset. The settings
are stored in checkpoints and bundles, so that a run can be repeated and a resumed run can be refused when they differ.
"""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, TypeVar

from training.settings.schedules import PdaSchedule, ScheduleName

__all__ = [
    "PRESETS",
    "AugmentSettings",
    "CamSettings",
    "OptimiserSettings",
    "Preset",
    "Stage1Settings",
    "Stage2Settings",
    "StageSettings",
    "override",
    "to_dict",
    "with_options",
]

_PAPER_PDA = PdaSchedule(start=3, decay=0.985, floor=0.65)


@dataclass(frozen=True)
class AugmentSettings:
    """Random changes to a training patch.

    Attributes
    ----------
    horizontal_flip, vertical_flip : float
        Probability of each flip.
    rotate : bool
        Rotate by a random multiple of 90° (square patches only).
    blur : float
        Probability of a Gaussian blur with a radius from U(0, 1) px.
    stain : float
        Strength of the jitter in haematoxylin-eosin-DAB space; 0 is off.
    jpeg : float
        Probability of another JPEG compression, with random quality and colour resolution.
    colour : float
        Probability of coarser colour: one hue for squares of 2 to 16 px, brightness as it is.
    noise : float
        Largest standard deviation of Gaussian noise, in grey levels; drawn from U(0, noise).
    """

    horizontal_flip: float = 0.5
    vertical_flip: float = 0.0
    rotate: bool = False
    blur: float = 0.0
    stain: float = 0.0
    jpeg: float = 0.0
    colour: float = 0.0
    noise: float = 0.0


@dataclass(frozen=True)
class OptimiserSettings:
    """Optimiser, learning rates and what keeps training stable.

    Attributes
    ----------
    name : {"sgd", "adamw"}
    lr, head_lr : float
        Base rate; the head (classifier, ASPP and decoder) gets ``head_lr`` times as much.
    momentum, weight_decay : float
    nesterov : bool
    schedule : {"poly", "cos", "step", "constant"}
    lr_step : int
        Epochs between two drops of ``step``.
    warmup_epochs : float
    gradient_clip : float
        Largest norm of the gradient; 0 is off.
    ema : float
        Decay of an exponential moving average of the weights, used for validation and the bundle; 0 is off.
    """

    name: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.01
    head_lr: float = 10.0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    nesterov: bool = False
    schedule: ScheduleName = "poly"
    lr_step: int = 10
    warmup_epochs: float = 0.0
    gradient_clip: float = 0.0
    ema: float = 0.0


@dataclass(frozen=True)
class StageSettings:
    """What both stages have.

    Attributes
    ----------
    backbone : str
        Architecture or backbone name of the model registry, or an encoder's name.
    width : float
        Channel multiplier of networks that have one; 1 is the ImageNet-compatible network.
    epochs, batch_size : int
    crop : int
        Train on random crops of this side; 0 keeps the whole patch.
    optimiser : OptimiserSettings
    augment : AugmentSettings
    frozen_stages : int
        Encoder stages that keep their initial weights, counted from the stem (efficientnet-lite0 only); with any, batch
        norm keeps its statistics in the whole encoder. 0: everything trains.
    colour_smoothing : int
        The network smooths colour with a box of this side in px (:mod:`napari_wsss.models.colour`), so that two
        compressions of one glass get one answer; networks of the light pair only. 0 is off.
    least_side : int
        The network enlarges smaller patches to this side in px: textures get the size that ImageNet encoders know, CAMs
        get finer. Networks of the light pair only; 0 is off.
    mosaic : float
        Share of training samples made by mixing single-label patches, whose masks are exact.
    balance : float
        Frequent label combinations come less often (:func:`training.data.datasets.balance_weights`): 0 is off, 1 makes
        all combinations equally frequent.
    train_encoder : bool
        Whether an encoder by name (:mod:`napari_wsss.models.encoders`) trains with the rest, or stays as published.
    select : str
        Which epoch becomes the bundle: the last, or one of the best on val.
    """

    backbone: str
    width: float = 1.0
    epochs: int = 20
    batch_size: int = 20
    crop: int = 0
    optimiser: OptimiserSettings = OptimiserSettings()
    augment: AugmentSettings = AugmentSettings()
    frozen_stages: int = 0
    colour_smoothing: int = 0
    least_side: int = 0
    mosaic: float = 0.0
    balance: float = 0.0
    train_encoder: bool = False
    select: str = "last"


@dataclass(frozen=True)
class Stage1Settings(StageSettings):
    """Patch classifier.

    Attributes
    ----------
    pda : PdaSchedule or None
        Progressive dropout attention.
    pda_normalised : bool
        Divide the attention by its maximum and by the number of classes, so that training and inference logits agree.
    exact : float
        Weight of a per-pixel loss on the CAM where labels are exact: single-label patches and mosaics of them; of the
        last layer, or of every layer with deep heads; 0 is off.
    deep_heads : bool
        Classify from shallower CAM layers too, each with a 1×1 classifier of its own whose weights give its CAM.
        Networks of the light pair and encoders by name only.
    """

    backbone: str = "resnet38"
    augment: AugmentSettings = AugmentSettings(vertical_flip=0.5)
    pda: PdaSchedule | None = _PAPER_PDA
    pda_normalised: bool = False
    exact: float = 0.0
    deep_heads: bool = False
    select: Literal["last", "best"] = "last"


@dataclass(frozen=True)
class CamSettings:
    """Pseudo masks.

    Attributes
    ----------
    output_stride : int
        Input pixels per CAM pixel, 8 or 16; 0: as the network was trained. The dilated encoder gives the same features
        at more places, so finer CAMs need no other training (networks of the light pair only).
    mask_mode : {"clean", "reference"}
        How maps become labels; ``reference`` repeats the slips of the released code's min-max.
    ignore_white : int
        Pixels of gray value above this become ignore in every pseudo mask; 0 leaves it to the class schema.
    smooth : int
        Side of the box that smooths the CAMs, in CAM pixels (odd); 0 is off.
    smooth_residual : float
        Weight of the smoothed map beside the raw one.
    scales : tuple of float
        Relative input sizes whose maps are averaged.
    flip : bool
        Average with the maps of the mirrored patch.
    turns : bool
        Average over quarter turns as well (square patches only).
    fuse : bool
        One mask from the maps of all layers together instead of one mask per layer
        (:func:`training.networks.cams.fuse_maps`).
    superpixels : int
        Number of SLIC superpixels for a majority vote; 0 is off.
    """

    output_stride: int = 0
    mask_mode: Literal["clean", "reference"] = "clean"
    ignore_white: int = 0
    smooth: int = 0
    smooth_residual: float = 1.5
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    turns: bool = False
    fuse: bool = False
    superpixels: int = 0


@dataclass(frozen=True)
class Stage2Settings(StageSettings):
    """Segmentation network.

    Attributes
    ----------
    head_channels : int
        Width of ASPP and decoder; 0: what suits the backbone.
    output_stride : int
        8, 16 or 32; 32 halves the work of a light encoder.
    loss : {"reference", "masked"}
        The released loss with its extra logit, or masked cross-entropy.
    loss_type : {"ce", "focal"}
    layer_weights : tuple of float
        Weights of the pseudo masks, deepest CAM layer first.
    noise_weights : bool
        Down-weight pixels the network finds hard (OEEM).
    self_labels : float
        Largest say, beside the pseudo masks, of the labels that the network itself gives to patches of several classes
        (:func:`training.networks.segmenter.self_labels`); 0 is off.
    partial_labels : float
        Largest say of the patch label alone in patches of several classes: any of its classes will do
        (:func:`training.networks.losses.partial_label_loss`), beside the pseudo masks with the rest; 0 is off.
    mosaic_cell : int
        Side of a mosaic piece in px at most; 0 lets the piece size vary.
    drop_last : bool
        Leave out an incomplete last batch.
    freeze_bn : bool
        Keep the batch-norm statistics and affine of the initial weights.
    gated_selection : bool
        Calibrate the gate thresholds on val; if the best epoch is taken, it is the best by the gated score.
    gate_threshold : float
        Threshold when it is not calibrated.
    one_encoder : bool
        Let the finished network say itself what a tile holds (:mod:`training.networks.presence_head`): slides then need
        one encoder in place of two.
    shared_stages : int
        Begin with the encoder of stage 1 and hold this many of its stages still, so that tiles pass them once for both
        networks (:mod:`training.networks.sharing`). Light encoders only; nothing is shared with one encoder or with
        initial weights of one's own.
    gate_stride : int
        Input pixels per place at which stage 1 tells what a tile holds, 8, 16 or 32; light encoder only.
        0: as for CAMs.
    """

    backbone: str = "resnet101"
    head_channels: int = 0
    output_stride: int = 16
    augment: AugmentSettings = AugmentSettings(blur=0.5)
    loss: Literal["reference", "masked"] = "masked"
    loss_type: Literal["ce", "focal"] = "ce"
    layer_weights: tuple[float, ...] = (0.6, 0.2, 0.2)
    noise_weights: bool = False
    self_labels: float = 0.0
    partial_labels: float = 0.0
    mosaic_cell: int = 0
    drop_last: bool = True
    freeze_bn: bool = False
    gated_selection: bool = True
    gate_threshold: float = 0.1
    select: Literal["miou", "mean", "last"] = "miou"
    one_encoder: bool = False
    shared_stages: int = 0
    gate_stride: int = 0


@dataclass(frozen=True)
class Preset:
    """The settings of a whole run."""

    name: str
    stage1: Stage1Settings = field(default_factory=Stage1Settings)
    cam: CamSettings = field(default_factory=CamSettings)
    stage2: Stage2Settings = field(default_factory=Stage2Settings)


_ADAMW = OptimiserSettings(
    name="adamw",
    lr=6e-4,
    head_lr=5.0,
    weight_decay=1e-2,
    schedule="cos",
    warmup_epochs=0.5,
    gradient_clip=5.0,
)

_REFERENCE = Preset(
    "reference",
    Stage1Settings(
        # The released optimiser receives its weight decay in the place of the momentum.
        optimiser=OptimiserSettings(momentum=5e-4),
        pda=PdaSchedule(start=3, decay=0.98, floor=0.65, from_start=True, clamp=False),
    ),
    CamSettings(mask_mode="reference"),
    Stage2Settings(loss="reference", epochs=30, drop_last=False, gated_selection=False),
)

_PAPER = Preset(
    "paper",
    Stage1Settings(pda=_PAPER_PDA),
    CamSettings(),
    Stage2Settings(loss="masked", epochs=20, gated_selection=False),
)

_RECOMMENDED = Preset(
    "recommended",
    Stage1Settings(
        backbone="efficientnet-lite0",
        epochs=6,
        batch_size=16,
        optimiser=_ADAMW,
        augment=AugmentSettings(vertical_flip=0.5, rotate=True, stain=0.03, jpeg=0.5),
        pda=None,
        least_side=160,
        select="best",
    ),
    CamSettings(flip=True, turns=True, fuse=True),
    Stage2Settings(
        backbone="efficientnet-lite0",
        epochs=6,
        batch_size=16,
        optimiser=_ADAMW,
        augment=AugmentSettings(vertical_flip=0.5, rotate=True, blur=0.3, stain=0.03, jpeg=0.5),
        layer_weights=(1.0,),
        mosaic=0.4,
        least_side=160,
        select="last",
        shared_stages=5,
        gate_stride=32,
    ),
)

PRESETS: dict[str, Preset] = {p.name: p for p in (_REFERENCE, _PAPER, _RECOMMENDED)}


_S = TypeVar("_S", Stage1Settings, Stage2Settings, CamSettings)


def with_options(settings: _S, options: Namespace) -> _S:
    """Return settings with what a command line asks: every option whose ``dest`` is the path of a field."""
    known = {field.name for field in fields(settings)}
    asked = {path: value for path, value in vars(options).items() if path.partition(".")[0] in known}
    changed: _S = override(settings, asked)
    return changed


def to_dict(settings: Any) -> dict[str, Any]:
    """Return settings in a JSON-ready form (tuples become lists)."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        return [plain(v) for v in value] if isinstance(value, tuple) else value

    result: dict[str, Any] = plain(asdict(settings))
    return result


def override(settings: Any, changes: dict[str, Any]) -> Any:
    """Return settings with some fields replaced; ``optimiser.lr`` reaches into a nested field.

    Parameters
    ----------
    settings : dataclass instance
    changes : dict
        Field path to value; a value of None leaves the field as it is.

    Raises
    ------
    KeyError
        For a field that does not exist (a programming error, not a user's).
    """
    for path, value in changes.items():
        if value is None:
            continue
        head, _, rest = path.partition(".")
        if head not in {f.name for f in fields(settings)}:
            raise KeyError(path)
        inner = override(getattr(settings, head), {rest: value}) if rest else value
        settings = replace(settings, **{head: inner})
    return settings
