from .presenter import Teacher as Teacher, open_project_of as open_project_of, teacher_for as teacher_for
