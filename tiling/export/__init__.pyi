from .geojson import Frame as Frame, write_geojson as write_geojson
from .overview import write_overview as write_overview
from .table import write_areas as write_areas, write_tiles as write_tiles
from .tiff import write_tiff as write_tiff
