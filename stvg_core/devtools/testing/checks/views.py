"""The reversed view of a clip (TAS)."""

import torch

from stvg_core.devtools.testing.check import Findings, check
from stvg_core.devtools.testing.context import QUESTIONS, ConformanceContext, difference
from stvg_core.devtools.testing.subject import ShownClip


@check(
    "reversed-view",
    "the augmented clip is the frames seen in reverse, says so, and reversed again is the clip",
)
def reversed_view(context: ConformanceContext, findings: Findings) -> None:
    """Compare stvg_augment_frames with the frames encoded in reverse, for odd and even numbers."""
    bound = context.tolerances.tokens
    for settings in context.ways:
        for count in (5, 4):
            clip = context.clip(count, settings=settings)
            view = context.session.augment_frames(clip.frames, clip.encoded, settings)
            order = tuple(reversed(range(count)))
            findings.expect(
                view.frame_order == order,
                f"frame_order of the reversed view is {view.frame_order}, expected {order}: maps would land on the "
                "wrong frames",
            )
            findings.expect(
                view.layout == clip.encoded.layout, f"the layout changes from {clip.encoded.layout} to {view.layout}"
            )
            if view.layout != clip.encoded.layout or view.frame_order != order:
                continue
            encoded = context.show(clip.frames, settings=settings, order=order)
            far = difference(view.visual_tokens, encoded.encoded.visual_tokens)
            same = difference(view.visual_tokens, clip.encoded.visual_tokens) <= bound
            hint = "; they are the forward clip's" if same else ""
            findings.at_most(
                "difference of visual tokens",
                far,
                bound,
                f"the reversed view's visual tokens are not those of the frames shown in reverse{hint} (flip tokens "
                "where each covers one frame alone; else encode again)",
            )
            again = context.session.augment_frames(clip.frames, view, settings)
            findings.at_most(
                "difference when reversed twice",
                difference(again.visual_tokens, clip.encoded.visual_tokens),
                bound,
                "the view reversed again is not the clip: the map of frames does not invert",
            )
            findings.expect(
                again.frame_order == clip.frame_order, f"reversed twice, frame_order is {again.frame_order}"
            )
            _ask(context, ShownClip(clip.frames, settings, order, view), findings)


def _ask(context: ConformanceContext, view: ShownClip, findings: Findings) -> None:
    answer = context.plain(view, QUESTIONS[0])
    plain = torch.tensor([answer.yes, answer.no], dtype=torch.float64)
    findings.at_most(
        "difference of a logit",
        float((context.logits(view, QUESTIONS[:1])[0] - plain).abs().max()),
        context.tolerances.logits,
        "asked about the reversed view, the adapter does not answer as the plain model on the reversed frames",
    )
