"""What goes into a hook and what comes out, as shapes and types: never a value, never the tensor itself.

The caller passes the callback; nothing is printed here.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass

import numpy as np
import pluggy
import torch

from stvg_core._internal.plain_text import one_line
from stvg_core.plugin.adapter import EncodedClip

LONGEST_LINE = 400
_OWN = "stvg_core."
_DEEPEST = 2
_ITEMS_LOOKED_AT = 64
_LONGEST_DESCRIPTION = 160


@dataclass(frozen=True)
class HookCall:
    """One call of a hook, described; it keeps no argument alive.

    Attributes:
        hook: its name.
        plugins: who took part, the outermost wrapper first and the backend last.
        arguments: name and description of each.
        answer: what came back, described; "raised ValueError" where the call failed.
        milliseconds: wall clock of the caller. A CUDA device may still be at work when a call returns.
    """

    hook: str
    plugins: tuple[str, ...]
    arguments: tuple[tuple[str, str], ...]
    answer: str
    milliseconds: float


def format_call(call: HookCall) -> str:
    r"""Return a call as one line, harmless on a terminal and at most LONGEST_LINE characters long.

    >>> format_call(HookCall("stvg_x", ("timer", "qwen2-vl"), (("rows", "float32[4, 36]"),), "tuple[2 x int]", 1.25))
    'stvg_x(rows: float32[4, 36]) -> tuple[2 x int], 1.25 ms (timer, qwen2-vl)'
    """
    arguments = ", ".join(f"{name}: {described}" for name, described in call.arguments)
    tail = one_line(f" -> {call.answer}, {call.milliseconds:.2f} ms ({', '.join(call.plugins)})", LONGEST_LINE // 2)
    line = one_line(f"{call.hook}({arguments})")
    room = LONGEST_LINE - len(f" {tail}")
    # The answer and the time are worth more than the last argument.
    return (line if len(line) <= room else f"{line[: room - 4]}...)") + f" {tail}"


def trace_calls(
    manager: pluggy.PluginManager, report: Callable[[HookCall], None], unnamed: Sequence[str] = ()
) -> Callable[[], None]:
    """Tell `report` of every hook call of a manager, after it; return what ends that.

    Args:
        manager: whose calls.
        report: called in the thread of the call.
        unnamed: plugins that are not listed among those who took part.
    """
    begun = _Begun()

    def before(hook: str, implementations: Sequence[pluggy.HookImpl], arguments: Mapping[str, object]) -> None:
        described = tuple((name, describe(value)) for name, value in arguments.items())
        begun.calls.append((described, time.perf_counter()))

    def after(
        outcome: pluggy.Result[object],
        hook: str,
        implementations: Sequence[pluggy.HookImpl],
        arguments: Mapping[str, object],
    ) -> None:
        described, start = begun.calls.pop()
        milliseconds = 1000 * (time.perf_counter() - start)
        plugins = tuple(each.plugin_name for each in reversed(implementations) if each.plugin_name not in unnamed)
        failure = outcome.exception
        answer = describe(outcome.get_result()) if failure is None else f"raised {type(failure).__name__}"
        report(HookCall(hook, plugins, described, answer, milliseconds))

    return manager.add_hookcall_monitoring(before, after)


class _Begun(threading.local):
    """Calls that have begun in this thread and not ended, the innermost last."""

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[tuple[str, str], ...], float]] = []


def describe(value: object) -> str:
    """Return a value's type, shape and precision; never what it holds.

    >>> describe(torch.zeros(4, 36)), describe((1, 2, 3)), describe("secret"), describe(None)
    ('float32[4, 36]', 'tuple[3 x int]', 'str', 'None')
    """
    return one_line(_describe(value, _DEEPEST), _LONGEST_DESCRIPTION)


def _describe(value: object, depth: int) -> str:
    kind = type(value).__name__
    match value:
        case None:
            described = "None"
        case torch.Tensor():
            device = "" if value.device.type == "cpu" else f" on {value.device}"
            described = f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}{device}"
        case np.ndarray():
            described = f"{value.dtype}{list(value.shape)}"
        case EncodedClip():
            grid = " x ".join(str(count) for count in value.layout.shape)
            tokens = _describe(value.visual_tokens, depth)
            described = f"{kind}({grid} of {value.layout.frame_count} frames, {tokens})"
        case tuple() | list() if depth >= 0:
            described = f"{kind}[{_items(value, depth - 1)}]"
        case Mapping():
            described = f"{kind}[{len(value)}]"
        # A foreign object is named and not looked into: what it holds is its own, and can be anything.
        case _ if is_dataclass(value) and depth > 0 and type(value).__module__.startswith(_OWN):
            held = ((each.name, _describe(getattr(value, each.name, None), depth - 1)) for each in fields(value))
            # Numbers and texts say nothing by their type.
            shaped = ", ".join(f"{name}={text}" for name, text in held if "[" in text)
            described = f"{kind}({shaped})" if shaped else kind
        case _:
            described = kind
    return described


def _items(values: Sequence[object], depth: int) -> str:
    """Return how many of what a sequence holds; a long one is not read to its end."""
    kinds: dict[str, int] = {}
    for value in values[:_ITEMS_LOOKED_AT]:
        kind = _describe(value, depth)
        kinds[kind] = kinds.get(kind, 0) + 1
    described = [f"{count} x {kind}" for kind, count in kinds.items()]
    if len(values) > _ITEMS_LOOKED_AT:
        described.append(f"{len(values) - _ITEMS_LOOKED_AT} more")
    return ", ".join(described) or "0"
