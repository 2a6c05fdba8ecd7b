from .exporting import (
    FORMATS as FORMATS,
    ExportFormat as ExportFormat,
    export_store as export_store,
    suggested_path as suggested_path,
)
