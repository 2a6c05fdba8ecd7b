"""The napari plugin: readers, writers, sample data and widgets (the only package that touches napari or Qt)."""
