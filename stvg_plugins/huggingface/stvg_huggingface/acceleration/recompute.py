"""What a backward pass computes again instead of keeping it, chosen from the memory that is free.

Three levels: "none" keeps what each layer's gradient needs, and recomputes what costs no matrix product; "mlp"
recomputes the MLPs' wide tensors, which are most of it; "layer" keeps only each layer's input. All give the
same gradients.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedConfig

from stvg_huggingface.acceleration.fused import forward_replaced, gated_mlp, is_gated
from stvg_huggingface.loading import LoadedCheckpoint

Recompute = Literal["none", "mlp", "layer"]

LEVELS: Final[tuple[Recompute, ...]] = ("none", "mlp", "layer")
"""From the fastest to the smallest."""

_SHARE: Final = 0.5
"""Of the free memory: what a gradient step may keep. The rest is for its other tensors, and for others."""
_MEMINFO: Final = Path("/proc/meminfo")
_WIDE_KEPT: Final = 3
"""Tensors of its width that autograd keeps of an MLP: both factors, and what the activation was made of."""
_FACTORS: Final = 2
"""Those that are kept of a gated MLP: the activation is recomputed."""


def choose_recompute(option: str, loaded: LoadedCheckpoint, token_count: int) -> Recompute:
    """Return the level for a sequence: "auto" is the first level whose need fits half of the free memory.

    Where the free memory is unknown, "auto" keeps everything.
    """
    for level in LEVELS:
        if option == level:
            return level
    free = free_bytes(loaded.device)
    needs = kept_bytes(loaded.text_config, loaded.dtype, token_count, gated=_all_gated(loaded.language_model))
    fitting = [level for level in LEVELS if free is None or needs[level] <= _SHARE * free]
    return fitting[0] if fitting else LEVELS[-1]


def kept_bytes(
    config: PreTrainedConfig, dtype: torch.dtype, token_count: int, *, gated: bool = True
) -> Mapping[Recompute, int]:
    """Return what the layers of one packed pass keep for its backward pass, by level.

    Kept per token and layer: the layer's and its MLP's input, queries, keys, values and the attention's
    output; and the MLP's wide tensors. The last layer is limited to a few rows and keeps its input,
    keys and values alone. Linear in the number of tokens.

    Args:
        config: of the language model.
        dtype: of its activations.
        token_count: tokens of the packed sequence.
        gated: whether all layers are of the common layout; of others "mlp" keeps the input alone.
    """
    text: Any = config
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    last = text.hidden_size + 2 * size * text.num_key_value_heads
    attention = 2 * size * (text.num_attention_heads + text.num_key_value_heads)
    numbers: dict[Recompute, int] = {
        "none": 2 * text.hidden_size + attention + (_FACTORS if gated else _WIDE_KEPT) * text.intermediate_size,
        "mlp": 2 * text.hidden_size + attention if gated else text.hidden_size,
        "layer": text.hidden_size,
    }
    return {
        level: token_count * dtype.itemsize * ((text.num_hidden_layers - 1) * number + last)
        for level, number in numbers.items()
    }


def free_bytes(device: torch.device) -> int | None:
    """Return the free memory of a device in bytes; None if unknown."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch holds back for reuse is free as well.
        return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    entries = [line.split() for line in lines if line.startswith("MemAvailable:")]
    return int(entries[0][1]) * 1024 if entries else None


@contextmanager
def lean_layers(decoder: nn.Module, level: Recompute) -> Iterator[None]:
    """Let a decoder's layers keep no more than a level says for their backward pass, while inside.

    A layer of another layout than the common one is recomputed as a whole for "mlp". The
    last layer is never computed again as a whole: it is the one that may be limited to a few rows.
    """
    layers = list(getattr(decoder, "layers", ()))
    with ExitStack() as stack:
        for layer in layers:
            gated, last = is_gated(layer), layer is layers[-1]
            if gated and (level != "layer" or last):
                stack.enter_context(gated_mlp(layer, keep_factors=level == "none"))
            elif level != "none" and not last:
                stack.enter_context(forward_replaced(layer, _recomputed(layer)))
        yield


def _recomputed(layer: Any) -> Callable[..., Any]:  # noqa: ANN401 - torch's own are untyped
    """Return a layer's forward that keeps its input alone; the wide tensors are not kept while it runs again."""
    forward, gated = layer.forward, is_gated(layer)

    def run(*arguments: Any, **keywords: Any) -> Any:  # noqa: ANN401 - whatever the layer takes
        with gated_mlp(layer) if gated else nullcontext():
            return forward(*arguments, **keywords)

    def checkpointed(*arguments: Any, **keywords: Any) -> Any:  # noqa: ANN401 - the same
        # Not reentrant: a reentrant one loses gradients of what does not come in by position.
        # Nothing is drawn at random: asking for the state of the generators would end a recording.
        return checkpoint(run, *arguments, use_reentrant=False, preserve_rng_state=False, **keywords)

    return checkpointed


def _all_gated(decoder: nn.Module) -> bool:
    return all(is_gated(layer) for layer in getattr(decoder, "layers", ()))
