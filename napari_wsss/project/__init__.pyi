from .agreement import Agreement as Agreement, Conflict as Conflict
from .asking import Order as Order
from .corrections import correction_name as correction_name
from .decisions import (
    Decision as Decision,
    Source as Source,
    last_action as last_action,
    standing as standing,
)
from .description import ProjectFile as ProjectFile, SlideEntry as SlideEntry
from .encoder import DEFAULT_ENCODER as DEFAULT_ENCODER
from .events import (
    Prepared as Prepared,
    PrepareEvent as PrepareEvent,
    PreparePlanned as PreparePlanned,
    PrepareProgress as PrepareProgress,
    StepFinished as StepFinished,
    StepStarted as StepStarted,
    Trained as Trained,
    TrainEvent as TrainEvent,
    TrainProgress as TrainProgress,
)
from .fitted import (
    Head as Head,
    PlaceGrid as PlaceGrid,
    SlideMap as SlideMap,
    UncertaintyMap as UncertaintyMap,
)
from .label_log import LabelLog as LabelLog
from .painted import Correction as Correction
from .project import Project as Project, new_project as new_project, open_project as open_project
from .score import ClassScore as ClassScore, Score as Score
from .tiles import Tile as Tile, TileLabel as TileLabel
