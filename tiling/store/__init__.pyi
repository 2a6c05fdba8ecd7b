from .create import create_store as create_store
from .journal import Committed as Committed, Journal as Journal
from .layout import (
    FLAG_EMPTY as FLAG_EMPTY,
    FLAG_PREDICTED as FLAG_PREDICTED,
    FLAG_READ_ERROR as FLAG_READ_ERROR,
    StoreLayout as StoreLayout,
    read_run as read_run,
)
from .lock import StoreLock as StoreLock
from .pyramid import halve_labels as halve_labels, level_shapes as level_shapes
from .reader import Store as Store, open_store as open_store
from .receipt import (
    content_digest as content_digest,
    read_receipt as read_receipt,
    verify as verify,
    versions as versions,
    write_receipt as write_receipt,
)
from .writer import StoreWriter as StoreWriter, sweep as sweep
