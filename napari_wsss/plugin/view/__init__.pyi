from .clicks import clicks_are_taken as clicks_are_taken, takes_clicks as takes_clicks
from .colors import class_features as class_features, label_colormap as label_colormap
from .frame import (
    layer_size as layer_size,
    placement_of as placement_of,
    raster_frame as raster_frame,
    slide_frame as slide_frame,
    unit_factors as unit_factors,
    viewer_units as viewer_units,
    world_to_data as world_to_data,
)
from .layers import (
    LABEL_OPACITY as LABEL_OPACITY,
    LayerData as LayerData,
    cam_layers as cam_layers,
    coarsest_level as coarsest_level,
    doubt_layer as doubt_layer,
    doubt_place as doubt_place,
    labels_layer as labels_layer,
    levels_on_disk as levels_on_disk,
    slide_layer as slide_layer,
    store_layers as store_layers,
)
from .marker import go_to_box as go_to_box, mark_box as mark_box
from .outlines import keep_outlines_visible as keep_outlines_visible
from .placing import (
    fit as fit,
    follow as follow,
    follow_steps as follow_steps,
    hide as hide,
    layers_of as layers_of,
    rescale as rescale,
    share_unit as share_unit,
    show_only as show_only,
    show_scale_bar as show_scale_bar,
)
from .pyramid import COARSEST_MAX as COARSEST_MAX, resident as resident
from .ruler import RULER as RULER, draw_ruler as draw_ruler
from .slide_key import (
    METADATA_KEY as METADATA_KEY,
    SlideKey as SlideKey,
    kind_of as kind_of,
    layers_of_kind as layers_of_kind,
    slide_of as slide_of,
)
