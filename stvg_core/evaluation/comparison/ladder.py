"""The method's components, added one by one (paper Table 2)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True)
class LadderStep:
    """One line of the ladder.

    Attributes:
        name: what the tables call it.
        meaning: what it adds, for the reader of a report.
        overrides: dotted setting names to values; whatever they do not name is the row's own.
    """

    name: str
    meaning: str
    overrides: Mapping[str, Any]


_MEAN: Final = {"spatial.tokens.rule": "mean", "temporal.tokens.rule": "mean"}
_IDENTIFIED: Final = {"spatial.tokens.rule": "max_activation", "temporal.tokens.rule": "max_activation"}
_TUNED: Final = {"spatial.tune": True, "temporal.tune": True}
_BARE: Final = {"spatial.tune": False, "temporal.tune": False, "augment.enabled": False}

LADDER: Final = (
    LadderStep("mean of tokens", "mean attention of all special tokens", {**_MEAN, **_BARE}),
    LadderStep("+ identification", "the token with the highest visual activation alone", {**_IDENTIFIED, **_BARE}),
    LadderStep(
        "+ spatial prompt",
        "a visual prompt learned on the attribute question (LRA)",
        {**_IDENTIFIED, **_BARE, "spatial.tune": True},
    ),
    LadderStep(
        "+ temporal prompt",
        "in its place one learned on the action question",
        {**_IDENTIFIED, **_BARE, "temporal.tune": True},
    ),
    LadderStep("+ both prompts", "one for each question", {**_IDENTIFIED, **_BARE, **_TUNED}),
    LadderStep(
        "+ TAS",
        "both prompts, and the attribute read on reversed frames as well",
        {**_IDENTIFIED, **_TUNED, "augment.enabled": True},
    ),
)
"""Rows of the paper's Table 2, cumulative but for the two prompts alone.

Where a preset has `prompt.steps` 0 (calibration may choose so), the lines with prompts learn none and equal the line
before: set steps with `--set prompt.steps=1`.
"""
