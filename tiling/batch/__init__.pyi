from .cluster import (
    DaskScheduler as DaskScheduler,
    worker_number as worker_number,
)
from .first_contact import FirstContact as FirstContact, Guarded as Guarded
from .isolated import (
    RunOne as RunOne,
    Scheduler as Scheduler,
    one_after_another as one_after_another,
    prepare_output as prepare_output,
    run_batch as run_batch,
)
from .jobs import Shard as Shard, SlideJob as SlideJob, find_jobs as find_jobs
from .report import ReportRow as ReportRow, write_report as write_report
from .report_page import slide_page as slide_page
from .summary import SlideOutcome as SlideOutcome, Status as Status, exit_code as exit_code
