"""Both branches of queries on an encoded clip: prompts learned (LRA), attention read, views assembled (TAS)."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from stvg_core._internal.memo import Recall
from stvg_core.errors import ModelError
from stvg_core.host.session import Session
from stvg_core.method import attention, prompts
from stvg_core.method import reversed_view as augment
from stvg_core.method.prompts import LearnedPrompt
from stvg_core.method.stages import Stopwatch, device_stage
from stvg_core.plugin.adapter import AnswerLogits, AttentionRequest, EncodedClip, QuestionAttention, TokenDecoder
from stvg_core.settings import BranchSettings, LayerSettings, PromptSettings, Settings
from stvg_core.values import FirstAnswer, FrameMaps, PromptEffect, SubQueries

_Answers = Callable[[Float[Tensor, "cell width"], Sequence[int]], list[AnswerLogits]]

_READ_TOGETHER: Final = 16
"""Branches that one pass reads at most: the mask of their rows grows with the square of the rows."""


UNPROMPTED_STAGE: Final = "unprompted"
"""Stage of what is read for reports alone; it is no part of what the method costs."""


@dataclass(frozen=True, eq=False)
class _Reading:
    """What one branch saw in one view.

    Attributes:
        maps: its attention.
        prompt: what was added to the visual tokens, or None.
        answer: to the branch's sub-query, under the prompt; None where nobody asked.
        first_answer: the token that answers without a prompt, where the backend tells.
    """

    maps: FrameMaps
    prompt: LearnedPrompt | None
    answer: AnswerLogits | None = None
    first_answer: FirstAnswer | None = None

    @property
    def effect(self) -> PromptEffect | None:
        """What the learned prompt did; None where none was learned."""
        if self.prompt is None or not self.prompt.margins or self.answer is None:
            return None
        return PromptEffect(self.prompt.margins[0], float(self.answer.margins), self.prompt.norm_share)


@dataclass(frozen=True, eq=False)
class BranchMaps:
    """What both branches saw.

    Attributes:
        spatial: the attribute's maps, both views assembled.
        temporal: the action's.
        margins: logit of yes minus no before each prompt step, by branch and step.
        prompts: what the learned prompts did, by branch; the reversed view's own is "spatial_reversed".
        answers: what the model would have said first without a prompt, by branch, where the backend tells.
        warnings: prompts that did nothing or too much, and answers that are neither yes nor no.
        unprompted_spatial: the attribute's maps without its prompt; None where it has none, or nobody asked.
        unprompted_temporal: the same of the action.
        views: the attribute's maps, each view alone.
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


def read_branches(
    session: Session,
    clip: EncodedClip,
    reversed_clip: EncodedClip | None,
    sub_queries: SubQueries,
    settings: Settings,
    watch: Stopwatch,
) -> BranchMaps:
    """Return both branches' maps of one query; see `read_queries`."""
    (maps,) = read_queries(session, clip, reversed_clip, (sub_queries,), settings, watch)
    return maps


def read_queries(
    session: Session,
    clip: EncodedClip,
    reversed_clip: EncodedClip | None,
    queries: Sequence[SubQueries],
    settings: Settings,
    watch: Stopwatch,
    recall: Recall | None = None,
    *,
    unprompted: bool = False,
) -> tuple[BranchMaps, ...]:
    """Return both branches' maps of queries: prompts are learned, attention is read, views are assembled.

    Args:
        session: the opened backend.
        clip: the frames as visual tokens.
        reversed_clip: the same in reversed order (TAS), or None for the one view.
        queries: each query's attribute and action parts.
        settings: every choice of the method.
        watch: collects the time per stage.
        unprompted: read the maps of branches with a prompt once more without it, to show what the prompt does; one
            pass more, two with the reversed view. What is found does not depend on it.
        recall: holds prompts and attention of the same clips, for further settings; prompts are then learned one by
            one, whose results are the same but for rounding.

    Raises:
        DeviceMemoryError: a stage needs more memory than there is.
    """
    method = _Method(session, settings, watch, recall)
    attributes = [_Asked(query, query.attribute, settings.spatial) for query in queries]
    actions = [_Asked(query, query.action, settings.temporal) for query in queries]
    asked = [one for pair in zip(attributes, actions, strict=True) for one in pair]
    readings = method.read(clip, asked, method.learn(clip, asked))
    spatial, temporal = readings[::2], readings[1::2]
    views: list[tuple[FrameMaps, ...]] = [(reading.maps,) for reading in spatial]
    backward: Sequence[_Reading | None] = [None] * len(spatial)
    if reversed_clip is not None:
        if settings.augment.prompts == "flipped":
            learned = tuple(_flipped(reading.prompt, clip) for reading in spatial)
        else:
            learned = method.learn(reversed_clip, attributes)
        reversed_readings = method.read(reversed_clip, attributes, learned)
        views = [(*own, other.maps) for own, other in zip(views, reversed_readings, strict=True)]
        backward = reversed_readings
    without = method.read_unprompted(clip, reversed_clip, asked, readings) if unprompted else [None] * len(asked)
    diagnostics = [
        _diagnose(attribute, action, other, settings.prompt)
        for attribute, action, other in zip(spatial, temporal, backward, strict=True)
    ]
    return tuple(
        BranchMaps(
            spatial=augment.assemble(own, settings.augment.combine),
            temporal=action.maps,
            margins=_margins("spatial", attribute) | _margins("temporal", action),
            prompts=diagnosed.prompts,
            answers=diagnosed.answers,
            warnings=diagnosed.warnings,
            views=own,
            unprompted_spatial=bare_spatial,
            unprompted_temporal=bare_temporal,
        )
        for own, attribute, action, diagnosed, bare_spatial, bare_temporal in zip(
            views, spatial, temporal, diagnostics, without[::2], without[1::2], strict=True
        )
    )


