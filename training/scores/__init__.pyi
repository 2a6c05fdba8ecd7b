from .cross_validation import (
    ALIKE as ALIKE,
    THRESHOLDS as THRESHOLDS,
    CrossValidation as CrossValidation,
    area_accuracy as area_accuracy,
    merged as merged,
)
from .metrics import (
    SegmentationScores as SegmentationScores,
    presence_accuracy as presence_accuracy,
)
from .tiled import Ungated as Ungated, blend_image as blend_image, ungated_image as ungated_image
