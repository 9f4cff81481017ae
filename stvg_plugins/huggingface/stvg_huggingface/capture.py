"""Attention of a packed pass: SDPA for the output, a few exact rows on the side.

`stvg_attention` is registered with transformers under the name "stvg" and leaves each layer to
a pass that travels as a keyword through the language model's forward. A `PackedPass` computes
softmax shares of some query rows at the visual columns only: never a square map.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

ATTENTION_NAME: Final = "stvg"
"""What the attention function and its mask function are called within transformers."""

Projected = Float[Tensor, "1 ... token size"]
"""Queries, keys or values of one layer."""


class LastLayerReached(Exception):  # noqa: N818 - it ends a pass early and is no error
    """Raised inside the last captured layer if nothing after it is needed."""


class AttentionCapture:
    """Collects attention shares, averaged over heads and layers while the pass runs.

    A layer that is computed twice (gradient checkpointing) counts once.

    Args:
        layers: 0-based decoder layers to average.
        rows: query positions in the packed sequence, all behind the shared prefix.
        columns: positions of the visual tokens, in raster order.
    """

    def __init__(self, layers: Iterable[int], rows: Int[Tensor, " row"], columns: Int[Tensor, " cell"]) -> None:
        """Collect nothing yet."""
        self.layers: Final = frozenset(layers)
        self.last_layer: Final = max(self.layers)
        self.rows: Final = rows
        self.columns: Final = columns
        self._done: set[int] = set()
        self._sum: Tensor | None = None

    def wants(self, layer: int) -> bool:
        """Return whether a layer is still to be collected."""
        return layer in self.layers and layer not in self._done

    def add(self, layer: int, shares: Float[Tensor, "row cell"]) -> None:
        """Add one layer's shares, already averaged over heads."""
        self._done.add(layer)
        self._sum = shares if self._sum is None else self._sum + shares.to(self._sum.device)

    @property
    def complete(self) -> bool:
        """Whether every layer was collected."""
        return self._done == self.layers

    def mean(self) -> Float[Tensor, "row cell"]:
        """Return the mean over layers.

        Raises:
            RuntimeError: a layer is missing; the model did not run through `stvg_attention`.
        """
        if self._sum is None or not self.complete:
            raise RuntimeError(f"layers {sorted(self.layers - self._done)} were not captured")
        return self._sum / len(self._done)


@runtime_checkable
class AttentionPass(Protocol):
    """What travels with a forward pass and computes each layer's attention."""

    def attend(
        self, layer: int, query: Projected, key: Projected, value: Projected, scaling: float
    ) -> Float[Tensor, "1 token ... size"]:
        """Return one layer's attention output."""
        ...


@dataclass(frozen=True, eq=False)
class PackedPass:
    """One forward pass over a shared prefix and several suffixes.

    Attributes:
        prefix_length: tokens of the prefix, which is causal in itself.
        suffix_mask: which keys each suffix token attends to.
        capture: what to collect, or None.
        exact: plain matrix products instead of the fastest kernel.
        ends_early: whether a pass that captures ends inside its last captured layer.
    """

    prefix_length: int
    suffix_mask: Bool[Tensor, "1 1 suffix_token key"]
    capture: AttentionCapture | None = None
    exact: bool = False
    ends_early: bool = True

    def collect(self, layer: int, query: Projected, key: Projected, scaling: float) -> None:
        """Collect one layer's attention if the capture includes it."""
        capture = self.capture
        if capture is None or not capture.wants(layer):
            return
        # A model spread over devices moves its own tensors; what travels with the pass follows here.
        rows, columns = capture.rows.to(query.device), capture.columns.to(query.device)
        visible = self.suffix_mask.to(query.device)[0, 0].index_select(0, rows - self.prefix_length)
        capture.add(layer, attention_shares(query, key, visible, rows, columns, scaling))

    def attend(
        self, layer: int, query: Projected, key: Projected, value: Projected, scaling: float
    ) -> Float[Tensor, "1 token ... size"]:
        """Return one layer's output: the prefix runs causally, without any mask, so that fast kernels qualify.

        Raises:
            LastLayerReached: nothing after this layer is needed.
        """
        self.collect(layer, query, key, scaling)
        if self.ends_early and self.capture is not None and layer == self.capture.last_layer:
            raise LastLayerReached
        length, mask = self.prefix_length, self.suffix_mask.to(query.device)
        with kernels(exact=self.exact):
            prefix = functional.scaled_dot_product_attention(
                query[:, :, :length],
                key[:, :, :length],
                value[:, :, :length],
                is_causal=True,
                scale=scaling,
                enable_gqa=query.shape[1] != key.shape[1],
            )
            suffix = masked_attention(query[:, :, length:], key, value, mask, scaling)
        return torch.cat([prefix.transpose(1, 2), suffix], dim=1)


