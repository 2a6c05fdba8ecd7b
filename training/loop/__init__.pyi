from .fit import (
    fit_trainee as fit_trainee,
    load_best as load_best,
    run_device as run_device,
    seed_everything as seed_everything,
)
from .pages import contact_sheet as contact_sheet, overlay as overlay
from .reports import SamplePages as SamplePages
from .run_folder import RunFolder as RunFolder
from .stage import Stage as Stage
from .trainee import Trainee as Trainee, channels_last as channels_last
