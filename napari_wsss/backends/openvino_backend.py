"""The OpenVINO backend: the torch networks converted at start, one tile per request, one request per core."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_wsss.backends.cache import Cache
from napari_wsss.backends.cheaper import cheaper
from napari_wsss.backends.courtesy import StepBack
from napari_wsss.backends.graph import cut, simplified
from napari_wsss.backends.maps import Maps
from tiling.errors import DeviceError

__all__ = ["OpenVinoBackend", "openvino_has_bf16", "openvino_version"]

# Precision -> that of each part of the networks; two parts are cut where maps get small.
_PARTS = {"fp32": ("f32",), "mixed": ("f32", "bf16"), "bf16": ("bf16",)}
_MOST_STREAMS = 16  # batches have about as many tiles
_FIRST_INFERENCE = Lock()


class OpenVinoBackend:
    """Runs a pair of networks with OpenVINO on the CPU.

    Parameters
    ----------
    pair : callable
        Makes the :class:`~napari_wsss.backends.maps.Pair`; called only when there is nothing usable in the cache.
    tile : int
        Side of a tile; the converted networks have a fixed shape.
    precision : {"fp32", "mixed", "bf16"}
    cache : Cache
    key : str
        Names the converted networks in the cache.

    Raises
    ------
    DeviceError
        When OpenVINO is missing, cannot convert the networks or cannot run them.

    Notes
    -----
    Every tile is a request of its own and requests run side by side, one core each (``torch.get_num_threads()``
    says how many). That is as fast as batches, and a tile's result cannot depend on its neighbours in the batch.
    """

    name = "openvino"

    def __init__(
        self, pair: Callable[[], nn.Module], tile: int, precision: str, cache: Cache, key: str
    ) -> None:
        if precision not in _PARTS:
            raise DeviceError(f"The backend openvino does not compute {precision}; use --backend torch.")
        self.precision = precision
        self._tile = tile
        core = _openvino().Core()
        threads = torch.get_num_threads()
        streams = min(threads, _MOST_STREAMS)
        try:
            models = _converted(core, pair, tile, len(_PARTS[precision]), cache, key)
            compiled = [
                core.compile_model(
                    model,
                    "CPU",
                    {
                        "INFERENCE_PRECISION_HINT": hint,
                        "INFERENCE_NUM_THREADS": threads,
                        "NUM_STREAMS": streams,
                    },
                )
                for model, hint in zip(models, _PARTS[precision], strict=True)
            ]
        except (RuntimeError, ValueError, TypeError) as error:
            raise DeviceError(
                f"OpenVINO cannot run these networks ({_first_line(error)}); use --backend torch."
            ) from error
        self._shapes = [tuple(output.shape[1:]) for output in compiled[-1].outputs]
        self._pool = ThreadPoolExecutor(streams, thread_name_prefix="openvino")
        self._step_back = StepBack()
        self._idle: SimpleQueue[list[Any]] = SimpleQueue()
        for _ in range(streams):
            self._idle.put([part.create_infer_request() for part in compiled])
        # OpenVINO sets up its bridge to numpy at the first inference of a process, and hangs for ever when two threads
        # do that at once: each holds what the other waits for (the GIL, a C++ static). Seen with 2026.4.
        requests = self._idle.get()
        with _FIRST_INFERENCE:
            _infer(requests, np.zeros((1, tile, tile, 3), np.uint8))
        self._idle.put(requests)

    def __call__(self, pixels: NDArray[np.uint8]) -> Maps:
        """Run the networks on tiles (N, T, T, 3) uint8 RGB."""
        if pixels.shape[1:] != (self._tile, self._tile, 3):
            raise ValueError(f"tiles must be (N, {self._tile}, {self._tile}, 3), not {pixels.shape}")
        results = [np.empty((len(pixels), *shape), np.float32) for shape in self._shapes]

        def predict(index: int) -> None:
            requests = self._idle.get()
            try:
                values = self._step_back(_infer, requests, pixels[index : index + 1])
                for result, value in zip(results, values, strict=True):
                    result[index] = value[0]
            finally:  # One that is not given back would be waited for without end.
                self._idle.put(requests)

        list(self._pool.map(predict, range(len(pixels))))
        return Maps.of([torch.from_numpy(result) for result in results])


def _infer(requests: list[Any], tile: NDArray[np.uint8]) -> list[NDArray[Any]]:
    """Run the parts of the networks one after another; the values live until the next call with these requests."""
    values: list[NDArray[Any]] = [tile]
    for request in requests:
        request.infer(values, share_inputs=True)
        values = [tensor.data for tensor in request.output_tensors]
    return values


def openvino_version() -> str | None:
    """Return the version of the installed OpenVINO, None when there is none. Loads nothing."""
    try:
        return metadata.version("openvino")
    except metadata.PackageNotFoundError:
        return None


def openvino_has_bf16() -> bool:
    """Whether OpenVINO is there and computes bf16 in hardware on this CPU."""
    try:
        core = _openvino().Core()
    except DeviceError:
        return False
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@contextlib.contextmanager
def _telling_nobody() -> Iterator[None]:
    """Let OpenVINO be loaded with its own stand-in for telemetry.

    Unless somebody has opted out, each conversion would otherwise start a process that reports to a network address.
    """
    reporter = "openvino_telemetry"
    if reporter in sys.modules:  # whoever has loaded it decides
        yield
        return
    modules: dict[str, Any] = sys.modules
    modules[reporter] = None
    try:
        yield
    finally:
        sys.modules.pop(reporter, None)


def _openvino() -> Any:
    try:
        with _telling_nobody():
            import openvino
    except ImportError as error:
        raise DeviceError(
            f"The backend openvino cannot be loaded ({error}): run `pip install 'napari-wsss[openvino]'` or use "
            "--backend torch."
        ) from error
    return openvino


def _converted(
    core: Any, pair: Callable[[], nn.Module], tile: int, parts: int, cache: Cache, key: str
) -> list[Any]:
    """Return the converted parts, from the cache or put there; both ways they are read from the same files."""

    def read(folder: Path) -> list[Any]:
        return [core.read_model(folder / f"part{number}.xml") for number in range(parts)]

    folder = cache.folder(key)
    if folder is not None:
        try:
            return read(folder)
        except RuntimeError:
            cache.remove(key)  # whole, but nothing this OpenVINO can read
    models = _convert(pair(), tile, parts)
    folder = cache.add_folder(key, lambda path: _save(models, path))
    return models if folder is None else read(folder)


def _convert(pair: nn.Module, tile: int, parts: int) -> list[Any]:
    values: Sequence[Tensor] = (torch.zeros((1, tile, tile, 3), dtype=torch.uint8),)
    network = cheaper(simplified(pair.eval().requires_grad_(False)), values[0])
    models = []
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        # The tracer says that sizes become constants; that is meant.
        warnings.simplefilter("ignore")
        for part in cut(network, values[0]) if parts == 2 else (network,):
            shapes = [list(value.shape) for value in values]
            # Traced here, because OpenVINO would run the networks twice more to check the trace; agreement is
            # measured on real tiles instead.
            traced = torch.jit.trace(part, tuple(values), check_trace=False)  # type: ignore[no-untyped-call]
            models.append(_openvino().convert_model(traced, example_input=tuple(values), input=shapes))
            if len(models) < parts:
                values = part(*values)
    return models


def _save(models: list[Any], folder: Path) -> None:
    try:
        for number, model in enumerate(models):
            # fp16 storage is the default and would change results.
            _openvino().save_model(model, folder / f"part{number}.xml", compress_to_fp16=False)
    except RuntimeError as error:  # how OpenVINO reports a full disk
        raise OSError(_first_line(error)) from error


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
