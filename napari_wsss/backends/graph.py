"""Rewrite traced networks: batch norms folded into convolutions, equal steps merged, a cut after the first layers."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from threading import Lock, get_ident
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp, TensorMetadata
from torch.nn.utils.fusion import fuse_conv_bn_eval

from napari_wsss.models import Encoder
from tiling.errors import DeviceError

__all__ = ["cut", "simplified"]


_PLAIN = (nn.Conv2d, nn.BatchNorm2d, nn.Linear, nn.ReLU, nn.ReLU6, nn.AdaptiveAvgPool2d)
"""Modules of which the printed form and the tensors tell all."""


_TRACING = Lock()
"""Held by who traces: two at once would leave the calls of all modules in the hands of a tracer that has ended."""


class _Tracer(fx.Tracer):
    """Keeps our own kinds of convolution and batch norm whole, and other people's encoders (they may use hooks).

    While torch traces, the modules of the whole process call the tracer; it leaves those of other threads alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self._thread = get_ident()

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Note a call of the thread that traces; run any other."""
        if get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """As :meth:`call_module`, for what modules hold."""
        if get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        whole = isinstance(m, nn.Conv2d | nn.BatchNorm2d | Encoder)
        return whole or super().is_leaf_module(m, module_qualified_name)


def simplified(network: nn.Module) -> nn.Module:
    """Return the network as a graph that does less.

    Batch norms right after a convolution are folded into it. What is computed twice, alike and from the same, is
    computed once: two networks whose first layers have the same weights, as ``--frozen-stages`` leaves them, pass a
    tile through these once.

    Parameters
    ----------
    network : nn.Module
        In eval mode; its modules are shared with the result, folded convolutions are new.

    Returns
    -------
    nn.Module
        Equal up to rounding, with fewer passes over memory; ``network`` itself when it cannot be traced (control
        flow that depends on data).
    """
    try:
        with _TRACING:
            graph = _Tracer().trace(network)
    except fx.proxy.TraceError:
        return network
    result = fx.GraphModule(network, graph)
    _fold_batch_norms(result)
    _merge_equal_steps(result)
    result.delete_all_unused_submodules()
    result.recompile()
    return result


def _fold_batch_norms(folded: fx.GraphModule) -> None:
    graph = folded.graph
    modules = dict(folded.named_modules())
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    for node in list(graph.nodes):
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module":
            continue
        norm, convolution = modules[str(node.target)], modules[str(before.target)]
        if not (isinstance(norm, nn.BatchNorm2d) and isinstance(convolution, nn.Conv2d)):
            continue
        # Somebody else reads the convolution's raw output, or a module serves in two places: leave it.
        if len(before.users) > 1 or calls[node.target] > 1 or calls[before.target] > 1:
            continue
        parent, _, name = str(before.target).rpartition(".")
        setattr(folded.get_submodule(parent), name, fuse_conv_bn_eval(convolution, norm))
        node.replace_all_uses_with(before)
        graph.erase_node(node)


def _merge_equal_steps(network: fx.GraphModule) -> None:
    """Let every step that does what an earlier one did, with the same inputs, give way to that."""
    seen: dict[object, list[fx.Node]] = {}
    shared: set[fx.Node] = set()
    for node in list(network.graph.nodes):
        if node.op not in ("call_module", "call_function", "call_method", "get_attr"):
            continue
        # A repr tells nodes from each other by their names and numbers by all their digits; lists are no keys.
        key = (node.op, _what(network, node), repr(node.args), repr(node.kwargs))
        alike = next((n for n in seen.get(key, []) if _same_weights(network, n, node)), None)
        if alike is None:
            seen.setdefault(key, []).append(node)
        else:
            node.replace_all_uses_with(alike)
            network.graph.erase_node(node)
            shared.add(alike)
    for reader in {user for node in shared for user in node.users}:
        _keep_input(network, reader)


def _keep_input(network: fx.GraphModule, node: fx.Node) -> None:
    """Let a step write its result elsewhere than into its input, which others read now, too."""
    if node.kwargs.get("inplace"):
        node.update_kwarg("inplace", False)
    if node.op == "call_module" and getattr(network.get_submodule(str(node.target)), "inplace", False):
        parent, _, name = str(node.target).rpartition(".")
        module: Any = copy.copy(network.get_submodule(str(node.target)))
        module.inplace = False
        setattr(network.get_submodule(parent), name, module)


def _what(network: fx.GraphModule, node: fx.Node) -> object:
    """Return what a step does, but for its weights."""
    if node.op == "get_attr":
        return "tensor"
    if node.op != "call_module":
        return node.target
    module = network.get_submodule(str(node.target))
    # Modules of other kinds may do anything; each is its own.
    return (type(module), repr(module)) if isinstance(module, _PLAIN) else node.target


def _same_weights(network: fx.GraphModule, one: fx.Node, other: fx.Node) -> bool:
    """Whether two steps that are alike otherwise have the same tensors, bit by bit."""
    a, b = _tensors(network, one), _tensors(network, other)
    return a.keys() == b.keys() and all(
        value.dtype == b[key].dtype and torch.equal(value, b[key]) for key, value in a.items()
    )


def _tensors(network: fx.GraphModule, node: fx.Node) -> dict[str, Tensor]:
    if node.op == "call_module":
        return network.get_submodule(str(node.target)).state_dict()
    if node.op != "get_attr":
        return {}
    owner, _, name = str(node.target).rpartition(".")
    value = getattr(network.get_submodule(owner), name)
    return {"": value} if isinstance(value, Tensor) else {str(node.target): torch.empty(0)}


def cut(network: nn.Module, example: Tensor, stride: int = 16) -> tuple[nn.Module, nn.Module]:
    """Cut a network where its maps first get small.

    Rounding in the first layers moves label borders most and these layers are cheap; the bulk of the work comes after
    the first map with one pixel per ``stride`` input pixels.

    Parameters
    ----------
    network : nn.Module
        What :func:`simplified` returned.
    example : (1, T, T, 3) uint8 Tensor
        A tile; run through the network once to learn sizes.
    stride : int, optional

    Returns
    -------
    first, rest : nn.Module
        ``rest(*first(pixels))`` is ``network(pixels)``.

    Raises
    ------
    DeviceError
        When the network could not be traced.
    """
    if not isinstance(network, fx.GraphModule) or any(isinstance(m, Encoder) for m in network.modules()):
        raise DeviceError(
            "These networks cannot be cut for the precision mixed; use --precision fp32 or bf16."
        )
    with torch.no_grad():
        ShapeProp(network).propagate(example)
    limit = example.shape[1] // stride
    varying: set[fx.Node] = set()  # follows from the pixels
    late: set[fx.Node] = set()
    for node in network.graph.nodes:
        inputs = [n for n in node.all_input_nodes if n in varying]
        if node.op == "placeholder" or inputs:
            varying.add(node)
        if node.op == "output" or any(n in late or _is_small(n, limit) for n in inputs):
            late.add(node)
    return _copy_parts(network, varying - late, late)


def _copy_parts(
    network: fx.GraphModule, early: set[fx.Node], late: set[fx.Node]
) -> tuple[nn.Module, nn.Module]:
    """Copy ``early`` and ``late`` nodes into two graphs that hand tensors over.

    Constants and sizes do not cross: each graph finds its own.
    """
    crossing = _crossing(network, early, late)
    first, rest = fx.Graph(), fx.Graph()
    in_first: dict[fx.Node, fx.Node] = {}
    in_rest = {node: rest.placeholder(node.name) for node in crossing}

    def copy(node: fx.Node, graph: fx.Graph, made: dict[fx.Node, fx.Node]) -> fx.Node:
        if node not in made:
            made[node] = graph.node_copy(node, lambda n: copy(n, graph, made))
        return made[node]

    for node in network.graph.nodes:
        if node in late:
            copy(node, rest, in_rest)
        elif node in early:
            copy(node, first, in_first)
    first.output(tuple(in_first[node] for node in crossing))
    parts = fx.GraphModule(network, first), fx.GraphModule(network, rest)
    for part in parts:
        part.graph.eliminate_dead_code()
        part.delete_all_unused_submodules()
        part.recompile()
    return parts


def _crossing(network: fx.GraphModule, early: set[fx.Node], late: set[fx.Node]) -> list[fx.Node]:
    """Return the early tensors that late nodes need, in order."""
    pending = [node for user in late for node in user.all_input_nodes if node not in late]
    found: set[fx.Node] = set()
    while pending:
        node = pending.pop()
        if node in early and "tensor_meta" in node.meta:
            found.add(node)
        else:
            pending.extend(node.all_input_nodes)
    return [node for node in network.graph.nodes if node in found]


def _is_small(node: fx.Node, limit: int) -> bool:
    meta = node.meta.get("tensor_meta")
    return isinstance(meta, TensorMetadata) and len(meta.shape) == 4 and meta.shape[2] <= limit
