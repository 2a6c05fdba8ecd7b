from .allocator import kept_memory as kept_memory
from .blend import RowBlender as RowBlender, Strip as Strip
from .drive import run as run
from .events import (
    BlockWritten as BlockWritten,
    Event as Event,
    Finished as Finished,
    Planned as Planned,
    Progress as Progress,
    TilesDone as TilesDone,
)
from .field import FieldGate as FieldGate, presence_field as presence_field
from .memory import estimate_memory as estimate_memory
from .predictor import Prediction as Prediction
from .read_ahead import ReadAhead as ReadAhead
