"""Class schemas that come with the package, and reading others from JSON files."""

from __future__ import annotations

from pathlib import Path

from tiling.classes import ClassSchema, TissueClass
from tiling.errors import BundleError, DataError
from tiling.files import read_json

__all__ = ["BCSS", "LUAD", "SCHEMAS", "resolve_schema"]

BCSS = ClassSchema(
    "bcss",
    (
        TissueClass("tumour", "TUM", "#ff0000"),
        TissueClass("stroma", "STR", "#00ff00"),
        TissueClass("lymphocytic infiltrate", "LYM", "#0000ff"),
        TissueClass("necrosis", "NEC", "#9900ff"),
    ),
)
"""BCSS-WSSS: class order and palette of the released masks."""

LUAD = ClassSchema(
    "luad",
    (
        TissueClass("tumour epithelium", "TE", "#cd3333"),
        TissueClass("necrosis", "NEC", "#00ff00"),
        TissueClass("lymphocyte", "LYM", "#4169e1"),
        TissueClass("tumour-associated stroma", "TAS", "#ffa500"),
    ),
    white_background=True,
)
"""LUAD-HistoSeg: class order and palette of the released masks, with the white-background rule."""

SCHEMAS = {schema.name: schema for schema in (BCSS, LUAD)}


def resolve_schema(schema: str | Path | ClassSchema) -> ClassSchema:
    """Return a class schema by name or from a JSON file.

    Parameters
    ----------
    schema : str, Path or ClassSchema
        ``bcss``, ``luad``, or the path of a file with ``name`` and ``classes`` (each with name, abbreviation,
        color). The ``model.json`` of a bundle serves too.

    Raises
    ------
    BundleError
        When the name is unknown or the file cannot be read as a schema.
    """
    if isinstance(schema, ClassSchema):
        return schema
    if str(schema).casefold() in SCHEMAS:
        return SCHEMAS[str(schema).casefold()]
    path = Path(schema)
    if not path.is_file():
        known = ", ".join(SCHEMAS)
        raise BundleError(f"{schema}: neither a known class schema ({known}) nor a file; pass one of them.")
    try:
        data = read_json(path)
        return ClassSchema.from_dict(data.get("schema", data))
    except (OSError, ValueError, AttributeError, DataError) as error:
        raise BundleError(f"{path}: not a class schema ({error}); see docs for the form.") from error
