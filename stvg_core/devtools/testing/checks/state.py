"""What a call leaves behind: nothing, also where it fails midway."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from stvg_core.devtools.testing.check import Findings, check
from stvg_core.devtools.testing.context import QUESTIONS, ConformanceContext, difference
from stvg_core.devtools.testing.model_state import differences, model_state, modules_of
from stvg_core.devtools.testing.subject import ShownClip

_INSTRUCTION: Final = "Say what a man is."
_TEXT_TOKENS: Final = 4
_INTERRUPTED_AT: Final = (0.25, 0.6, 0.95)


@check("capture", "reading attention changes no logit, neither before nor after, and not the text that is generated")
def capture(context: ConformanceContext, findings: Findings) -> None:
    """Ask, read attention, and ask again."""
    clip = context.clip()
    logits, text = context.logits(clip, QUESTIONS), _text(context)
    for layers in (context.layers[:1], context.layers):
        context.rows(clip, QUESTIONS, layers=layers)
        findings.at_most(
            "difference of a logit",
            float((context.logits(clip, QUESTIONS) - logits).abs().max()),
            context.tolerances.logits,
            "after attention was read, the same questions get other logits: capture leaves something in the model",
        )
    findings.expect(_text(context) == text, "after attention was read, the same instruction gives another text")


@check("text-generation", "an instruction gets the same greedy text every time, without the instruction itself")
def text_generation(context: ConformanceContext, findings: Findings) -> None:
    """Generate twice, with a clip encoded and asked about between."""
    first = _text(context)
    context.logits(context.clip(), QUESTIONS)
    again = _text(context)
    findings.expect(first == again, f"the same instruction gives {first!r}, then {again!r}")
    findings.expect(_INSTRUCTION not in first, f"the text repeats the instruction: {first!r}")


def _text(context: ConformanceContext) -> str:
    return context.adapter.generate_text(_INSTRUCTION, _TEXT_TOKENS)


@check("restoration", "after every call the model is as it was: hooks, attention, weights, modes, configuration")
def restoration(context: ConformanceContext, findings: Findings) -> None:
    """Compare the model's state around each call."""
    # What is left behind for good by the first call shows on a model that no check before has used. Of a real
    # checkpoint a second copy may not fit.
    fresh = replace(context) if context.tiny else context
    with torch.random.fork_rng(devices=[]):
        _compare_states(fresh, findings)


def _compare_states(context: ConformanceContext, findings: Findings) -> None:
    for name, call in _calls(context).items():
        # Or a seed that is set in every call would look as if nothing had happened.
        torch.rand(())
        before = model_state(context.adapter)
        call()
        for what in differences(before, model_state(context.adapter)):
            findings.expect(False, f"{name} changes {what} and does not put it back")


@check(
    "interruption",
    "where a call fails midway (memory runs out, say), the error comes through and the model is as it was",
)
def interruption(context: ConformanceContext, findings: Findings) -> None:
    """Let an operation inside each call fail, at several places."""
    clip = context.clip()
    logits, rows = context.logits(clip, QUESTIONS), context.rows(clip, QUESTIONS)
    for name, call in _calls(context).items():
        # What a first call makes ready for later ones is not counted, as it is not done again.
        call()
        counter = _Interruption(None)
        with counter:
            call()
        for share in _INTERRUPTED_AT:
            before = model_state(context.adapter)
            try:
                with _Interruption(int(share * counter.seen)):
                    call()
            except _Interrupted:
                pass
            else:
                findings.expect(False, f"an error inside {name} is swallowed: it must come through")
            for what in differences(before, model_state(context.adapter)):
                findings.expect(
                    False, f"where {name} fails midway, {what} is not put back: use try/finally or a context manager"
                )
        wrong = f"after {name} failed midway, the same questions are answered otherwise"
        findings.at_most(
            "difference of a logit",
            float((context.logits(clip, QUESTIONS) - logits).abs().max()),
            context.tolerances.logits,
            wrong,
        )
        for early, late in zip(rows, context.rows(clip, QUESTIONS), strict=True):
            findings.at_most("difference of rows", difference(late.rows, early.rows), context.tolerances.rows, wrong)


def _calls(context: ConformanceContext) -> dict[str, Callable[[], object]]:
    clip = context.clip()
    prompt = context.prompt(clip)
    return {
        "encode": lambda: context.show(clip.frames),
        "answer_logits": lambda: context.logits(clip, QUESTIONS, prompt),
        "answer_logits with gradients": lambda: context.adapter.answer_logits(
            clip.encoded, QUESTIONS[:2], prompt.clone().requires_grad_()
        ),
        "stvg_capture_attention": lambda: context.rows(clip, QUESTIONS, prompt),
        "stvg_capture_attention of the first layer": lambda: context.rows(clip, QUESTIONS, prompt, (0,)),
        "stvg_augment_frames": lambda: context.session.augment_frames(clip.frames, clip.encoded, context.settings),
        "generate_text": lambda: _text(context),
    }


class _Interrupted(Exception):  # noqa: N818 - stands for whatever may go wrong inside a model
    """What an interrupted operation raises; nobody catches it by name."""


class _Interruption(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts torch's operations, and fails at one of them."""

    def __init__(self, at: int | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.at, self.seen = at, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        self.seen += 1
        if self.at is not None and self.seen > self.at:
            raise _Interrupted
        return func(*args, **(kwargs or {}))


@check("untouched-inputs", "what is handed over stays as it is: frames, visual tokens, prompt")
def untouched_inputs(context: ConformanceContext, findings: Findings) -> None:
    """Compare copies around each call."""
    clip = context.clip()
    prompt = context.prompt(clip)
    pixels, tokens, added = clip.frames.pixels.copy(), clip.encoded.visual_tokens.clone(), prompt.clone()
    calls: dict[str, Callable[[ShownClip], object]] = {
        "encode": lambda given: context.show(given.frames),
        "answer_logits": lambda given: context.logits(given, QUESTIONS, prompt),
        "stvg_capture_attention": lambda given: context.rows(given, QUESTIONS, prompt),
        "stvg_augment_frames": lambda given: context.session.augment_frames(
            given.frames, given.encoded, context.settings
        ),
    }
    for name, call in calls.items():
        call(clip)
        findings.expect(bool((clip.frames.pixels == pixels).all()), f"{name} changes the frames' pixels")
        findings.expect(torch.equal(clip.encoded.visual_tokens, tokens), f"{name} changes the clip's visual tokens")
        findings.expect(torch.equal(prompt, added), f"{name} changes the prompt that it is given")
    trainable = [
        name
        for number, module in enumerate(modules_of(context.adapter))
        for name, weight in module.named_parameters(prefix=str(number))
        if weight.requires_grad
    ]
    findings.expect(not trainable, f"the model's weights must be frozen (requires_grad_(False)): {trainable[:3]}")
