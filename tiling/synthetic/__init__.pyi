from .patches import paint_patches as paint_patches
from .score import score_labels as score_labels
from .slide import DEMO as DEMO, SYNTHETIC_SCHEMA as SYNTHETIC_SCHEMA, SyntheticSlide as SyntheticSlide
from .write import write_slide as write_slide
