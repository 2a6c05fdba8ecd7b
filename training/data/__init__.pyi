from .augment import augment as augment
from .datasets import (
    EpochSampler as EpochSampler,
    EvaluationSet as EvaluationSet,
    PatchSet as PatchSet,
    PseudoMaskSet as PseudoMaskSet,
    balance_weights as balance_weights,
    read_image as read_image,
    read_mask as read_mask,
    to_input as to_input,
)
from .files import (
    IMAGE_SUFFIXES as IMAGE_SUFFIXES,
    MASKS_JSON as MASKS_JSON,
    SAID_JSON as SAID_JSON,
    MaskedImage as MaskedImage,
    Patch as Patch,
    Problem as Problem,
    check_pairs as check_pairs,
    check_patches as check_patches,
    check_pseudo_masks as check_pseudo_masks,
    pseudo_mask_path as pseudo_mask_path,
    recorded_layers as recorded_layers,
    report_or_raise as report_or_raise,
)
from .mosaic import (
    EXACT as EXACT,
    MosaicSettings as MosaicSettings,
    mix as mix,
    write_mosaics as write_mosaics,
)
from .root import TrainingData as TrainingData, data_digest as data_digest, read_data as read_data
