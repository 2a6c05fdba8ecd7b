from .book import (
    ResultBook as ResultBook,
    stores_of_slide as stores_of_slide,
)
from .look import (
    load_look as load_look,
    look_path as look_path,
    save_look as save_look,
    with_class as with_class,
)
from .numbers import (
    LegendRow as LegendRow,
    area_text as area_text,
    class_areas as class_areas,
    legend as legend,
    legend_table as legend_table,
    percent_text as percent_text,
    ratio_text as ratio_text,
    usual_ratio as usual_ratio,
)
from .result import (
    Result as Result,
    difference_text as difference_text,
    read_result as read_result,
    state_of as state_of,
)
from .state import (
    RunState as RunState,
    advance as advance,
    progress_text as progress_text,
)