def stvg_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    stvg: AttentionPass | None = None,
    **kwargs: Any,  # noqa: ANN401 - transformers hands over what its models know
) -> tuple[Tensor, Tensor | None]:
    """Compute attention of one layer; transformers' attention-function protocol.

    Without an `AttentionPass` this is transformers' own SDPA. With one, the pass computes: the mask
    that transformers passes is ignored, and there is no dropout, as the model is in evaluation mode.
    """
    layer = getattr(module, "layer_idx", None)
    if stvg is None or layer is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs
        )
    return stvg.attend(layer, query, key, value, scaling if scaling is not None else query.shape[-1] ** -0.5), None


def kernels(*, exact: bool) -> AbstractContextManager[None]:
    """Return the context in which attention is computed: plain matrix products, or the fastest kernel."""
    return sdpa_kernel(SDPBackend.MATH) if exact else nullcontext()


def masked_attention(
    query: Float[Tensor, "1 head row size"],
    key: Float[Tensor, "1 key_head key size"],
    value: Float[Tensor, "1 key_head key size"],
    visible: Bool[Tensor, "1 1 row key"],
    scaling: float,
) -> Float[Tensor, "1 row head size"]:
    """Return attention of a few rows under a mask.

    Heads that share their keys are laid behind one another as rows: keys and values are not repeated,
    which would be kept for the backward pass, and every SDPA kernel qualifies.
    """
    _, heads, rows, _ = query.shape
    key_heads = key.shape[1]
    together = heads // key_heads
    folded = query.reshape(1, key_heads, together * rows, query.shape[3])
    output = functional.scaled_dot_product_attention(
        folded, key, value, attn_mask=visible.repeat(1, 1, together, 1), scale=scaling
    )
    return output.reshape(1, heads, rows, value.shape[3]).transpose(1, 2)


def attention_shares(
    query: Float[Tensor, "1 head query_token size"],
    key: Float[Tensor, "1 key_head key size"],
    visible: Bool[Tensor, "row key"],
    rows: Int[Tensor, " row"],
    columns: Int[Tensor, " cell"],
    scaling: float,
) -> Float[Tensor, "row cell"]:
    """Return exact softmax shares of some rows at some columns, averaged over heads.

    Scores are computed in float32 at least. Keys shared by several heads are not repeated.
    """
    heads, key_heads, size = query.shape[1], key.shape[1], query.shape[3]
    wide = torch.promote_types(query.dtype, torch.float32)
    selected = query.index_select(2, rows).to(wide)
    grouped = selected.reshape(1, key_heads, heads // key_heads * rows.numel(), size)
    scores = (grouped @ key.to(wide).transpose(2, 3)).view(heads, rows.numel(), key.shape[2]) * scaling
    scores = scores.masked_fill(~visible, float("-inf"))
    normalizer = scores.logsumexp(dim=-1, keepdim=True)
    return (scores.index_select(-1, columns) - normalizer).exp().mean(dim=0)


def register_attention() -> None:
    """Register "stvg" with transformers; idempotent.

    The mask function must be registered under the same name: transformers silently passes no
    mask at all to an attention function whose name has none, so padding would be attended to.
    """
    AttentionInterface.register(ATTENTION_NAME, stvg_attention)
    AttentionMaskInterface.register(ATTENTION_NAME, sdpa_mask)
