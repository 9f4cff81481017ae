"""Everything about an adapter's model that a call could leave changed; knows torch and no model library."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

_HOOKS: Final = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
)
_DEPTH: Final = 4
_PLAIN = (bool, int, float, str, type(None))


def modules_of(adapter: object) -> list[nn.Module]:
    """Return the torch modules that an adapter holds, itself or within what it holds."""
    found: list[nn.Module] = []
    seen: set[int] = set()

    def look(value: Any, depth: int) -> None:  # noqa: ANN401 - an adapter holds what it likes
        if id(value) in seen or depth > _DEPTH:
            return
        seen.add(id(value))
        if isinstance(value, nn.Module):
            found.append(value)
        elif isinstance(value, Mapping):
            for item in value.values():
                look(item, depth + 1)
        elif isinstance(value, list | tuple):
            for item in value:
                look(item, depth + 1)
        elif not isinstance(value, Tensor | type):
            for item in getattr(value, "__dict__", {}).values():
                look(item, depth + 1)

    look(adapter, 0)
    return found


def model_state(adapter: object) -> dict[str, object]:
    """Return what must be the same after a call as before it, by a name that an author understands."""
    state: dict[str, object] = {
        "torch's gradient mode": torch.is_grad_enabled(),
        "torch's default dtype": torch.get_default_dtype(),
        "torch's random state": torch.random.get_rng_state().numpy().tobytes(),
        "torch's deterministic mode": torch.are_deterministic_algorithms_enabled(),
        "torch's number of threads": torch.get_num_threads(),
    }
    for module in modules_of(adapter):
        for name, part in module.named_modules(prefix=type(module).__name__):
            state |= dict(_module_state(name, part))
    return state


def differences(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """Return the names of what changed, came or went."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def _module_state(name: str, module: nn.Module) -> Iterator[tuple[str, object]]:
    for kind in _HOOKS:
        yield f"{name}.{kind}", tuple(getattr(module, kind))
    for weight_name, weight in module.named_parameters(recurse=False):
        told = (id(weight), weight.data_ptr(), weight._version, weight.requires_grad, weight.grad is None)
        yield f"weight {name}.{weight_name}", told
    for buffer_name, buffer in module.named_buffers(recurse=False):
        yield f"buffer {name}.{buffer_name}", _digest(buffer)
    for attribute, value in vars(module).items():
        if attribute == "config":
            yield from _config_state(f"{name}.config", value, 0)
        elif isinstance(value, Tensor):
            yield f"attribute {name}.{attribute}", _digest(value)
        elif isinstance(value, _PLAIN):
            yield f"attribute {name}.{attribute}", value
        elif callable(value) and not isinstance(value, type | nn.Module):
            # An instance's own `forward` is a patched one.
            yield f"method {name}.{attribute}", id(value)


def _config_state(name: str, config: object, depth: int) -> Iterator[tuple[str, object]]:
    if depth > _DEPTH:
        return
    for attribute, value in getattr(config, "__dict__", {}).items():
        if isinstance(value, _PLAIN):
            yield f"{name}.{attribute}", value
        elif hasattr(value, "__dict__") and not isinstance(value, type):
            yield from _config_state(f"{name}.{attribute}", value, depth + 1)


def _digest(tensor: Tensor) -> tuple[object, ...]:
    values = tensor.detach().double().cpu()
    return tuple(values.shape), float(values.sum()), float(values.square().sum())
