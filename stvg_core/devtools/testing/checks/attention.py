"""Attention rows: what they are shares of, and that they are the plain model's."""

from typing import Final

import torch
from torch import Tensor

from stvg_core.devtools.testing.check import Findings, check
from stvg_core.devtools.testing.context import QUESTIONS, ConformanceContext, difference
from stvg_core.devtools.testing.subject import ShownClip

_UNEVEN: Final = 1.5
_ROUNDING: Final = 1e-6
_BRANCHING: Final = ("Is there a man in red by the car?", "Is there a man in blue who walks away from the house?")
"""Alike up to their fifth word."""


@check("attention-rows", "attention rows are the plain model's eager attention, of the wanted layers")
def attention_rows(context: ConformanceContext, findings: Findings) -> None:
    """Compare rows of all layers, and of single ones."""
    for settings in context.ways:
        clip = context.clip(settings=settings)
        if context.tiny:
            rows = context.plain(clip, QUESTIONS[0]).rows
            findings.at_least(
                "plain attention, largest over mean",
                float(rows.max() / rows.mean()),
                _UNEVEN,
                "the subject's attention is nearly even, so that a mistake would hardly show: scale its weights up",
            )
        for layers in sorted({context.layers, context.layers[:1], context.layers[-1:], context.layers[::2]}):
            _compare(context, clip, None, layers, findings)


@check(
    "prompted-rows",
    "a visual prompt is there while attention is read as well, also for the neutral question",
)
def prompted_rows(context: ConformanceContext, findings: Findings) -> None:
    """The same under a random prompt; and the prompt must make a difference to every question."""
    for settings in context.ways:
        clip = context.clip(settings=settings)
        prompt = context.prompt(clip)
        bare, under = context.rows(clip, QUESTIONS), context.rows(clip, QUESTIONS, prompt)
        for question, before, after in zip(QUESTIONS, bare, under, strict=True):
            findings.at_least(
                "effect of the prompt on the rows",
                difference(after.rows, before.rows),
                context.tolerances.effect,
                f"the prompt does not reach the rows of {question!r}",
            )
        _compare(context, clip, prompt, context.layers, findings)


def _compare(
    context: ConformanceContext, clip: ShownClip, prompt: Tensor | None, layers: tuple[int, ...], findings: Findings
) -> None:
    bound = context.tolerances.rows
    answers = context.rows(clip, QUESTIONS, prompt, layers)
    for question, attention in zip(QUESTIONS, answers, strict=True):
        plain = context.plain(clip, question, prompt, layers).rows[-len(attention.tokens) :]
        if plain.shape != attention.rows.shape:
            findings.expect(
                False,
                f"rows of {question!r} have shape {tuple(attention.rows.shape)}, the plain ones {tuple(plain.shape)}",
            )
            continue
        far = difference(attention.rows, plain)
        hint = "" if far <= bound else _hint(context, clip, prompt, question, attention.rows, layers)
        findings.at_most(
            "largest difference of rows",
            far,
            bound,
            f"rows of {question!r}, layers {list(layers)}, are not the plain model's{hint}",
        )


def _hint(
    context: ConformanceContext,
    clip: ShownClip,
    prompt: Tensor | None,
    question: str,
    rows: Tensor,
    layers: tuple[int, ...],
) -> str:
    """Return what the rows are instead, where that can be told."""
    bound = context.tolerances.rows

    def is_of(other: str, added: Tensor | None, wanted: tuple[int, ...]) -> bool:
        plain = context.plain(clip, other, added, wanted).rows[-len(rows) :]
        return plain.shape == rows.shape and difference(rows, plain) <= bound

    guesses: list[tuple[str, tuple[str, Tensor | None, tuple[int, ...]]]] = []
    if prompt is not None:
        guesses += [("without the prompt", (question, None, layers)), ("with it twice", (question, 2 * prompt, layers))]
    guesses += [(f"of {other!r}", (other, prompt, layers)) for other in QUESTIONS if other != question]
    guesses += [(f"of layer {layer}", (question, prompt, (layer,))) for layer in context.layers if layers != (layer,)]
    guesses += [("of all layers", (question, prompt, context.layers))]
    for name, guess in guesses:
        if is_of(*guess):
            return f"; they are the rows {name}"
    plain = context.plain(clip, question, prompt, layers).rows[-len(rows) :]
    return _bent(rows, plain, clip.encoded.layout.shape, bound)


def _bent(rows: Tensor, plain: Tensor, shape: tuple[int, int, int], bound: float) -> str:
    """Return how rows differ from the plain ones, where a simple bend makes them alike."""
    grid = plain.reshape(-1, *shape)
    for name, other in {
        "with rows and columns of a frame exchanged": grid.transpose(2, 3),
        "with time steps reversed": grid.flip(1),
        "shifted by one visual token": plain.roll(1, dims=1),
        "shifted back by one visual token": plain.roll(-1, dims=1),
        "shifted by one prompt token": plain.roll(1, dims=0),
        "shifted back by one prompt token": plain.roll(-1, dims=0),
    }.items():
        if difference(rows, other.reshape(rows.shape)) <= bound:
            return f"; they are right {name}"
    shares, plain_shares = (
        values.double().cpu() / values.double().cpu().sum(1, keepdim=True) for values in (rows, plain)
    )
    if difference(shares, plain_shares) <= bound:
        return "; each row is off by a factor: shares are of all that a token sees, averaged over heads and layers"
    return ""


@check(
    "row-shares",
    "each row holds shares of all that a token sees, text included: none below 0, together below 1, in float32",
)
def row_shares(context: ConformanceContext, findings: Findings) -> None:
    """Look at the rows alone."""
    clip = context.clip()
    for attention in context.rows(clip, QUESTIONS, context.prompt(clip)):
        rows = attention.rows
        findings.expect(
            rows.dtype in (torch.float32, torch.float64), f"rows are {rows.dtype}: relative attention needs float32"
        )
        findings.expect(not rows.requires_grad, "rows carry gradients: run the capture under torch.no_grad")
        findings.expect(bool(torch.isfinite(rows).all()), "rows hold what is not a finite number")
        findings.at_least("least share", float(rows.min()), 0.0, "a share is negative")
        findings.at_most(
            "largest sum of a row",
            float(rows.double().sum(1).max()),
            1.0 - _ROUNDING,
            "the visual tokens get all of a row (or more), though the prompt's text takes its part: the softmax must "
            "run over all that a token sees, and heads and layers are averaged, not added",
        )


@check("causality", "a token's row depends on what comes before it alone, not on the rest of the question")
def causality(context: ConformanceContext, findings: Findings) -> None:
    """Compare the rows that two questions share, until they part."""
    clip = context.clip()
    first, second = (context.rows(clip, [question])[0] for question in _BRANCHING)
    shared = 0
    for one, other in zip(first.tokens, second.tokens, strict=False):
        if one.text != other.text:
            break
        shared += 1
    findings.at_least(
        "tokens in common",
        float(shared),
        2.0,
        f"{_BRANCHING[0]!r} and {_BRANCHING[1]!r} have no first tokens in common",
    )
    if shared:
        findings.at_most(
            "difference of rows in common",
            difference(first.rows[:shared], second.rows[:shared]),
            context.tolerances.rows,
            "the rows of a question's first words change with its last words: the causal mask is missing",
        )
