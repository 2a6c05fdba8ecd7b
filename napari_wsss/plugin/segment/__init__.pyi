from .region import world_to_data as world_to_data
from .session import SegmentSession as SegmentSession, session_for as session_for
