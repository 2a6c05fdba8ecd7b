from .console import (
    CommandParser as CommandParser,
    add_common_options as add_common_options,
    add_recipe_options as add_recipe_options,
    add_training_options as add_training_options,
    natural as natural,
    numbers as numbers,
    positive_int as positive_int,
    run_command as run_command,
    set_up_logging as set_up_logging,
    share as share,
)
from .loop_options import (
    BundleTexts as BundleTexts,
    LoopOptions as LoopOptions,
    options_of as options_of,
    texts_of as texts_of,
)
from .presets import (
    PRESETS as PRESETS,
    AugmentSettings as AugmentSettings,
    CamSettings as CamSettings,
    OptimiserSettings as OptimiserSettings,
    Stage1Settings as Stage1Settings,
    Stage2Settings as Stage2Settings,
    StageSettings as StageSettings,
    override as override,
    to_dict as to_dict,
    with_options as with_options,
)
from .schedules import LearningRateSchedule as LearningRateSchedule
