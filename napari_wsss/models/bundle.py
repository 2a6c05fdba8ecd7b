"""Model bundles: a folder with model.json and safetensors weights, verified before use.

Reading a bundle loads no torch; building its networks does. Every failure is one
:class:`~tiling.errors.BundleError` that names the file.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from napari_wsss.models.bundle_json import (
    Gate,
    NetworkSpec,
    mapping,
    parse_gate,
    parse_presence,
    parse_presence_stride,
    parse_spec,
    spec_to_dict,
)
from napari_wsss.models.registry import STAGE1_ARCHITECTURES, STAGE2_ARCHITECTURES
from tiling.classes import ClassSchema
from tiling.errors import BundleError, DataError
from tiling.files import read_json, refuse_special

if TYPE_CHECKING:
    from napari_wsss.models.patch_classifier import PatchClassifier
    from napari_wsss.models.segmentation_network import SegmentationNetwork

__all__ = [
    "FORMAT_VERSION",
    "Bundle",
    "Gate",
    "NetworkSpec",
    "default_bundle",
    "list_bundles",
    "load_bundle",
    "parse_bundle",
]

_N = TypeVar("_N", bound="PatchClassifier | SegmentationNetwork")
FORMAT_VERSION = 1
MODEL_JSON = "model.json"
EMBEDDED = Path(__file__).resolve().parents[1] / "bundles"
_BEST = ("crc-demo", "synthetic-demo")  # the default is the first one that is embedded


@dataclass(frozen=True)
class Bundle:
    """A trained model with everything needed to run it.

    Attributes
    ----------
    path : Path
        The folder.
    name, description, licence, training_data : str
        For people.
    schema : ClassSchema
        Classes in network order.
    mpp : float
        µm per pixel the networks were trained at.
    tile : int
        Side of a tile in pixels.
    stage1 : NetworkSpec
        Patch classifier.
    stage2 : NetworkSpec or None
        Segmentation network; None: labels come from stage 1's CAMs.
    gate : Gate
        Thresholds calibrated for this model.
    metrics, provenance : mapping
        Scores with their data set, and how the bundle was made (JSON-ready).
    presence : str
        ``stage1`` or ``stage2``: the network whose word on what a tile holds opens the gate. With ``stage2`` a tile
        passes one encoder, and stage 1 is built for CAMs only.
    presence_stride : int or None
        Input pixels per place at which stage 1 says what a tile holds; None: those of its CAMs.
    """

    path: Path
    name: str
    description: str
    licence: str
    training_data: str
    schema: ClassSchema
    mpp: float
    tile: int
    stage1: NetworkSpec
    stage2: NetworkSpec | None = None
    gate: Gate = field(default_factory=Gate)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    presence: str = "stage1"
    presence_stride: int | None = None

    @property
    def hashes(self) -> dict[str, str]:
        """Digest of each stage's weights, by stage name."""
        specs = {"stage1": self.stage1, "stage2": self.stage2}
        return {stage: spec.sha256 for stage, spec in specs.items() if spec is not None}

    def verify(self) -> None:
        """Check that the weights files are there and have the recorded digests.

        Raises
        ------
        BundleError
            Naming the file that is missing or differs.
        """
        for spec in (self.stage1, self.stage2):
            if spec is not None:
                _check_digest(self.path / spec.file, spec.sha256)

    def build_stage1(self) -> PatchClassifier:
        """Build the patch classifier with its weights, in eval mode, float32, on the CPU.

        Raises
        ------
        BundleError
            When the weights cannot be read or do not fit the architecture.
        """
        from napari_wsss.models.registry import build_stage1

        return _build(build_stage1, self.path, self.stage1, len(self.schema))

    def build_gatekeeper(self) -> PatchClassifier:
        """Build stage 1 as it says what a tile holds: like :meth:`build_stage1`, at ``presence_stride``."""
        if self.presence_stride is None:
            return self.build_stage1()
        arguments = {**self.stage1.arguments, "output_stride": self.presence_stride}
        return replace(self, stage1=replace(self.stage1, arguments=arguments)).build_stage1()

    def build_stage2(self) -> SegmentationNetwork | None:
        """Build the segmentation network like :meth:`build_stage1`; None for a bundle without one."""
        from napari_wsss.models.registry import build_stage2

        return None if self.stage2 is None else _build(build_stage2, self.path, self.stage2, len(self.schema))

    def to_dict(self) -> dict[str, Any]:
        """Return the content of model.json."""
        stride = {} if self.presence_stride is None else {"presence_stride": self.presence_stride}
        return {
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "description": self.description,
            "licence": self.licence,
            "training_data": self.training_data,
            "schema": self.schema.to_dict(),
            "mpp": self.mpp,
            "tile": self.tile,
            "stage1": spec_to_dict(self.stage1),
            "stage2": None if self.stage2 is None else spec_to_dict(self.stage2),
            "presence": self.presence,
            **stride,
            "gate": {"thresholds": list(self.gate.thresholds), "mode": self.gate.mode},
            "metrics": dict(self.metrics),
            "provenance": dict(self.provenance),
        }


def list_bundles() -> list[str]:
    """Return the names of the bundles that come with the package, sorted."""
    return sorted(path.parent.name for path in EMBEDDED.glob(f"*/{MODEL_JSON}"))


