"""Decoder modules whose forward is replaced by a fused one: gated MLPs (SwiGLU), and root-mean-square norms.

Autograd keeps three tensors of a gated MLP's width: more than half of what a gradient step holds. Two are enough: the
activation is recomputed from its input, which costs no matrix product. Or none: the backward pass recomputes all three
from the norm's input, which the layer keeps anyway, without repeating the last matrix product. It does so in blocks of
rows, so that no tensor of the MLP's width exists in full length. Weights are frozen: only the input has a gradient.

transformers writes a root-mean-square norm as half a dozen operations in float32, of which autograd keeps two tensors
of twice the width; torch has it as one operation that keeps its input. Norms are recognised by what they compute, not
by their names.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

_BLOCK_ROWS: Final = {"cpu": 512, "cuda": 4096}
_CHILDREN: Final = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
_TRIED_ROWS = 4
_SILU: Final = ("SiLU", "SiLUActivation")
_PROJECTIONS: Final = ("gate_proj", "up_proj", "down_proj")

Rows = Float[Tensor, "row width"]
Wide = Float[Tensor, "row wide"]


@contextmanager
def gated_mlp(layer: nn.Module, *, keep_factors: bool = False) -> Iterator[None]:
    """Let a decoder layer compute its MLP here, while inside; the backward pass may come later.

    Args:
        layer: for which `is_gated` holds.
        keep_factors: both factors are kept, and no matrix product is repeated.
    """
    modules: Any = layer
    norm, mlp = modules.post_attention_layernorm, modules.mlp
    gated = _Gated(norm, mlp, _FactorsKept if keep_factors else _InputKept)
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
    """Replace a module's forward while inside."""
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

    def __init__(self, norm: nn.Module, mlp: Any, function: type[torch.autograd.Function]) -> None:  # noqa: ANN401
        # Taken now: the module itself runs another function while this stands in its place.
        self.normed: Callable[[Rows], Rows] = norm.forward
        self._gate, self._up, self._down = (getattr(mlp, name) for name in _PROJECTIONS)
        self._function: Any = function

    def __call__(self, hidden: Float[Tensor, "... width"]) -> Float[Tensor, "... width"]:
        output: Tensor = self._function.apply(hidden, self)
        return output

    def factors(self, normed: Rows) -> tuple[Wide, Wide]:
        """Return what the activation is made of, and what it is multiplied by."""
        return self._gate(normed), self._up(normed)

    def output(self, gate: Wide, up: Wide) -> Rows:
        output: Tensor = self._down(functional.silu(gate).mul_(up))
        return output

    def backward(self, rows: Rows, gradient: Rows, factors: tuple[Wide, Wide] | None = None) -> Rows:
        """Return the gradient of the norm's input; factors are not modified."""
        with torch.enable_grad():
            leaf = rows.detach().requires_grad_()
            normed = self.normed(leaf)
        gate, up = self.factors(normed.detach()) if factors is None else factors
        product = gradient @ self._down.weight
        scaled = up.mul_(product) if factors is None else up * product
        del up
        back = torch.ops.aten.silu_backward(scaled, gate) @ self._gate.weight
        del scaled
        back += product.mul_(functional.silu(gate)) @ self._up.weight
        del product, gate
        (result,) = torch.autograd.grad(normed, leaf, back)
        return result


class _FactorsKept(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, layer: _Gated) -> Tensor:  # noqa: ANN401 - torch's own are untyped
        ctx.layer = layer
        gate, up = layer.factors(layer.normed(_rows(hidden)))
        ctx.save_for_backward(hidden, gate, up)
        return layer.output(gate, up).reshape(hidden.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401 - the same
        hidden, gate, up = ctx.saved_tensors
        result = ctx.layer.backward(_rows(hidden), _rows(gradient), (gate, up))
        return result.reshape(hidden.shape), None


class _InputKept(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, layer: _Gated) -> Tensor:  # noqa: ANN401 - torch's own are untyped
        ctx.layer = layer
        ctx.save_for_backward(hidden)
        output = torch.empty_like(hidden)
        for rows, result in zip(_blocks(hidden), _blocks(output), strict=True):
            result.copy_(layer.output(*layer.factors(layer.normed(rows))))
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401 - the same
        (hidden,) = ctx.saved_tensors
        output = torch.empty_like(hidden)
        for rows, given, result in zip(_blocks(hidden), _blocks(gradient), _blocks(output), strict=True):
            result.copy_(ctx.layer.backward(rows, given))
        return output, None


def _rows(tensor: Float[Tensor, "... width"]) -> Rows:
    return tensor.reshape(-1, tensor.shape[-1])


def _blocks(tensor: Float[Tensor, "... width"]) -> tuple[Rows, ...]:
    rows = _rows(tensor)
    return torch.split(rows, _BLOCK_ROWS.get(tensor.device.type, len(rows)))


class FusedNorm:
    """A norm's forward as torch's own operation; stands in the place of the module's `forward`."""

    def __init__(self, weight: Float[Tensor, " width"], epsilon: float) -> None:
        """Remember the norm's weight, which stays the module's."""
        self._weight, self._epsilon = weight, epsilon

    def __call__(self, hidden: Float[Tensor, "... width"]) -> Float[Tensor, "... width"]:
        """Return the normed rows."""
        return functional.rms_norm(hidden, self._weight.shape, self._weight, self._epsilon)


def fuse_norms(model: nn.Module) -> int:
    """Let every root-mean-square norm of a model run as one operation; return how many there were.

    The results are the same but for rounding: in half precision torch rounds once, transformers twice.
    """
    fused = 0
    for module in model.modules():
        replacement = _fused(module)
        if replacement is not None:
            module.forward = replacement
            fused += 1
    return fused


def _fused(module: Any) -> FusedNorm | None:  # noqa: ANN401 - norms of transformers have no common type
    weight, epsilon = getattr(module, "weight", None), getattr(module, "variance_epsilon", None)
    # accelerate replaces `forward`, and must stay in its place.
    if not isinstance(weight, Tensor) or not isinstance(epsilon, float) or "forward" in vars(module):
        return None
    if weight.ndim != 1 or not weight.is_floating_point() or list(module.children()):
        return None
    replacement = FusedNorm(weight, epsilon)
    rows = torch.linspace(-3, 2, _TRIED_ROWS * weight.numel(), device=weight.device).reshape(_TRIED_ROWS, -1).sin()
    with torch.no_grad():
        expected, actual = module(rows.to(weight.dtype)), replacement(rows.to(weight.dtype))
    tolerance = 4 * torch.finfo(weight.dtype).eps
    same = expected.shape == actual.shape and torch.allclose(expected, actual, rtol=tolerance, atol=tolerance)
    return replacement if same else None
