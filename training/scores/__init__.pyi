from .metrics import (
    SegmentationScores as SegmentationScores,
    presence_accuracy as presence_accuracy,
)
from .tiled import blend_image as blend_image
