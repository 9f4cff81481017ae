"""The gated MLP of a decoder layer (SwiGLU) with its norm, of which only the input is kept.

Autograd keeps three tensors of such an MLP's width: more than half of what a
gradient step holds. Here the backward pass computes them again from the input of the norm, which
the layer keeps anyway; the product of the last matrix is not needed for it and is not repeated.
Rows are worked through in blocks, so that no tensor of the MLP's width exists in full length.
Weights are frozen: there is no gradient but the input's.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from stvg_huggingface.norms import FusedNorm

_BLOCK_ROWS: Final = {"cpu": 512, "cuda": 4096}
_CHILDREN: Final = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
_SILU: Final = ("SiLU", "SiLUActivation")
_PROJECTIONS: Final = ("gate_proj", "up_proj", "down_proj")

Rows = Float[Tensor, "row width"]
Wide = Float[Tensor, "row wide"]


@contextmanager
def gated_mlp(layer: nn.Module) -> Iterator[None]:
    """Let a decoder layer compute its MLP here, while inside; the backward pass may come later.

    Args:
        layer: for which `is_gated` holds.
    """
    modules: Any = layer
    norm, mlp = modules.post_attention_layernorm, modules.mlp
    gated = _Gated(norm, mlp)
    with forward_replaced(norm, lambda hidden: hidden), forward_replaced(mlp, gated):
        yield


def is_gated(layer: Any) -> bool:  # noqa: ANN401 - layers of transformers have no common type
    """Return whether a layer is of the common layout, with nothing hooked in between.

    That is: a norm before the attention, a norm before the MLP, plain linear layers and SiLU.
    """
    if {name for name, _ in layer.named_children()} != _CHILDREN:
        return False
    mlp, norm = layer.mlp, layer.post_attention_layernorm
    children = dict(mlp.named_children())
    projections = [children.get(name) for name in _PROJECTIONS]
    # Quantized layers derive from nn.Linear, and accelerate replaces `forward`.
    plain = all(type(one) is nn.Linear and "forward" not in vars(one) for one in projections)
    silu = type(getattr(mlp, "act_fn", None)).__name__ in _SILU
    bare = "forward" not in vars(mlp) and isinstance(vars(norm).get("forward"), FusedNorm | None)
    return plain and silu and set(children) == {*_PROJECTIONS, "act_fn"} and bare


@contextmanager
def forward_replaced(module: Any, forward: Callable[..., Any]) -> Iterator[None]:  # noqa: ANN401 - torch's is untyped
    """Let a module run another function than its own forward, while inside."""
    before = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if before is not None:
            module.forward = before


class _Gated:
    """One layer's norm and MLP."""

    def __init__(self, norm: nn.Module, mlp: Any) -> None:  # noqa: ANN401 - the same
        # Taken now: the module itself runs another function while this stands in its place.
        self._normed: Callable[[Rows], Rows] = norm.forward
        self._gate, self._up, self._down = (getattr(mlp, name) for name in _PROJECTIONS)

    def __call__(self, hidden: Float[Tensor, "... width"]) -> Float[Tensor, "... width"]:
        output: Tensor = _GatedFunction.apply(hidden, self)  # type: ignore[no-untyped-call]
        return output

    def wide(self, normed: Rows) -> tuple[Wide, Wide]:
        return self._gate(normed), self._up(normed)

    def forward(self, rows: Rows) -> Rows:
        gate, up = self.wide(self._normed(rows))
        output: Tensor = self._down(functional.silu(gate).mul_(up))
        return output

    def backward(self, rows: Rows, gradient: Rows) -> Rows:
        """Return the gradient of the norm's input."""
        with torch.enable_grad():
            leaf = rows.detach().requires_grad_()
            normed = self._normed(leaf)
        gate, up = self.wide(normed.detach())
        product = gradient @ self._down.weight
        back = torch.ops.aten.silu_backward(up.mul_(product), gate) @ self._gate.weight
        del up
        back += product.mul_(functional.silu(gate)) @ self._up.weight
        del product, gate
        (result,) = torch.autograd.grad(normed, leaf, back)
        return result


class _GatedFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, layer: _Gated) -> Tensor:  # noqa: ANN401 - torch's own are untyped
        ctx.layer = layer
        ctx.save_for_backward(hidden)
        output = torch.empty_like(hidden)
        for rows, result in zip(_blocks(hidden), _blocks(output), strict=True):
            result.copy_(layer.forward(rows))
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401 - the same
        (hidden,) = ctx.saved_tensors
        output = torch.empty_like(hidden)
        for rows, given, result in zip(_blocks(hidden), _blocks(gradient), _blocks(output), strict=True):
            result.copy_(ctx.layer.backward(rows, given))
        return output, None


def _blocks(tensor: Float[Tensor, "... width"]) -> tuple[Rows, ...]:
    rows = tensor.reshape(-1, tensor.shape[-1])
    return torch.split(rows, _BLOCK_ROWS.get(tensor.device.type, len(rows)))
