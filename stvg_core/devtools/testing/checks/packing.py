"""Several questions in one call, several calls, several clips, several sessions: none touches another."""

from typing import Final

import torch

from stvg_core.devtools.testing.check import Findings, check
from stvg_core.devtools.testing.checks.interface import run_fresh
from stvg_core.devtools.testing.context import QUESTIONS, ConformanceContext, difference

_MANY: Final = (*QUESTIONS, "Is there a dog?", QUESTIONS[0], "Does the man in blue walk to the sofa and sit down?")
"""One of them twice."""


@check("batch", "questions asked together are answered as each alone, in whatever order they stand")
def batch(context: ConformanceContext, findings: Findings) -> None:
    """Compare logits and rows of six questions at once with six calls."""
    clip = context.clip()
    prompt = context.prompt(clip)
    alone = {question: context.logits(clip, [question], prompt)[0] for question in set(_MANY)}
    alone_rows = {question: context.rows(clip, [question], prompt)[0] for question in set(_MANY)}
    for asked in (_MANY, _MANY[::-1]):
        together, rows = context.logits(clip, asked, prompt), context.rows(clip, asked, prompt)
        findings.at_most(
            "largest difference of a logit",
            float((together - torch.stack([alone[question] for question in asked])).abs().max()),
            context.tolerances.logits,
            "a question's logits change with the other questions of the call",
        )
        for question, own in zip(asked, rows, strict=True):
            expected = alone_rows[question]
            if own.question != question or own.tokens != expected.tokens:
                findings.expect(False, f"rows of {own.question!r} stand where {question!r} was asked")
                continue
            findings.at_most(
                "largest difference of rows",
                difference(own.rows, expected.rows),
                context.tolerances.rows,
                f"the rows of {question!r} change with the other questions of the call, or are another's",
            )


@check("repeatability", "the same call gives the same numbers, however often it is made")
def repeatability(context: ConformanceContext, findings: Findings) -> None:
    """Make each call three times."""
    frames = context.frames()
    clips = [context.show(frames) for _ in range(3)]
    prompt = context.prompt(clips[0])
    logits = [context.logits(clip, QUESTIONS, prompt) for clip in clips]
    rows = [context.rows(clip, QUESTIONS, prompt) for clip in clips]
    for number in (1, 2):
        findings.at_most(
            "difference of visual tokens",
            difference(clips[number].encoded.visual_tokens, clips[0].encoded.visual_tokens),
            context.tolerances.tokens,
            "frames encoded again give other visual tokens (dropout, or a random seed)",
        )
        findings.at_most(
            "difference of a logit",
            float((logits[number] - logits[0]).abs().max()),
            context.tolerances.logits,
            "the same question gets other logits (dropout, or something kept from the call before)",
        )
        for first, again in zip(rows[0], rows[number], strict=True):
            findings.at_most(
                "difference of rows",
                difference(again.rows, first.rows),
                context.tolerances.rows,
                "the same question gets other rows (dropout, or something kept from the call before)",
            )


@check("clips", "a clip can be asked about after another was encoded, of another length too")
def clips(context: ConformanceContext, findings: Findings) -> None:
    """Encode one clip, then others, and ask about the first."""
    first = context.clip()
    before = context.logits(first, QUESTIONS), context.rows(first, QUESTIONS)
    others = [context.clip(seed=8), context.clip(2, seed=9)]
    for other in others:
        context.logits(other, QUESTIONS[:1])
    after = context.logits(first, QUESTIONS), context.rows(first, QUESTIONS)
    wrong = "after other clips were encoded, a clip's answers change: the adapter keeps a clip outside EncodedClip"
    findings.at_most(
        "difference of a logit", float((after[0] - before[0]).abs().max()), context.tolerances.logits, wrong
    )
    for early, late in zip(before[1], after[1], strict=True):
        findings.at_most("difference of rows", difference(late.rows, early.rows), context.tolerances.rows, wrong)


