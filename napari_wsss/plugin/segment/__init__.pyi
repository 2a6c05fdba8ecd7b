from .region import view_box as view_box
from .session import SegmentSession as SegmentSession, session_for as session_for
