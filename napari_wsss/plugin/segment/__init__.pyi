from .session import SegmentSession as SegmentSession, session_for as session_for
