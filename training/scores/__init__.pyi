from .metrics import (
    Scores as Scores,
    SegmentationScores as SegmentationScores,
    presence_accuracy as presence_accuracy,
    scores_of as scores_of,
)
from .tiled import blend_image as blend_image
