"""The reader that napari calls for files, folders and drops: slides and result stores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from napari_wsss.plugin.results import load_look
from napari_wsss.plugin.view import LayerData, layers_of_kind, slide_layer, store_layers
from tiling.address import is_address
from tiling.errors import WsssError
from tiling.folders import is_store
from tiling.slides import open_slide

__all__ = ["get_reader", "read_slide", "read_store"]

SLIDE_SUFFIXES = frozenset({".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".svslide", ".vms", ".vmu"})
"""Nothing but slides: a damaged one is reported by us and not handed on to other readers."""

Reader = Callable[[str | Sequence[str]], list[LayerData]]


def get_reader(path: str | Sequence[str]) -> Reader | None:
    """Return the function that reads a path, or None when it is no slide and no store of ours.

    Parameters
    ----------
    path : str or sequence of str
        As napari gives it; several paths at once would be a stack, which slides cannot be.
    """
    if not isinstance(path, str):
        if len(path) != 1:
            return None
        path = path[0]
    file = Path(path)
    if is_store(file) or (is_address(file) and _opens_as_store(file)):
        return read_store
    # Files that others may rightly claim (TIFF, folders, zarr) are looked into; opening reads no pixels.
    if (file.suffix.lower() in SLIDE_SUFFIXES and file.is_file()) or _opens_as_slide(file):
        return read_slide
    return None


def read_slide(path: str | Sequence[str]) -> list[LayerData]:
    """Read a slide as one lazy layer.

    Raises
    ------
    SlideError
        One sentence: the file, what is wrong, what to do.
    """
    return [slide_layer(open_slide(_only(path)))]


def read_store(path: str | Sequence[str]) -> list[LayerData]:
    """Read a result store: its overview, and the classes on it.

    The overview is there but hidden when a slide is open already, which shows the same and more.

    Raises
    ------
    StoreError
        When the store is damaged.
    """
    from tiling.store import open_store  # zarr takes a while to load, and slides do without it

    store = open_store(_only(path))
    return store_layers(store, backdrop=not _a_slide_is_open(), schema=load_look(store.path, store.schema))


def _only(path: str | Sequence[str]) -> str:
    return path if isinstance(path, str) else path[0]


def _opens_as_slide(file: Path) -> bool:
    try:
        open_slide(file).close()
    except WsssError:
        return False
    return True


def _opens_as_store(address: Path) -> bool:
    from tiling.store import open_store

    try:
        open_store(address)
    except WsssError:
        return False
    return True


def _a_slide_is_open() -> bool:
    from napari import current_viewer

    viewer = current_viewer()
    return viewer is not None and bool(layers_of_kind(viewer, "slide"))
