from .level import Level as Level, LevelReader as LevelReader
from .open import FORMATS as FORMATS, open_slide as open_slide
from .readers.array import ArrayReader as ArrayReader
from .readers.segments import CACHE_BYTES as CACHE_BYTES
from .resolution import Resolution as Resolution, WeighedStatement as WeighedStatement
from .slide import MAX_PIXELS_PER_READ as MAX_PIXELS_PER_READ, Slide as Slide
from .statements import Statement as Statement
