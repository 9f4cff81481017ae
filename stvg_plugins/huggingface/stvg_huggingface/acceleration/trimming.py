"""A decoder's last layer for a few rows only.

Only the last token of each question leaves a decoder, so its last layer needs every token's
keys and values but the output of those rows alone: no query, no output projection and no MLP of
the prefix. The layer runs twice: once for its keys and values, stopped at its attention, and once
as an ordinary layer on the selected rows. Independent of how a layer is built.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from stvg_huggingface.capture import PackedPass, Projected, kernels, masked_attention

_POSITIONS: Final = "position_embeddings"


class _KeysReached(Exception):  # noqa: N818 - it ends a layer early and is no error
    def __init__(self, key: Tensor, value: Tensor) -> None:
        super().__init__()
        self.key, self.value = key, value


@dataclass(frozen=True, eq=False)
class _KeysOnly:
    """Stops a layer at its attention, collects what the pass captures, and hands out its keys and values."""

    run: PackedPass

    def attend(
        self, layer: int, query: Projected, key: Projected, value: Projected, scaling: float
    ) -> Float[Tensor, "1 token ... size"]:
        self.run.collect(layer, query, key, scaling)
        raise _KeysReached(key, value)


@dataclass(frozen=True, eq=False)
class RowsPass:
    """Lets a few rows attend to keys that were computed before.

    Attributes:
        key: of all tokens; those that a layer computes for the few rows are ignored.
        value: the same.
        visible: which keys each row attends to.
        exact: plain matrix products instead of the fastest kernel.
    """

    key: Projected
    value: Projected
    visible: Bool[Tensor, "1 1 row key"]
    exact: bool = False

    def attend(
        self,
        layer: int,
        query: Float[Tensor, "1 head row size"],
        key: Float[Tensor, "1 key_head row size"],
        value: Float[Tensor, "1 key_head row size"],
        scaling: float,
    ) -> Float[Tensor, "1 row head size"]:
        """Return the rows' output."""
        with kernels(exact=self.exact):
            return masked_attention(query, self.key, self.value, self.visible, scaling)


@contextmanager
def last_layer_of_rows(decoder: nn.Module, rows: Int[Tensor, " row"]) -> Iterator[None]:
    """Let a decoder return some rows of a packed pass instead of all, while inside.

    A decoder whose layers are not in `layers`, or take their positions in another way than as
    `position_embeddings`, is left as it is and returns all rows.

    Args:
        decoder: the language model without its head.
        rows: places behind the prefix of a `PackedPass` that does not end early.
    """
    layers = getattr(decoder, "layers", None)
    if not isinstance(layers, nn.ModuleList):
        yield
        return

    def trim(
        layer: nn.Module, arguments: tuple[Any, ...], keywords: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        return _trimmed(layer, arguments, keywords, rows)

    handle = layers[-1].register_forward_pre_hook(trim, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _trimmed(
    layer: nn.Module, arguments: tuple[Any, ...], keywords: Mapping[str, Any], rows: Int[Tensor, " row"]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Return a layer's arguments for the rows alone, or None where its inputs cannot be split by rows."""
    run, positions = keywords.get("stvg"), keywords.get(_POSITIONS)
    if not isinstance(run, PackedPass) or not isinstance(positions, tuple) or len(arguments) != 1:
        return None
    (hidden,) = arguments
    places = rows.to(hidden.device)
    try:
        layer.forward(hidden, **{**keywords, "stvg": _KeysOnly(run)})
    except _KeysReached as reached:
        mask = run.suffix_mask.to(hidden.device)
        visible = mask.index_select(2, places - run.prefix_length)
        rows_pass = RowsPass(reached.key, reached.value, visible, run.exact)
    else:
        return None
    selected = {
        _POSITIONS: tuple(part.index_select(-2, places.to(part.device)) for part in positions),
        "stvg": rows_pass,
    }
    ids = keywords.get("position_ids")
    if isinstance(ids, torch.Tensor):
        selected["position_ids"] = ids.index_select(-1, places.to(ids.device))
    return (hidden.index_select(1, places),), {**keywords, **selected}
