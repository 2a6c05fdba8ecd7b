from .chunks import read_here as read_here
from .contents import (
    RECEIPT as RECEIPT,
    content_names as content_names,
    disk_error as disk_error,
    sweep as sweep,
    telling_damage as telling_damage,
)
from .create import create_store as create_store
from .journal import Committed as Committed, Journal as Journal
from .layout import (
    DOUBTS as DOUBTS,
    FLAG_BLUR as FLAG_BLUR,
    FLAG_BUBBLE as FLAG_BUBBLE,
    FLAG_EMPTY as FLAG_EMPTY,
    FLAG_FOLD as FLAG_FOLD,
    FLAG_PEN as FLAG_PEN,
    FLAG_PREDICTED as FLAG_PREDICTED,
    FLAG_READ_ERROR as FLAG_READ_ERROR,
    StoreLayout as StoreLayout,
    read_run as read_run,
)
from .lock import StoreLock as StoreLock
from .pyramid import halve_labels as halve_labels, level_shapes as level_shapes
from .reader import Store as Store, open_store as open_store
from .receipt import (
    areas_mm2 as areas_mm2,
    content_digest as content_digest,
    count_doubts as count_doubts,
    read_receipt as read_receipt,
    verify as verify,
    versions as versions,
    write_receipt as write_receipt,
)
from .tally import Tally as Tally
from .writer import StoreWriter as StoreWriter
