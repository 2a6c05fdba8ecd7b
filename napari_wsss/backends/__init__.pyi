from .agreement import check_tiles as check_tiles
from .cache import Cache as Cache, key_of as key_of
from .courtesy import HAND as HAND, lower_priority as lower_priority
from .hand_over import export_onnx as export_onnx, export_wsinfer as export_wsinfer
from .maps import Backend as Backend, presence_of as presence_of, probabilities_of as probabilities_of
from .openvino_backend import (
    OpenVinoBackend as OpenVinoBackend,
    openvino_has_bf16 as openvino_has_bf16,
    openvino_version as openvino_version,
)
from .select import BackendName as BackendName, Precision as Precision, choose_backend as choose_backend
from .torch_backend import TorchBackend as TorchBackend
