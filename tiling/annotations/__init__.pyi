from .class_areas import ClassAreas as ClassAreas, read_class_areas as read_class_areas
from .match import (
    Matched as Matched,
    match_classes as match_classes,
    named_by_schema as named_by_schema,
    parse_match as parse_match,
)
from .model import (
    Annotation as Annotation,
    AnnotationFile as AnnotationFile,
    Collector as Collector,
    Place as Place,
    polygons_of as polygons_of,
)
from .raster import PolygonRaster as PolygonRaster
from .read import (
    AnnotationFormat as AnnotationFormat,
    annotation_formats as annotation_formats,
    annotations_of as annotations_of,
    place_on as place_on,
    read_annotation_file as read_annotation_file,
    register_annotation_format as register_annotation_format,
)