def ask(session: Session, clip: EncodedClip, questions: Sequence[str], watch: Stopwatch) -> dict[str, float]:
    """Return each question's margin, the logit of yes minus that of no, without a visual prompt.

    Args:
        session: the opened backend.
        clip: the frames as visual tokens.
        questions: whole questions; one that comes twice is asked once.
        watch: collects the time.

    Raises:
        DeviceMemoryError: it needs more memory than there is.
        ModelError: a margin is no finite number.
    """
    distinct = list(dict.fromkeys(questions))
    margins: list[float] = []
    with device_stage(watch, "search", _size(clip)), torch.no_grad():
        for start in range(0, len(distinct), _READ_TOGETHER):
            together = distinct[start : start + _READ_TOGETHER]
            margins += session.adapter.answer_logits(clip, together, None).margins.tolist()
    if not all(map(math.isfinite, margins)):
        raise ModelError("expected finite logits of yes and no, got nan or infinity; load the model in a wider dtype")
    return dict(zip(distinct, margins, strict=True))


def _flipped(prompt: LearnedPrompt | None, clip: EncodedClip) -> LearnedPrompt | None:
    if prompt is None:
        return None
    return LearnedPrompt(augment.flip_time(prompt.applied, clip.layout), ())


@dataclass(frozen=True)
class _Asked:
    """One branch of one query."""

    query: SubQueries
    part: str
    branch: BranchSettings


