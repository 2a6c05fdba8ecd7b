from .presenter import (
    Teacher as Teacher,
    labels_changed_in as labels_changed_in,
    open_project_of as open_project_of,
    teacher_for as teacher_for,
)
from .workspace import slide_of_store as slide_of_store
