from .cams import (
    FUSED as FUSED,
    at_stride as at_stride,
    batch_masks as batch_masks,
    mask_layers as mask_layers,
)
from .classifier import ClassifierStage as ClassifierStage
from .presence_head import with_presence as with_presence
from .segmenter import SegmenterStage as SegmenterStage
from .weights import (
    initial_classifier as initial_classifier,
    initial_segmenter as initial_segmenter,
    trained_classifier as trained_classifier,
)
