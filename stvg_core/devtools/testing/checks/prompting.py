"""The loss on yes and no, its gradient in the visual prompt, and the prompt of zeros."""

from typing import Final

import torch
from torch import Tensor

from stvg_core.devtools.testing.check import Findings, check
from stvg_core.devtools.testing.context import QUESTIONS, ConformanceContext, difference
from stvg_core.devtools.testing.subject import ShownClip
from stvg_core.plugin.adapter import AnswerLogits
from stvg_core.settings import PromptSettings

_LOSS_CHANGE: Final = 0.1
"""What a finite difference changes the loss by, to first order: far above float32's rounding."""
_OBJECTIVES: Final = tuple(
    PromptSettings(objective=objective, contrast_neutral=contrast)
    for objective in ("linear", "exponential")
    for contrast in (False, True)
)


@check(
    "loss",
    "the loss is one finite number that falls when yes grows over no, and rises when it does for the neutral question",
)
def loss(context: ConformanceContext, findings: Findings) -> None:
    """Differentiate stvg_regularize_logits in made-up logits."""
    for settings in _OBJECTIVES:
        what = f"objective {settings.objective}{', contrast_neutral' if settings.contrast_neutral else ''}"
        yes, no = (torch.tensor(values, requires_grad=True) for values in ([0.4, 0.1], [0.2, 0.3]))
        value = context.session.regularize_logits(AnswerLogits(yes, no), settings)
        if value.shape != () or not bool(torch.isfinite(value)) or not value.requires_grad:
            findings.expect(
                False, f"{what}: expected one finite number with gradients, got shape {tuple(value.shape)}, {value}"
            )
            continue
        by_yes, by_no = torch.autograd.grad(value, (yes, no), allow_unused=True, materialize_grads=True)
        findings.expect(
            float(by_yes[0]) < 0 < float(by_no[0]),
            f"{what}: the loss must fall with the sub-query's yes and rise with its no, its slopes are "
            f"{float(by_yes[0]):.2g} and {float(by_no[0]):.2g}",
        )
        if settings.contrast_neutral:
            findings.expect(
                float(by_no[1]) < 0 < float(by_yes[1]),
                f"{what}: the neutral question's margin must be subtracted, slopes of its yes and no are "
                f"{float(by_yes[1]):.2g} and {float(by_no[1]):.2g}",
            )


@check(
    "gradient",
    "the loss has a finite gradient in the visual prompt, at every visual token, and it is the slope of the loss",
)
def gradient(context: ConformanceContext, findings: Findings) -> None:
    """Compare autograd with central differences along the gradient."""
    clip = context.clip()
    settings = PromptSettings(objective="linear", contrast_neutral=True)
    base = context.prompt(clip).requires_grad_()
    value = _loss(context, clip, base, settings)
    if not value.requires_grad:
        findings.expect(
            False,
            "the logits do not depend on the prompt for autograd: answer_logits runs under no_grad, or detaches",
        )
        return
    (found,) = torch.autograd.grad(value, base, allow_unused=True, materialize_grads=True)
    if not bool(torch.isfinite(found).all()):
        findings.expect(False, "the gradient is not finite")
        return
    norm = float(found.norm())
    findings.at_least("gradient's norm", norm, torch.finfo(torch.float32).tiny, "the gradient is zero everywhere")
    reached = float((found.norm(dim=1) > 0).double().mean())
    findings.at_least(
        "share of visual tokens reached", reached, 1.0, "some visual tokens get no gradient: the prompt misses them"
    )
    if norm == 0:
        return
    direction, length = found / norm, _LOSS_CHANGE / norm
    with torch.no_grad():
        near, far = (
            float(
                _loss(context, clip, base + reach * length * direction, settings)
                - _loss(context, clip, base - reach * length * direction, settings)
            )
            / (2 * reach * length)
            for reach in (1, 2)
        )
    # Four points: the third derivative is taken out.
    slope = (4 * near - far) / 3
    findings.at_most(
        "slope against gradient",
        abs(slope - norm) / norm,
        context.tolerances.gradient,
        "the gradient is not the slope of the loss: part of the way from prompt to logits is detached",
    )


def _loss(context: ConformanceContext, clip: ShownClip, prompt: Tensor, settings: PromptSettings) -> Tensor:
    logits = context.adapter.answer_logits(clip.encoded, QUESTIONS[:2], prompt)
    return context.session.regularize_logits(logits, settings)


@check("zero-prompt", "a prompt of zeros changes nothing")
def zero_prompt(context: ConformanceContext, findings: Findings) -> None:
    """Compare zeros with no prompt at all."""
    clip = context.clip()
    zeros = torch.zeros_like(context.prompt(clip))
    wrong = "a prompt of zeros is not the same as none: the prompt must be added to the visual tokens"
    findings.at_most(
        "difference of a logit",
        float((context.logits(clip, QUESTIONS, zeros) - context.logits(clip, QUESTIONS)).abs().max()),
        context.tolerances.logits,
        wrong,
    )
    for bare, under in zip(context.rows(clip, QUESTIONS), context.rows(clip, QUESTIONS, zeros), strict=True):
        findings.at_most("difference of rows", difference(under.rows, bare.rows), context.tolerances.rows, wrong)
