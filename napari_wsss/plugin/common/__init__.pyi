from .heartbeat_widget import start_heartbeat as start_heartbeat
from .input_parts import (
    ElidedCombo as ElidedCombo,
    ElidedLabel as ElidedLabel,
    FittingScroll as FittingScroll,
    called as called,
    guard_wheel as guard_wheel,
    set_tip as set_tip,
)
from .job import (
    Job as Job,
    Starter as Starter,
    limit_compute_threads as limit_compute_threads,
    start_in_thread as start_in_thread,
)
from .key_parts import WindowKeys as WindowKeys
from .messages import explain as explain, in_plain_words as in_plain_words
from .networks import NetworkShelf as NetworkShelf, borrow_networks as borrow_networks
from .parts import (
    NOTE_COLORS as NOTE_COLORS,
    button as button,
    fill_combo as fill_combo,
    note as note,
    quiet as quiet,
    scale_box as scale_box,
    section as section,
    set_note as set_note,
    set_quietly as set_quietly,
    swatch as swatch,
    table as table,
    wrapped_label as wrapped_label,
)
from .person import home as home, person as person
from .preferences import (
    Preferences as Preferences,
    load_preferences as load_preferences,
    save_preferences as save_preferences,
)
from .strip import STRIP_LENGTH as STRIP_LENGTH, Strip as Strip
from .tabs_widget import title as title
from .thumbnail_widget import Thumbnail as Thumbnail
from .thumbnails import with_known_thumbnails as with_known_thumbnails
