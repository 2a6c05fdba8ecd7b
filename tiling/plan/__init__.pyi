from .roi import Polygon as Polygon, Roi as Roi, read_roi as read_roi
from .run_plan import (
    OVERVIEW_SIDE as OVERVIEW_SIDE,
    GatePlace as GatePlace,
    RunOptions as RunOptions,
    RunPlan as RunPlan,
    TileBatch as TileBatch,
    make_plan as make_plan,
    plan_grids as plan_grids,
)
from .tissue import (
    TissueLook as TissueLook,
    TissueParameters as TissueParameters,
    look_for_tissue as look_for_tissue,
    tissue_mask as tissue_mask,
)
from .tissue_preview import TissuePreview as TissuePreview, look_at_slide as look_at_slide