@check("sessions", "two sessions at once do not mix, and closing one leaves the other alone")
def sessions(context: ConformanceContext, findings: Findings) -> None:
    """Two sessions with a clip each, asked in turn; then one is closed."""
    first = context.clip()
    expected = context.logits(first, QUESTIONS), context.rows(first, QUESTIONS)
    second = context.clip(seed=8)
    other_expected = context.logits(second, QUESTIONS)
    wrong = "a second session changes the answers of the first: something is kept outside the adapter"
    with context.open() as other:
        own = context.show(first.frames)
        theirs = context.show(second.frames, session=other)
        answers = context.logits(own, QUESTIONS), context.rows(own, QUESTIONS)
        other_answers = context.logits(theirs, QUESTIONS, session=other)
    closed = context.logits(own, QUESTIONS)
    for found, wanted in ((answers[0], expected[0]), (other_answers, other_expected), (closed, expected[0])):
        findings.at_most("difference of a logit", float((found - wanted).abs().max()), context.tolerances.logits, wrong)
    for early, late in zip(expected[1], answers[1], strict=True):
        findings.at_most("difference of rows", difference(late.rows, early.rows), context.tolerances.rows, wrong)


_FRESH: Final = """
import importlib, json, os, sys
from pathlib import Path
from importlib.metadata import EntryPoint
given = json.load(sys.stdin)
from stvg_core.settings import InputSettings
from stvg_core.plugin.model_reference import LoadOptions, ModelReference
from stvg_core.host.loading import load_backend
from stvg_core.host.registry import FoundBackend, find_backends
from stvg_core.host.session import open_backend
from stvg_core.devtools.testing.context import QUESTIONS, ConformanceContext
entry = EntryPoint(*given["entry_point"])
told = [one for one in find_backends() if one.entry_point.value == entry.value]
architectures = tuple(given["architectures"])
found = (*told, FoundBackend(given["name"], given["distribution"], "0", "ok", "", "", 1, architectures, entry))[0]
folder = Path(given["checkpoint"])
session = open_backend(load_backend(found), found, ModelReference(str(folder), folder), LoadOptions(**given["options"]))
context = ConformanceContext(given["name"], found, lambda: None, None, folder)
frames = context.frames()
clip = context.show(frames, settings=InputSettings.model_validate(given["settings"]), session=session)
(rows,) = context.rows(clip, QUESTIONS[:1], layers=(0,), session=session)
print(json.dumps({"logits": context.logits(clip, QUESTIONS, session=session).tolist(), "rows": rows.rows.tolist()}))
"""


@check("fresh-process", "a process of its own, started anew, gives the same numbers")
def fresh_process(context: ConformanceContext, findings: Findings) -> None:
    """Load the entry point in a fresh interpreter, and ask there."""
    clip = context.clip()
    entry = context.found.entry_point
    options = context.options
    told = run_fresh(
        _FRESH,
        {
            "entry_point": [entry.name, entry.value, entry.group],
            "name": context.found.name,
            "distribution": context.found.distribution,
            "architectures": list(context.found.architectures),
            "checkpoint": str(context.checkpoint),
            "options": {
                "device": options.device,
                "dtype": options.dtype,
                "attn_implementation": options.attn_implementation,
            },
            "settings": context.settings.model_dump(),
        },
    )
    wrong = "another process gives other numbers: something depends on what this process did before"
    found = torch.tensor(told["logits"], dtype=torch.float64)
    findings.at_most(
        "difference of a logit",
        float((found - context.logits(clip, QUESTIONS)).abs().max()),
        context.tolerances.logits,
        wrong,
    )
    (rows,) = context.rows(clip, QUESTIONS[:1], layers=(0,))
    findings.at_most(
        "difference of rows",
        difference(torch.tensor(told["rows"], dtype=torch.float64), rows.rows),
        context.tolerances.rows,
        wrong,
    )
