"""Floating-point operations of a piece of work, as torch counts them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.method_cost.memory import AroundStages
from stvg_core.method.stages import Stopwatch

_ATTENTION: Final = (
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
)
_FORWARD_PRODUCTS: Final = 2
_BACKWARD_PRODUCTS: Final = 5
"""The scores once more, and four products of their size."""


def count_operations(work: Callable[[Stopwatch], object]) -> tuple[int, Mapping[str, int]]:
    """Return the operations of a piece of work, and of each of its stages.

    Args:
        work: given what its stages are timed with.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_grouped_attention())
    stages: dict[str, int] = {}

    @contextmanager
    def around(name: str) -> Iterator[None]:
        before = counter.get_total_flops()
        yield
        stages[name] = stages.get(name, 0) + int(counter.get_total_flops() - before)

    with counter:
        work(AroundStages(around))
    return int(counter.get_total_flops()), stages


def attention_operations(query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...], products: int) -> int:
    """Return operations of attention, every row against every key, by the heads of the queries.

    >>> attention_operations((1, 4, 10, 8), (1, 2, 20, 8), (1, 2, 20, 8), products=2)
    25600
    """
    batch, heads, rows, size = query
    # The first product and half of the others run over the keys' size, the rest over the values'.
    over_values = products // 2
    return 2 * batch * heads * rows * key[2] * ((products - over_values) * size + over_values * value[3])


def _grouped_attention() -> dict[Any, Any]:
    """Return torch's counters of CUDA attention kernels for keys that several heads share, which torch's own refuse."""
    counters: dict[Any, Any] = {}
    for name in _ATTENTION:
        counters[getattr(torch.ops.aten, name)] = _forward
        counters[getattr(torch.ops.aten, f"{name}_backward")] = _backward
    return counters


def _forward(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:  # noqa: ANN401 - torch hands shapes over
    return attention_operations(query, key, value, _FORWARD_PRODUCTS)


def _backward(_gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:  # noqa: ANN401 - the same
    return attention_operations(query, key, value, _BACKWARD_PRODUCTS)
