from .formats import (
    OWN_EXPORTS as OWN_EXPORTS,
    Export as Export,
    other_exports as other_exports,
    register_export as register_export,
)
from .geojson import Frame as Frame, write_geojson as write_geojson
from .html import (
    areas_table as areas_table,
    image_tag as image_tag,
    slide_and_classes as slide_and_classes,
    store_card as store_card,
)
from .measure import (
    MEASURES_HEAD as MEASURES_HEAD,
    Measure as Measure,
    Ratio as Ratio,
    cells as cells,
    measure as measure,
    place_in as place_in,
    ratios as ratios,
    write_measures as write_measures,
    write_ratios as write_ratios,
)
from .objects import as_spatialdata as as_spatialdata, region_frame as region_frame
from .overview import overlay as overlay, write_overview as write_overview
from .table import write_areas as write_areas, write_tiles as write_tiles
from .tiff import write_tiff as write_tiff
from .tissue import write_outlines as write_outlines, write_tissue_picture as write_tissue_picture
from .writing import export_file as export_file
