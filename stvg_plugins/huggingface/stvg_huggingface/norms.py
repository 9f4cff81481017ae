"""Root-mean-square norms as one kernel.

transformers writes such a norm as half a dozen operations in float32, of which autograd keeps two tensors of
twice the width; torch has it as one operation that keeps its input. Norms are recognised by what they
compute, not by their names.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

_TRIED_ROWS = 4


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
        expected, found = module(rows.to(weight.dtype)), replacement(rows.to(weight.dtype))
    tolerance = 4 * torch.finfo(weight.dtype).eps
    same = expected.shape == found.shape and torch.allclose(expected, found, rtol=tolerance, atol=tolerance)
    return replacement if same else None
