from .dicom import dicom_series as dicom_series, may_be_dicom as may_be_dicom
from .level import Level as Level, LevelReader as LevelReader
from .open import (
    SlideFormat as SlideFormat,
    open_slide as open_slide,
    register_format as register_format,
    slide_suffixes as slide_suffixes,
)
from .readers.array import ArrayReader as ArrayReader
from .readers.segments import CACHE_BYTES as CACHE_BYTES
from .resolution import (
    MAX_MPP as MAX_MPP,
    MIN_MPP as MIN_MPP,
    Resolution as Resolution,
    WeighedStatement as WeighedStatement,
)
from .slide import MAX_PIXELS_PER_READ as MAX_PIXELS_PER_READ, Slide as Slide
from .statements import Statement as Statement
