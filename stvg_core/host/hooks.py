"""The hooks of one plugin object: a manager that holds it alone, and checks of arguments and answers.

Every hook that docs/hooks.md lists has its check of the answer here. A check compares an answer with the
arguments of its call: types, counts and ranges, never the numbers themselves. Imports torch.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pluggy
import torch

from stvg_core._internal.plain_text import one_line
from stvg_core.errors import PluginError
from stvg_core.host.loading import plugin_faults
from stvg_core.host.registry.found import FoundBackend
from stvg_core.plugin import hookspecs
from stvg_core.plugin.adapter import AnswerLogits, AttentionRequest, EncodedClip, MLLMAdapter, QuestionAttention
from stvg_core.values import Frames

_LONGEST_REASON = 600
_SHOWN_CHARACTERS = 100
_ADAPTER_MEMBERS = tuple(name for name in vars(MLLMAdapter) if not name.startswith("_"))
REQUIRED_HOOKS = tuple(name for name in vars(hookspecs) if name.startswith("stvg_"))


def hook_manager(plugin: object, found: FoundBackend) -> pluggy.PluginManager:
    """Return a fresh manager that holds a plugin object alone.

    Raises:
        PluginError: a hook is missing or takes other arguments than its specification.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    title = f"backend {found.name!r} of {found.distribution}"
    # Registering looks at every attribute of the object, and a foreign property may raise whatever it likes.
    with plugin_faults(title, "see docs/hooks.md"):
        try:
            manager.register(plugin, name=found.name)
            manager.check_pending()
        except (pluggy.PluginValidationError, ValueError) as error:
            reason = one_line(str(error), _LONGEST_REASON)
            raise PluginError(f"{title} does not fit the hooks: {reason}; see docs/hooks.md") from error
    missing = [name for name in REQUIRED_HOOKS if name not in implemented_hooks(manager)]
    if missing:
        raise PluginError(f"{title} lacks {', '.join(missing)}; every hook of docs/hooks.md is needed")
    for name in REQUIRED_HOOKS:
        for implementation in getattr(manager.hook, name).get_hookimpls():
            check_arguments(implementation.function, f"{name} of {title}")
    return manager


def implemented_hooks(manager: pluggy.PluginManager) -> tuple[str, ...]:
    """Return the hooks that a manager's plugin answers, in the order of their specifications."""
    return tuple(
        name
        for name in REQUIRED_HOOKS
        if any(not (each.wrapper or each.hookwrapper) for each in getattr(manager.hook, name).get_hookimpls())
    )


def check_arguments(function: Callable[..., object], title: str) -> None:
    """Check for arguments that pluggy accepts at registration and drops or fails on at the call.

    Raises:
        PluginError: an argument is keyword-only, of any number, or has a default.
    """
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is not parameter.POSITIONAL_OR_KEYWORD or parameter.default is not parameter.empty:
            raise PluginError(
                f"expected {title} to take positional arguments without defaults, got {parameter}; "
                f"write {name} as in docs/hooks.md"
            )


def check_answer(who: str, hook: str, arguments: Mapping[str, Any], answer: object) -> None:
    """Check that a hook's answer fits the hook and its arguments.

    Args:
        who: who answered, for the message: "backend 'qwen2-vl' (stvg-qwen2-vl)".
        hook: name of the hook.
        arguments: of the call, by name.
        answer: what came back.

    Raises:
        PluginError: it does not fit.
    """
    fault = answer_fault(hook, arguments, answer)
    if fault is not None:
        raise PluginError(f"{who} answered {fault.given} to {hook}, expected {fault.expected}; see docs/hooks.md")


@dataclass(frozen=True)
class Fault:
    """What the answer was and what was expected, in words."""

    given: str
    expected: str


