"""Which backend and precision run a bundle: what was asked for, or the fastest that agrees with torch in fp32.

The choice is made once, on fixed synthetic tiles, before any slide is seen, and remembered in the user's cache folder:
every slide on a machine, and every resumed run, gets the same one.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from napari_wsss._version import __version__
from napari_wsss.backends import agreement
from napari_wsss.backends.cache import Cache, key_of, user_cache
from napari_wsss.backends.cheaper import REVISION
from napari_wsss.backends.maps import Backend, networks_of
from napari_wsss.backends.openvino_backend import OpenVinoBackend, openvino_has_bf16, openvino_version
from napari_wsss.backends.torch_backend import TorchBackend, torch_has_bf16
from napari_wsss.models import Bundle
from tiling.errors import DeviceError

__all__ = ["BackendName", "Choice", "Precision", "choose_backend"]

BackendName = Literal["auto", "torch", "compile", "openvino"]
Precision = Literal["auto", "fp32", "mixed", "bf16", "fp16"]

_PRECISIONS = ("auto", "fp32", "mixed", "bf16", "fp16")
_BACKENDS = ("auto", "torch", "compile", "openvino")


@dataclass(frozen=True)
class Choice:
    """A backend that is ready, and what to tell people about how it was chosen.

    Attributes
    ----------
    backend : Backend
    notes : tuple of str
        One sentence each; empty when the fastest way was taken.
    """

    backend: Backend
    notes: tuple[str, ...] = ()


def choose_backend(
    bundle: Bundle, device: torch.device, precision: Precision, backend: BackendName
) -> Choice:
    """Make the backend for a bundle.

    Parameters
    ----------
    bundle : Bundle
    device : torch.device
    precision : {"auto", "fp32", "mixed", "bf16", "fp16"}
        ``mixed`` is bf16 but for the first layers, see :func:`napari_wsss.backends.graph.cut`. ``auto``: where the
        hardware has bf16, the first of bf16 and mixed that keeps the labels of fp32 on the check tiles so well that
        99.5 % stay on a slide (:data:`napari_wsss.backends.agreement.ENOUGH`); else fp32.
    backend : {"auto", "torch", "compile", "openvino"}
        ``auto``: OpenVINO on a CPU when it is installed and passes the same check, else torch. ``compile`` is torch
        with ``torch.compile``; never chosen by itself, because it needs a compiler and a minute.

    Returns
    -------
    Choice

    Raises
    ------
    BundleError
        When the weights cannot be read or do not fit.
    DeviceError
        When what was asked for is not there.
    """
    _refuse_impossible(device, precision, backend)
    workshop = _Workshop(bundle, device)
    candidates = list(_candidates(device, precision, backend))
    notes: list[str] = []
    if backend == "auto" and device.type == "cpu" and openvino_version() is None:
        notes.append(
            "OpenVINO is not installed, so the networks run with torch, which is slower on a CPU; install it with "
            "`pip install 'napari-wsss[openvino]'`."
        )
    refused: dict[_Candidate, str] = {}
    for candidate in candidates:
        last = candidate == candidates[-1]
        problem = None if last else workshop.problem_with(candidate, precision)
        if problem is None:
            if candidate.precision == "mixed":  # nearly as fast as bf16: nobody needs to know
                refused.pop(_Candidate(candidate.backend, "bf16"), None)
            return Choice(workshop.make(candidate), (*notes, *refused.values()))
        refused[candidate] = problem
    raise AssertionError("the last candidate is taken as it is")


@dataclass(frozen=True)
class _Candidate:
    backend: str
    precision: str

    def __str__(self) -> str:
        names = {"openvino": "OpenVINO", "torch": "torch", "compile": "torch.compile"}
        return f"{names[self.backend]} in {self.precision}"


def _refuse_impossible(device: torch.device, precision: str, backend: str) -> None:
    if backend not in _BACKENDS:
        raise DeviceError(f"There is no backend {backend!r}; use auto, torch, compile or openvino.")
    if precision not in _PRECISIONS:
        raise DeviceError(f"There is no precision {precision!r}; use auto, fp32, mixed, bf16 or fp16.")
    if precision == "fp16" and device.type == "cpu":
        raise DeviceError("fp16 needs a GPU; use --precision fp32, mixed or bf16 on a CPU.")
    if backend == "openvino" and device.type != "cpu":
        raise DeviceError(
            f"The backend openvino runs on the CPU, not on {device}; use --device cpu or --backend torch."
        )
    if backend == "openvino" and openvino_version() is None:
        raise DeviceError(
            "The backend openvino is not installed: run `pip install 'napari-wsss[openvino]'` or use "
            "--backend torch."
        )


def _candidates(device: torch.device, precision: str, backend: str) -> Iterator[_Candidate]:
    """Yield what could be taken, fastest first; the last needs no check."""
    if backend == "auto":
        openvino = device.type == "cpu" and openvino_version() is not None
        backends = ("openvino", "torch") if openvino else ("torch",)
    else:
        backends = (backend,)
    for name in backends:
        if precision != "auto":
            yield _Candidate(name, precision)
            continue
        if openvino_has_bf16() if name == "openvino" else torch_has_bf16(device):
            yield _Candidate(name, "bf16")
            yield _Candidate(name, "mixed")
        yield _Candidate(name, "fp32")


class _Workshop:
    """Makes and checks backends of one bundle; builds its torch networks only when something needs them."""

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        self._bundle = bundle
        self._device = device
        self._cache: Cache = user_cache()
        self._made: dict[_Candidate, Backend] = {}

    def make(self, candidate: _Candidate) -> Backend:
        """Return the backend, ready to run."""
        if candidate not in self._made:
            self._made[candidate] = self._build(candidate)
        return self._made[candidate]

    def problem_with(self, candidate: _Candidate, asked: str) -> str | None:
        """Return why the candidate must not be taken automatically, None when it agrees with torch in fp32.

        A precision that was asked for is not ours to judge: then only the conversion is checked, in fp32.
        """
        judged = candidate if asked == "auto" else _Candidate(candidate.backend, "fp32")
        facts = self._facts(judged)
        key = key_of(facts)
        known = self._cache.fact(key) or {}
        try:
            share = known.get("agreement")
            if not isinstance(share, float):
                share = self._measure(judged)
                self._cache.add_fact(key, {**facts, "agreement": share})
            # Also when the share is known: what cannot be made here and now must not be taken.
            self.make(candidate)
        except DeviceError as error:
            return f"{candidate} was not taken: {error}"
        if share >= agreement.ENOUGH:
            return None
        self._made.pop(candidate, None)
        return (
            f"{candidate} was not taken: it labels {share:.2%} of the check tiles as torch does in fp32, and "
            f"{agreement.ENOUGH:.2%} are needed."
        )

    def _measure(self, candidate: _Candidate) -> float:
        found = agreement.labels(self.make(candidate), self._tiles, self._bundle.gate)
        return float(np.mean(found == self._reference))

    @cached_property
    def _tiles(self) -> NDArray[np.uint8]:
        return agreement.check_tiles(self._bundle.tile, self._bundle.mpp)

    @cached_property
    def _reference(self) -> NDArray[np.int64]:
        reference = self.make(_Candidate("torch", "fp32"))
        return agreement.labels(reference, self._tiles, self._bundle.gate)

    def _build(self, candidate: _Candidate) -> Backend:
        if candidate.backend == "openvino":
            cut = candidate.precision == "mixed"
            key = key_of({**self._networks, "openvino": openvino_version(), "cut": cut})
            return OpenVinoBackend(
                lambda: networks_of(self._bundle), self._bundle.tile, candidate.precision, self._cache, key
            )
        return TorchBackend(
            networks_of(self._bundle),
            self._bundle.tile,
            self._device,
            candidate.precision,
            candidate.backend == "compile",
        )

    @property
    def _networks(self) -> dict[str, Any]:
        """Return what converted networks follow from."""
        bundle = self._bundle
        used = [bundle.stage2] if bundle.presence == "stage2" else [bundle.stage1, bundle.stage2]
        specs = [spec for spec in used if spec is not None]
        return {
            "presence": [bundle.presence, bundle.presence_stride],
            "weights": [spec.sha256 for spec in specs],
            "networks": [[spec.architecture, dict(spec.arguments)] for spec in specs],
            "classes": len(bundle.schema),
            "tile": bundle.tile,
            "torch": torch.__version__,
            "napari-wsss": __version__,
            "rewritten": REVISION,
        }

    def _facts(self, candidate: _Candidate) -> dict[str, Any]:
        """Return what a measured agreement follows from."""
        gate = self._bundle.gate
        return {
            **self._networks,
            "openvino": openvino_version() if candidate.backend == "openvino" else None,
            "backend": candidate.backend,
            "precision": candidate.precision,
            "gate": [list(gate.thresholds), gate.mode],
            "mpp": self._bundle.mpp,
            "hardware": _hardware(self._device),
        }


def _hardware(device: torch.device) -> str:
    """Name the processor: rounding differs between them."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{model}, {torch.backends.cpu.get_cpu_capability()}"
