"""The two branches of a query as values (DSTH, paper section 3.3): what each asks, and what its attention showed.

The spatial branch asks about the attribute sub-query, the temporal branch about the action sub-query. These values
know no model; `pipeline` computes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from stvg_core.method import prompts
from stvg_core.method.prompts import LearnedPrompt
from stvg_core.method.reversed_view import assemble
from stvg_core.plugin.adapter import AnswerLogits
from stvg_core.settings import BranchSettings, LayerSettings, Settings
from stvg_core.values import FirstAnswer, FrameMaps, PromptEffect, SubQueries

Branch = Literal["spatial", "temporal"]

BRANCHES: Final[tuple[Branch, ...]] = ("spatial", "temporal")
MAXIMUM_BRANCHES_PER_PASS: Final = 16
"""The attention mask of the questions' rows grows with the square of their number."""


@dataclass(frozen=True)
class BranchQuery:
    """One branch of one query.

    Attributes:
        query: the query with both of its sub-queries.
        branch: "spatial" asks about the attribute, "temporal" about the action.
    """

    query: SubQueries
    branch: Branch

    @property
    def sub_query(self) -> str:
        """The sub-query of this branch."""
        return self.query.attribute if self.branch == "spatial" else self.query.action

    def branch_settings(self, settings: Settings) -> BranchSettings:
        """Return the settings of this branch."""
        return settings.spatial if self.branch == "spatial" else settings.temporal

    def prompt_questions(self, settings: Settings) -> tuple[str, ...]:
        """Return the question that the visual prompt is learned on, and the neutral one where the loss needs it."""
        neutral = (settings.relative.neutral_question,) if settings.prompt.contrast_neutral else ()
        return (settings.question(self.sub_query), *neutral)

    def attention_question(self, settings: Settings) -> str:
        """Return the question whose attention makes the maps."""
        whole = self.branch_settings(settings).inference_question == "sentence"
        return settings.question(self.query.text.lower() if whole else self.sub_query)


@dataclass(frozen=True, eq=False)
class BranchAttention:
    """The attention of one branch in one view (forward or reversed) of the video.

    Attributes:
        maps: one map per sampled frame, in source order.
        prompt: what was added to the visual tokens, or None.
        answer: to the branch's sub-query, under the prompt; None if it was not requested.
        first_answer: the token that answers without a prompt, if the backend provides it.
    """

    maps: FrameMaps
    prompt: LearnedPrompt | None
    answer: AnswerLogits | None = None
    first_answer: FirstAnswer | None = None

    @property
    def effect(self) -> PromptEffect | None:
        """What the learned prompt did; None if none was learned."""
        if self.prompt is None or not self.prompt.margins or self.answer is None:
            return None
        return PromptEffect(self.prompt.margins[0], float(self.answer.margins), self.prompt.norm_share)


@dataclass(frozen=True, eq=False)
class BranchMaps:
    """The attention maps of both branches of one query.

    Attributes:
        spatial: maps of the attribute, both views assembled.
        temporal: maps of the action.
        margins: logit of yes minus no before each prompt step, by branch and step.
        prompts: effect of the learned prompts, by branch; that of the reversed view is "spatial_reversed".
        answers: first token of the model's answer without a prompt, by branch, if the backend provides it.
        warnings: prompts with no or too large an effect, and answers that are neither yes nor no.
        unprompted_spatial: maps of the attribute without its prompt; None if it has none, or if not requested.
        unprompted_temporal: the same of the action.
        views: maps of the attribute, one entry per view.
    """

    spatial: FrameMaps
    temporal: FrameMaps
    margins: Mapping[str, float]
    prompts: Mapping[str, PromptEffect] = field(default_factory=dict)
    answers: Mapping[str, FirstAnswer] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    unprompted_spatial: FrameMaps | None = None
    unprompted_temporal: FrameMaps | None = None
    views: tuple[FrameMaps, ...] = ()


def assemble_branches(
    spatial: BranchAttention,
    temporal: BranchAttention,
    spatial_reversed: BranchAttention | None,
    settings: Settings,
    unprompted_spatial: FrameMaps | None = None,
    unprompted_temporal: FrameMaps | None = None,
) -> BranchMaps:
    """Return the maps of one query, the views of its attribute assembled (TAS), with its diagnostics.

    Args:
        spatial: attention of the attribute in the forward view.
        temporal: attention of the action in the forward view.
        spatial_reversed: attention of the attribute in the reversed view; None if there is one view.
        settings: how views are combined and prompts were learned.
        unprompted_spatial: see `BranchMaps`.
        unprompted_temporal: see `BranchMaps`.
    """
    forward = {"spatial": spatial, "temporal": temporal}
    everything = forward if spatial_reversed is None else forward | {"spatial_reversed": spatial_reversed}
    views = (spatial.maps,) if spatial_reversed is None else (spatial.maps, spatial_reversed.maps)
    effects = {name: one.effect for name, one in everything.items() if one.effect is not None}
    answers = {name: one.first_answer for name, one in forward.items() if one.first_answer is not None}
    return BranchMaps(
        spatial=assemble(views, settings.augment.combine),
        temporal=temporal.maps,
        margins={
            f"{name}_margin_step_{step}": margin
            for name, one in forward.items()
            if one.prompt is not None
            for step, margin in enumerate(one.prompt.margins)
        },
        prompts=effects,
        answers=answers,
        warnings=(*prompts.effect_warnings(effects, settings.prompt), *prompts.answer_warnings(answers)),
        unprompted_spatial=unprompted_spatial,
        unprompted_temporal=unprompted_temporal,
        views=views,
    )


def group_by_pass(
    learned: Mapping[BranchQuery, LearnedPrompt | None], settings: Settings
) -> list[tuple[BranchQuery, ...]]:
    """Return which branches share a forward pass: those without a prompt that average the same layers.

    Args:
        learned: the prompt of each branch, or None.
        settings: which layers each branch averages.
    """
    size = MAXIMUM_BRANCHES_PER_PASS
    groups: list[tuple[BranchQuery, ...]] = []
    by_layers: dict[LayerSettings, list[BranchQuery]] = {}
    for one, prompt in learned.items():
        if prompt is None:
            by_layers.setdefault(one.branch_settings(settings).layers, []).append(one)
        else:
            groups.append((one,))
    for together in by_layers.values():
        groups += [tuple(together[start : start + size]) for start in range(0, len(together), size)]
    order = list(learned)
    return sorted(groups, key=lambda group: order.index(group[0]))
