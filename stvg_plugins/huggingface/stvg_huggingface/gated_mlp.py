"""The gated MLP of a decoder layer (SwiGLU) with its norm, a few rows at a time.

Autograd keeps five wide tensors of such an MLP per layer: that is most of what a gradient step
holds. Here two of them are kept, or none, in which case the backward pass computes them again.
Rows are worked through in blocks, so that no other tensor of the MLP's width ever exists in
full length. Weights are frozen: there is no gradient but the input's.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

_BLOCK_ROWS: Final = {"cpu": 256, "cuda": 4096}
_CHILDREN: Final = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
_SILU: Final = ("SiLU", "SiLUActivation")
_PROJECTIONS: Final = ("gate_proj", "up_proj", "down_proj")

Rows = Float[Tensor, "... width"]
Wide = Float[Tensor, "row wide"]


@contextmanager
def gated_mlp(layer: nn.Module, *, again: bool) -> Iterator[None]:
    """Let a decoder layer compute its MLP here, while inside; the backward pass may come later.

    Args:
        layer: for which `is_gated` holds.
        again: compute the wide tensors again in the backward pass instead of keeping them.
    """
    modules: Any = layer
    norm, mlp = modules.post_attention_layernorm, modules.mlp
    with forward_replaced(norm, lambda hidden: hidden), forward_replaced(mlp, _Gated(norm, mlp, again=again)):
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
    return plain and silu and set(children) == {*_PROJECTIONS, "act_fn"} and "forward" not in {*vars(mlp), *vars(norm)}


@contextmanager
def forward_replaced(module: Any, forward: Callable[..., Any]) -> Iterator[None]:  # noqa: ANN401 - torch's own is untyped
    """Let a module run another function than its class's forward, while inside."""
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

    def __init__(self, norm: nn.Module, mlp: Any, *, again: bool) -> None:  # noqa: ANN401 - the same
        self._norm = norm
        self._gate, self._up, self._down = (getattr(mlp, name) for name in _PROJECTIONS)
        self._again = again

    def __call__(self, hidden: Rows) -> Rows:
        output: Tensor = _GatedFunction.apply(hidden, self)
        return output

    def normed(self, rows: Rows) -> Rows:
        # The class's own: the instance's stands aside.
        output: Tensor = type(self._norm).forward(self._norm, rows)
        return output

    def wide(self, normed: Float[Tensor, "row width"]) -> tuple[Wide, Wide]:
        return self._gate(normed), self._up(normed)

    def forward(self, hidden: Rows) -> tuple[Rows, tuple[Wide, ...]]:
        """Return the output, and what is kept for the backward pass."""
        rows = hidden.flatten(0, -2)
        output = torch.empty_like(rows)
        kept = () if self._again else tuple(rows.new_empty(len(rows), self._gate.out_features) for _ in range(2))
        for start, block in _blocks(rows):
            end = start + len(block)
            gate, up = self.wide(self.normed(block))
            for whole, part in zip(kept, (gate, up), strict=bool(kept)):
                whole[start:end] = part
            output[start:end] = self._down(functional.silu(gate) * up)
        return output.view_as(hidden), kept

    def backward(self, hidden: Rows, kept: tuple[Wide, ...], gradient: Rows) -> Rows:
        """Return the gradient of the input."""
        rows, given = hidden.flatten(0, -2), gradient.flatten(0, -2)
        result = torch.empty_like(rows)
        for start, block in _blocks(rows):
            end = start + len(block)
            with torch.enable_grad():
                leaf = block.detach().requires_grad_()
                normed = self.normed(leaf)
            gate, up = (whole[start:end] for whole in kept) if kept else self.wide(normed.detach())
            product = given[start:end] @ self._down.weight
            back = torch.ops.aten.silu_backward(product * up, gate) @ self._gate.weight
            del up
            back += product.mul_(functional.silu(gate)) @ self._up.weight
            (result[start:end],) = torch.autograd.grad(normed, leaf, back)
        return result.view_as(hidden)


class _GatedFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, layer: _Gated) -> Tensor:  # noqa: ANN401 - torch's own are untyped
        output, kept = layer.forward(hidden)
        ctx.layer = layer
        ctx.save_for_backward(hidden, *kept)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401 - the same
        hidden, *kept = ctx.saved_tensors
        return ctx.layer.backward(hidden, tuple(kept), gradient), None


def _blocks(rows: Float[Tensor, "row width"]) -> Iterator[tuple[int, Float[Tensor, "row width"]]]:
    size = _BLOCK_ROWS.get(rows.device.type, len(rows))
    for start in range(0, len(rows), size):
        yield start, rows[start : start + size]