@dataclass(frozen=True)
class _Method:
    """Queries' branches against one session."""

    session: Session
    settings: Settings
    watch: Stopwatch
    recall: Recall | None = None

    def learn(self, clip: EncodedClip, asked: Sequence[_Asked]) -> tuple[LearnedPrompt | None, ...]:
        """Learn the branches' prompts on one clip; None for a branch that learns none."""
        tuned = [number for number, one in enumerate(asked) if one.branch.tune and self.settings.prompt.steps > 0]
        questions = [self._prompt_questions(asked[number].part) for number in tuned]
        if not tuned:
            learned: Sequence[LearnedPrompt] = ()
        elif self.recall is None:
            learned = self._learn_together(clip, questions)
        else:
            learned = [self._recalled(self.recall, clip, own) for own in questions]
        found = dict(zip(tuned, learned, strict=True))
        return tuple(found.get(number) for number in range(len(asked)))

    def _recalled(self, recall: Recall, clip: EncodedClip, questions: tuple[str, ...]) -> LearnedPrompt:
        """Learn one prompt, or find the one that was learned by the same settings; the first gradient is many's."""
        settings = self.settings.prompt
        objective = (settings.objective, settings.contrast_neutral)
        start = recall(
            ("gradient", clip, questions, objective),
            lambda: prompts.first_gradients(clip.visual_tokens, self._answers(clip, [questions]), self._loss, 1),
        )
        return recall(("prompt", clip, questions, settings), lambda: self._learn_together(clip, [questions], start)[0])

    def _learn_together(
        self,
        clip: EncodedClip,
        questions: Sequence[tuple[str, ...]],
        start: Sequence[prompts.PromptGradient] | None = None,
    ) -> tuple[LearnedPrompt, ...]:
        """Learn a prompt for each sub-query's questions."""
        with device_stage(self.watch, "prompts", _size(clip)):
            return prompts.learn_prompts(
                clip.visual_tokens,
                self._answers(clip, questions),
                self._loss,
                len(questions),
                self.settings.prompt,
                clip.layout.time_steps,
                start,
            )

    def _loss(self, logits: AnswerLogits) -> Float[Tensor, ""]:
        return self.session.regularize_logits(logits, self.settings.prompt)

    def _answers(self, clip: EncodedClip, questions: Sequence[tuple[str, ...]]) -> _Answers:
        """Return what answers the questions of several sub-queries under one prompt."""

        def answer(prompt: Float[Tensor, "cell width"], numbers: Sequence[int]) -> list[AnswerLogits]:
            # The neutral question is every prompt's: it is asked once.
            distinct = list(dict.fromkeys(question for number in numbers for question in questions[number]))
            logits = self.session.adapter.answer_logits(clip, distinct, prompt)
            return [logits.select([distinct.index(question) for question in questions[number]]) for number in numbers]

        return answer

    def read(
        self,
        clip: EncodedClip,
        asked: Sequence[_Asked],
        learned: Sequence[LearnedPrompt | None],
        stage: str = "attention",
    ) -> tuple[_Reading, ...]:
        """Read the branches' attention on one clip, each under its prompt; those without one are read together."""
        with device_stage(self.watch, stage, _size(clip)):
            found: dict[int, _Reading] = {}
            for group in self._together(asked, learned):
                read = self._attend(
                    clip, [asked[number] for number in group], learned[group[0]], answers=stage != UNPROMPTED_STAGE
                )
                found.update(zip(group, read, strict=True))
        return tuple(found[number] for number in range(len(asked)))

    def read_unprompted(
        self,
        clip: EncodedClip,
        reversed_clip: EncodedClip | None,
        asked: Sequence[_Asked],
        readings: Sequence[_Reading],
    ) -> list[FrameMaps | None]:
        """Return the maps of branches that have a prompt as they are without it, views assembled; None for others."""
        found: dict[int, FrameMaps] = {}
        combine = self.settings.augment.combine
        tuned = [number for number, reading in enumerate(readings) if reading.prompt is not None]
        # The attribute alone is read on both views; its branches have even numbers.
        for view, numbers in ((clip, tuned), (reversed_clip, [number for number in tuned if number % 2 == 0])):
            if view is None or not numbers:
                continue
            branches = [asked[number] for number in numbers]
            read = self.read(view, branches, (None,) * len(branches), UNPROMPTED_STAGE)
            for number, reading in zip(numbers, read, strict=True):
                before = found.get(number)
                both = reading.maps if before is None else augment.assemble([before, reading.maps], combine)
                found[number] = both
        return [found.get(number) for number in range(len(asked))]

    def _together(self, asked: Sequence[_Asked], learned: Sequence[LearnedPrompt | None]) -> list[tuple[int, ...]]:
        """Return which branches one pass can read: those of the same layers that have no prompt."""
        groups: list[tuple[int, ...]] = [(number,) for number, prompt in enumerate(learned) if prompt is not None]
        by_layers: dict[LayerSettings, list[int]] = {}
        for number, prompt in enumerate(learned):
            if prompt is None:
                by_layers.setdefault(asked[number].branch.layers, []).append(number)
        for numbers in by_layers.values():
            groups += (
                tuple(numbers[start : start + _READ_TOGETHER]) for start in range(0, len(numbers), _READ_TOGETHER)
            )
        return sorted(groups)

    def _prompt_questions(self, sub_query: str) -> tuple[str, ...]:
        neutral = (self.settings.relative.neutral_question,) if self.settings.prompt.contrast_neutral else ()
        return (self.settings.question(sub_query), *neutral)

    def _attend(
        self, clip: EncodedClip, asked: Sequence[_Asked], prompt: LearnedPrompt | None, *, answers: bool
    ) -> list[_Reading]:
        """Read branches of the same layers under the same prompt in one pass."""
        settings = self.settings.relative
        own = [self._reading_question(one) for one in asked]
        # Prompts are judged by the question that they were learned on.
        tuned = [self.settings.question(one.part) for one in asked]
        neutral = [settings.neutral_question] if settings.mode == "ratio" else []
        questions = tuple(dict.fromkeys([*own, *neutral, *(tuned if answers else ())]))
        layers = asked[0].branch.layers
        numbers = layers.layers(self.session.adapter.description.layer_count)
        # Layers that are weighed are told apart, which a backend does for one at a time.
        apart = [(number,) for number in numbers] if layers.weights == "activation" else [numbers]
        captured = [
            self._capture(clip, questions, prompt, together, answers=answers and together is apart[-1])
            for together in apart
        ]
        readings = []
        for one, question, sub_question in zip(asked, own, tuned, strict=True):
            asked_rows = [rows[question] for rows in captured]
            neutral_rows = [rows[neutral[0] if neutral else question] for rows in captured]
            query, against = asked_rows[0], neutral_rows[0]
            if layers.weights == "activation":
                query, against = attention.weigh_layers(asked_rows, neutral_rows, settings, one.branch.tokens)
            relative = attention.relative_rows(query, against, settings)
            chosen = self.session.select_grounding_tokens(query, relative, one.branch.tokens)
            maps = attention.frame_maps(clip, query, relative, chosen)
            answer = self._answer(clip, sub_question, prompt, captured[-1]) if answers else None
            readings.append(_Reading(maps, prompt, answer, self._first_answer(prompt, answer)))
        return readings

    def _answer(
        self,
        clip: EncodedClip,
        question: str,
        prompt: LearnedPrompt | None,
        captured: Mapping[str, QuestionAttention],
    ) -> AnswerLogits | None:
        """Return a question's answer: of the pass that read attention, or of a further one where it was left out.

        Without a prompt the answer is a side note, for which no further pass is made.
        """
        answer = captured[question].answer
        if answer is None and prompt is not None:
            with torch.no_grad():
                answer = self.session.adapter.answer_logits(clip, (question,), prompt.applied)
        return answer

    def _first_answer(self, prompt: LearnedPrompt | None, answer: AnswerLogits | None) -> FirstAnswer | None:
        """Return what the model would have said first without a prompt, in words."""
        first = prompts.first_answer(answer) if prompt is None else prompt.first_answer
        if first is None:
            return None
        adapter = self.session.adapter
        token, probability = first
        return FirstAnswer(
            adapter.token_text(token) if isinstance(adapter, TokenDecoder) else f"[{token}]", probability
        )

    def _capture(
        self,
        clip: EncodedClip,
        questions: tuple[str, ...],
        prompt: LearnedPrompt | None,
        layers: tuple[int, ...],
        *,
        answers: bool,
    ) -> Mapping[str, QuestionAttention]:
        """Return each question's attention, the mean of some layers."""
        request = AttentionRequest(clip, questions, None if prompt is None else prompt.applied, layers, answers)
        captured = (
            self.session.capture_attention(request)
            if self.recall is None
            else self.recall(
                ("rows", clip, questions, prompt, layers, answers), lambda: self.session.capture_attention(request)
            )
        )
        return dict(zip(questions, captured, strict=True))

    def _reading_question(self, asked: _Asked) -> str:
        whole = asked.branch.inference_question == "sentence"
        return self.settings.question(asked.query.text.lower() if whole else asked.part)


@dataclass(frozen=True)
class _BranchDiagnostics:
    """What the passes of one query say besides maps; the fields are those of BranchMaps."""

    prompts: Mapping[str, PromptEffect]
    answers: Mapping[str, FirstAnswer]
    warnings: tuple[str, ...]


def _diagnose(
    attribute: _Reading, action: _Reading, backward: _Reading | None, settings: PromptSettings
) -> _BranchDiagnostics:
    readings = {"spatial": attribute, "temporal": action}
    answers = {name: one.first_answer for name, one in readings.items() if one.first_answer is not None}
    if backward is not None:
        readings["spatial_reversed"] = backward
    effects = {name: one.effect for name, one in readings.items() if one.effect is not None}
    warnings = (*prompts.effect_warnings(effects, settings), *prompts.answer_warnings(answers))
    return _BranchDiagnostics(effects, answers, warnings)


def _size(clip: EncodedClip) -> str:
    return f"{clip.layout.frame_count} frames as {clip.layout.cell_count} visual tokens"


def _margins(branch: str, reading: _Reading) -> dict[str, float]:
    margins = () if reading.prompt is None else reading.prompt.margins
    return {f"{branch}_margin_step_{step}": margin for step, margin in enumerate(margins)}