def answer_fault(hook: str, arguments: Mapping[str, Any], answer: object) -> Fault | None:
    """Return what does not fit; None where everything does.

    None from `stvg_create_adapter` fits: it means that the backend does not take the model.

    >>> answer_fault("stvg_augment_frames", {}, None)
    Fault(given='None', expected='an EncodedClip')
    """
    expected, fault_of = _CHECKS[hook]
    if answer is None:
        return None if hook == "stvg_create_adapter" else Fault("None", expected)
    return fault_of(arguments, answer)


def _adapter_fault(_: Mapping[str, Any], answer: object) -> Fault | None:
    if isinstance(answer, MLLMAdapter):
        return None
    missing = ", ".join(name for name in _ADAPTER_MEMBERS if not hasattr(answer, name))
    return Fault(f"{_kind(answer)} without {missing}", _ADAPTER)


def _attention_fault(arguments: Mapping[str, Any], answer: object) -> Fault | None:
    request: AttentionRequest = arguments["request"]
    if not isinstance(answer, tuple) or not all(isinstance(rows, QuestionAttention) for rows in answer):
        return Fault(_kind(answer), _ATTENTION)
    if len(answer) != len(request.questions):
        return Fault(f"attention for {len(answer)} questions", str(len(request.questions)))
    cells = request.clip.layout.cell_count
    wrong = next((rows.rows.shape[1] for rows in answer if rows.rows.shape[1] != cells), None)
    return None if wrong is None else Fault(f"rows over {wrong} visual tokens", str(cells))


def _tokens_fault(arguments: Mapping[str, Any], answer: object) -> Fault | None:
    count = len(arguments["attention"].tokens)
    # A bool is an int as well, and no position.
    if not isinstance(answer, tuple) or not all(type(position) is int for position in answer):
        return Fault(_kind(answer), _TOKENS)
    if not answer or not all(0 <= position < count for position in answer):
        return Fault(one_line(str(answer), _SHOWN_CHARACTERS), f"positions within {count} tokens")
    return None


def _loss_fault(arguments: Mapping[str, Any], answer: object) -> Fault | None:
    logits: AnswerLogits = arguments["logits"]
    if not isinstance(answer, torch.Tensor):
        return Fault(_kind(answer), _LOSS)
    if answer.shape != () or not answer.is_floating_point():
        return Fault(f"{answer.dtype} of shape {tuple(answer.shape)}", _LOSS)
    if logits.yes.requires_grad and not answer.requires_grad:
        return Fault("a scalar without gradient", "one that depends on the logits")
    return None


def _clip_fault(arguments: Mapping[str, Any], answer: object) -> Fault | None:
    frames: Frames = arguments["frames"]
    if not isinstance(answer, EncodedClip):
        return Fault(_kind(answer), _CLIP)
    if answer.layout.frame_count != len(frames):
        return Fault(f"a clip of {answer.layout.frame_count} frames", f"{len(frames)} frames")
    return None


_ADAPTER = "an MLLMAdapter"
_ATTENTION = "a tuple of QuestionAttention"
_TOKENS = "a tuple of int"
_LOSS = "a floating scalar"
_CLIP = "an EncodedClip"
_CHECKS: dict[str, tuple[str, Callable[[Mapping[str, Any], object], Fault | None]]] = {
    "stvg_create_adapter": (_ADAPTER, _adapter_fault),
    "stvg_capture_attention": (_ATTENTION, _attention_fault),
    "stvg_select_grounding_tokens": (_TOKENS, _tokens_fault),
    "stvg_regularize_logits": (_LOSS, _loss_fault),
    "stvg_augment_frames": (_CLIP, _clip_fault),
}


def _kind(value: object) -> str:
    """Return the type of a value, and of what a tuple holds."""
    name = one_line(type(value).__name__, _SHOWN_CHARACTERS)
    if not isinstance(value, tuple):
        return name
    held = dict.fromkeys(type(item).__name__ for item in value)
    return f"{name} of {one_line(', '.join(held), _SHOWN_CHARACTERS) or 'nothing'}"
