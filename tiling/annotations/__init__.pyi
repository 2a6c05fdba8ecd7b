from .geojson import Annotations as Annotations, read_annotations as read_annotations
