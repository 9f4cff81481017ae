"""Which prompt tokens ground the query."""

from typing import Final

import torch

from stvg_core.devtools.testing.check import Findings, check
from stvg_core.devtools.testing.context import QUESTIONS, ConformanceContext
from stvg_core.method.attention import relative_rows
from stvg_core.settings import RelativeSettings, TokenSettings

_REPEATS: Final = 3


@check(
    "token-selection",
    "the grounding tokens chosen are tokens of the prompt, the same every time, and of the kind that is asked for",
)
def token_selection(context: ConformanceContext, findings: Findings) -> None:
    """Try every rule on real rows."""
    clip = context.clip()
    query, other, neutral = context.rows(clip, (QUESTIONS[0], QUESTIONS[2], QUESTIONS[1]))
    for attention in (query, other):
        relative = relative_rows(attention, neutral, RelativeSettings())
        kept = relative.clone(), attention.rows.clone()
        for settings in _settings():
            what = f"rule {settings.rule}, candidates {settings.candidates}"
            chosen = [context.session.select_grounding_tokens(attention, relative, settings) for _ in range(_REPEATS)]
            findings.expect(len(set(chosen)) == 1, f"{what}: one question, several answers: {chosen}")
            first = chosen[0]
            inside = bool(first) and all(0 <= position < len(attention.tokens) for position in first)
            findings.expect(inside, f"{what}: positions {first} of {len(attention.tokens)} tokens")
            if not inside:
                continue
            if settings.rule == "fixed" and settings.fixed_position is not None:
                counted = [place for place, token in enumerate(attention.tokens) if token.kind != "thinking"]
                wanted = (counted[settings.fixed_position],)
                findings.expect(
                    first == wanted, f"{what}: fixed_position {settings.fixed_position} is {wanted}, got {first}"
                )
            elif settings.rule != "fixed" and settings.candidates == "role":
                words = [attention.tokens[position].text for position in first if _is_word(attention.tokens[position])]
                findings.expect(not words, f"{what}: chose words of the question: {words}")
        findings.expect(
            torch.equal(relative, kept[0]) and torch.equal(attention.rows, kept[1]),
            "stvg_select_grounding_tokens changes the rows that it is given",
        )


def _settings() -> tuple[TokenSettings, ...]:
    free = tuple(
        TokenSettings(rule=rule, candidates=candidates)
        for rule in ("max_activation", "mean", "min_entropy")
        for candidates in ("role", "question")
    )
    return (*free, *(TokenSettings(rule="fixed", fixed_position=place) for place in (None, -1, -2)))


def _is_word(token: object) -> bool:
    return getattr(token, "kind", "") == "word"
