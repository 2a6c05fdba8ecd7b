from .colors import class_features as class_features, label_colormap as label_colormap
from .frame import (
    raster_frame as raster_frame,
    slide_frame as slide_frame,
    unit_factors as unit_factors,
    viewer_units as viewer_units,
)
from .layers import (
    LABEL_OPACITY as LABEL_OPACITY,
    METADATA_KEY as METADATA_KEY,
    LayerData as LayerData,
    cam_layers as cam_layers,
    coarsest_level as coarsest_level,
    labels_layer as labels_layer,
    levels_on_disk as levels_on_disk,
    slide_layer as slide_layer,
    store_layers as store_layers,
)
from .marker import go_to_box as go_to_box, mark_box as mark_box
from .pyramid import COARSEST_MAX as COARSEST_MAX, resident as resident