def default_bundle(embedded: Sequence[str] | None = None) -> str:
    """Return the name of the bundle that is used when none is chosen: of real tissue before synthetic.

    Parameters
    ----------
    embedded : sequence of str, optional
        Names to choose from; default: what comes with the package.

    Raises
    ------
    BundleError
        When there is none.
    """
    names = list_bundles() if embedded is None else embedded
    for name in (*_BEST, *names):
        if name in names:
            return name
    raise BundleError("This installation has no embedded model; give a bundle folder with --model.")


def load_bundle(bundle: str | Path, verify: bool = True) -> Bundle:
    """Read a bundle.

    Parameters
    ----------
    bundle : str or Path
        Name of an embedded bundle (see :func:`list_bundles`) or a folder; a folder of that name wins only
        when it is written as a path (with a separator) or no embedded bundle has the name.
    verify : bool, optional
        Also compare the weights with their recorded digests (reads the files once).

    Returns
    -------
    Bundle
        Its networks are built only when asked for.

    Raises
    ------
    BundleError
        When anything about the folder is wrong: one sentence naming the file.
    """
    folder = _find(bundle)
    path = folder / MODEL_JSON
    try:
        data = read_json(path)
    except FileNotFoundError as error:
        raise BundleError(f"{path}: the file is missing, so {folder} is no model bundle.") from error
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except ValueError as error:
        raise BundleError(
            f"{path}: not valid JSON ({error}); restore the file or make the bundle again."
        ) from error
    loaded = parse_bundle(data, folder, path)
    if verify:
        loaded.verify()
    return loaded


def sha256_of(path: Path) -> str:
    """Return the digest of a file as 64 hex digits.

    Raises
    ------
    OSError
        When it cannot be read or is no ordinary file: a device never ends.
    """
    refuse_special(path)
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _find(bundle: str | Path) -> Path:
    text = str(bundle)
    if text in list_bundles():
        return EMBEDDED / text
    folder = Path(bundle)
    if folder.name == MODEL_JSON:
        folder = folder.parent
    if not folder.is_dir():
        known = ", ".join(list_bundles()) or "none"
        raise BundleError(
            f"{bundle}: neither a bundle folder nor an embedded bundle (there are: {known}); "
            "see `wsss-tile models`."
        )
    return folder


def _check_digest(path: Path, expected: str) -> None:
    try:
        found = sha256_of(path)
    except FileNotFoundError as error:
        raise BundleError(
            f"{path}: the weights file is missing; restore it or make the bundle again."
        ) from error
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror or error}).") from error
    if found != expected:
        raise BundleError(
            f"{path}: the weights differ from the digest in model.json (sha256 {found[:12]}…, not "
            f"{expected[:12]}…); copy the bundle again."
        )


def parse_bundle(data: object, folder: Path, path: Path) -> Bundle:
    """Turn the content of model.json into a Bundle; ``path`` is for messages."""
    if not isinstance(data, dict):
        raise BundleError(f"{path}: holds no JSON object; restore the file or make the bundle again.")
    version = data.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise BundleError(f"{path}: has no format_version, so it is no model bundle of this program.")
    if version > FORMAT_VERSION:
        raise BundleError(
            f"{path}: format version {version} is newer than this program reads ({FORMAT_VERSION}); "
            "update napari-wsss."
        )
    try:
        schema = ClassSchema.from_dict(data["schema"])
        mpp, tile = float(data["mpp"]), data["tile"]
        if not (math.isfinite(mpp) and 0.05 <= mpp <= 100):
            raise DataError(f"mpp is {mpp}, not a plausible µm per pixel")
        if not isinstance(tile, int) or isinstance(tile, bool) or not 16 <= tile <= 8192:
            raise DataError(f"tile is {tile!r}, not a whole number of pixels from 16 to 8192")
        stage2 = (
            None if data.get("stage2") is None else parse_spec(data["stage2"], STAGE2_ARCHITECTURES, "stage2")
        )
        stage1 = parse_spec(data["stage1"], STAGE1_ARCHITECTURES, "stage1")
        presence = parse_presence(data.get("presence", "stage1"), stage2)
        return Bundle(
            path=folder,
            name=str(data.get("name") or folder.name),
            description=str(data.get("description", "")),
            licence=str(data.get("licence", "")),
            training_data=str(data.get("training_data", "")),
            schema=schema,
            mpp=mpp,
            tile=tile,
            stage1=stage1,
            stage2=stage2,
            gate=parse_gate(data.get("gate") or {}, len(schema)),
            metrics=mapping(data.get("metrics") or {}, "metrics"),
            provenance=mapping(data.get("provenance") or {}, "provenance"),
            presence=presence,
            presence_stride=parse_presence_stride(data.get("presence_stride"), presence, stage1, stage2),
        )
    except KeyError as error:
        raise BundleError(f"{path}: the entry {error} is missing; restore the file.") from error
    except (DataError, TypeError, ValueError, OverflowError) as error:
        raise BundleError(f"{path}: {str(error).rstrip('.')}; correct it.") from error


def _build(builder: Callable[..., _N], folder: Path, spec: NetworkSpec, num_classes: int) -> _N:
    import torch

    from napari_wsss.models.weights import fill, read_safetensors

    try:
        # On the meta device: random weights for 100 million parameters would be made only to be thrown away.
        with torch.device("meta"):
            network = builder(spec.architecture, num_classes, **spec.arguments)
    except (TypeError, ValueError, AttributeError, OverflowError, RuntimeError) as error:
        raise BundleError(f"{folder / MODEL_JSON}: {spec.architecture} cannot be built ({error}).") from error
    path = folder / spec.file
    fill(network, read_safetensors(path), path)
    network.eval()
    return network
