from .region import view_box as view_box
from .request import settings_of as settings_of
from .session import SegmentSession as SegmentSession, session_for as session_for
