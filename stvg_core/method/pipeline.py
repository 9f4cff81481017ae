"""The method in the order of the paper (arXiv 2509.15178, section 3): encode, compute maps, propose tracks, join.

Frames -> visual tokens -> prompts (LRA) -> attention maps -> assembled views (TAS) -> tracks -> track and frame
scores -> tube. No other module knows this order. Ground truth never comes here.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from stvg_core._internal.determinism import deterministic_algorithms
from stvg_core.host.session import Session
from stvg_core.inputs.tracks.cached import VideoCache
from stvg_core.inputs.tracks.cells import cell_coverage, peaks_in_pixels
from stvg_core.inputs.tracks.from_attention import AttentionTracker
from stvg_core.inputs.tracks.proposing import propose_tracks
from stvg_core.method import attention, prompts, scores
from stvg_core.method.branches import (
    BRANCHES,
    BranchAttention,
    BranchMaps,
    BranchQuery,
    assemble_branches,
    group_by_pass,
)
from stvg_core.method.prompts import LearnedPrompt, PromptGradient
from stvg_core.method.reversed_view import assemble, flip_time
from stvg_core.method.stages import Stopwatch, device_stage
from stvg_core.method.tube import assemble_tube, choose_span
from stvg_core.plugin.adapter import AnswerLogits, AttentionRequest, EncodedClip, QuestionAttention, TokenDecoder
from stvg_core.plugin.tracker import Tracker, TrackRequest
from stvg_core.settings import JointSettings, Settings
from stvg_core.values import FirstAnswer, FrameMaps, Frames, Grounding, SubQueries, Track, Tube

__all__ = ["UNPROMPTED_STAGE", "EncodedViews", "Joined", "Pipeline", "Stopwatch", "join_branches", "score_track_frames"]

UNPROMPTED_STAGE: Final = "unprompted"
"""Stage of the maps that only reports need; it is no part of the method's cost."""

Prompts = Mapping[BranchQuery, LearnedPrompt | None]
"""The visual prompt of each branch; None for a branch without one."""


@dataclass(frozen=True, eq=False)
class EncodedViews:
    """The visual tokens of a video's sampled frames; every query about the video shares them.

    Attributes:
        frames: the sampled frames.
        clip: their visual tokens in source order.
        reversed_clip: their visual tokens in reversed order (TAS), or None with one view.
    """

    frames: Frames
    clip: EncodedClip
    reversed_clip: EncodedClip | None


@dataclass(frozen=True, eq=False)
class Joined:
    """The track and the span chosen from the maps of both branches; the fields are those of Grounding."""

    chosen_track: int
    track_scores: Float64[np.ndarray, " track"]
    frame_scores: Float64[np.ndarray, " frame"]
    span_frames: tuple[int, int]
    tube: Tube


@dataclass(frozen=True, eq=False)
class Pipeline:
    """The method with one loaded model: its steps, and `ground`, which takes them in order.

    Every step may raise DeviceMemoryError (the device is too small; the session still works) or another StvgError,
    whose message names the stage and the cure. A subclass may override `encode_clip`, `reverse_clip`,
    `learn_prompts` and `capture_attention`, the steps that run the model.

    Attributes:
        session: the loaded model with the hooks of its backend.
        settings: every choice of the method.
        tracker: proposes the candidate tracks.
        watch: collects the seconds of each stage.
    """

    session: Session
    settings: Settings
    tracker: Tracker = field(default_factory=AttentionTracker)
    watch: Stopwatch = field(default_factory=Stopwatch)

    def ground(
        self, frames: Frames, queries: Sequence[SubQueries], *, unprompted: bool = False
    ) -> tuple[Grounding, ...]:
        """Ground decomposed queries in sampled frames of one video.

        The frames are encoded once for all queries, and tracked once if the tracker depends on nothing else. Queries
        share forward passes where they have no visual prompts, and the first pass of learning them. Results equal
        those of the single queries up to rounding. One query that fails fails them all.

        Args:
            frames: the sampled frames.
            queries: each query with its attribute and action sub-queries (DSTH).
            unprompted: compute maps without prompts as well, for reports.

        Returns:
            One grounding per query. Their timings are those of all queries together.
        """
        views = self.encode(frames)
        maps = self.compute_maps(views, queries, unprompted=unprompted)
        shared = replace(self, tracker=VideoCache(self.tracker)) if len(queries) > 1 else self
        return tuple(shared.ground_maps(frames, query, each) for query, each in zip(queries, maps, strict=True))

    def encode(self, frames: Frames, *, reversed_view: bool | None = None) -> EncodedViews:
        """Encode sampled frames.

        Args:
            frames: the sampled frames.
            reversed_view: whether to encode the reversed view as well (TAS); None: if `augment.enabled`.
        """
        if reversed_view is None:
            reversed_view = self.settings.augment.enabled
        with self._deterministic(), device_stage(self.watch, "encode", f"{len(frames)} frames"):
            clip = self.encode_clip(frames)
            reversed_clip = self.reverse_clip(frames, clip) if reversed_view else None
        return EncodedViews(frames, clip, reversed_clip)

    def encode_clip(self, frames: Frames) -> EncodedClip:
        """Return the visual tokens of frames in source order."""
        return self.session.adapter.encode(frames, self.settings.input, tuple(range(len(frames))))

    def reverse_clip(self, frames: Frames, clip: EncodedClip) -> EncodedClip:
        """Return the visual tokens of frames in reversed order (`stvg_augment_frames`)."""
        return self.session.augment_frames(frames, clip, self.settings.input)

    def compute_maps(
        self, views: EncodedViews, queries: Sequence[SubQueries], *, unprompted: bool = False
    ) -> tuple[BranchMaps, ...]:
        """Return the attention maps of both branches of each query about one encoded video.

        Learns the visual prompts of each branch (LRA, section 3.3), computes relative attention under them, and
        assembles both views (TAS, section 3.4).

        Args:
            views: from `encode` with the same session and settings.
            queries: each query with its attribute and action sub-queries (DSTH).
            unprompted: compute the maps of branches with a prompt without it as well, to show its effect in reports:
                one pass more, two with the reversed view.
        """
        branches = list(dict.fromkeys(BranchQuery(query, branch) for query in queries for branch in BRANCHES))
        with self._deterministic():
            forward = self._attend(views.clip, self._learn(views.clip, branches))
            backward = self._attend_reversed(views, forward)
            bare = self._unprompted_maps(views, forward) if unprompted else {}
        maps = []
        for query in queries:
            spatial, temporal = (BranchQuery(query, branch) for branch in BRANCHES)
            maps.append(
                assemble_branches(
                    forward[spatial],
                    forward[temporal],
                    backward.get(spatial),
                    self.settings,
                    bare.get(spatial),
                    bare.get(temporal),
                )
            )
        return tuple(maps)

    def ground_maps(self, frames: Frames, query: SubQueries, maps: BranchMaps) -> Grounding:
        """Return the tube of one query from its maps: `propose_tracks`, then `join`.

        Args:
            frames: the sampled frames; the maps have one entry per frame.
            query: the query with its sub-queries.
            maps: from `compute_maps`.
        """
        tracks, warnings = self.propose_tracks(frames, query, maps)
        joined = self.join(frames, tracks, maps)
        return Grounding(
            frames=frames,
            sub_queries=query,
            tracks=tracks,
            chosen_track=joined.chosen_track,
            track_scores=joined.track_scores,
            frame_scores=joined.frame_scores,
            span_frames=joined.span_frames,
            spatial_maps=maps.spatial,
            temporal_maps=maps.temporal,
            tube=joined.tube,
            diagnostics=maps.margins,
            timings_seconds=self.watch.seconds,
            warnings=(*maps.warnings, *warnings),
            prompts=maps.prompts,
            answers=maps.answers,
            unprompted_spatial_maps=maps.unprompted_spatial,
            unprompted_temporal_maps=maps.unprompted_temporal,
        )

    def propose_tracks(
        self, frames: Frames, query: SubQueries, maps: BranchMaps
    ) -> tuple[tuple[Track, ...], tuple[str, ...]]:
        """Return candidate tracks, and warnings about them."""
        with self.watch.stage("tracks"):
            return propose_tracks(self.tracker, TrackRequest(frames, query, maps.spatial, maps.temporal))

    def join(self, frames: Frames, tracks: tuple[Track, ...], maps: BranchMaps) -> Joined:
        """Return the track and the span that the maps of both branches choose."""
        joint = self.settings.joint
        with self.watch.stage("tube"):
            rows, columns = maps.spatial.values.shape[1:]
            coverage = cell_coverage(tracks, frames.indices, frames.info, rows, columns, joint.track_cells)
            return join_branches(frames, tracks, coverage, maps.spatial, maps.temporal, joint)

    def learn_prompts(
        self,
        clip: EncodedClip,
        questions: Sequence[tuple[str, ...]],
        start: Sequence[PromptGradient] | None = None,
    ) -> tuple[LearnedPrompt, ...]:
        """Learn visual prompts on one clip (LRA, Algorithm 1), all in shared passes.

        Args:
            clip: the visual tokens that the prompts are added to.
            questions: of each prompt: its yes/no question, then the neutral one if the loss contrasts with it.
            start: the gradients of the first step, if `first_gradients` has computed them.
        """
        answer, settings = self._answers(clip, questions), self.settings.prompt
        with device_stage(self.watch, "prompts", _size(clip)):
            return prompts.learn_prompts(
                clip.visual_tokens, answer, self._loss, len(questions), settings, clip.layout.time_steps, start
            )

    def first_gradients(self, clip: EncodedClip, questions: Sequence[tuple[str, ...]]) -> tuple[PromptGradient, ...]:
        """Return the gradient of the first step of each prompt; no step size or rule changes it."""
        answer = self._answers(clip, questions)
        return prompts.first_gradients(clip.visual_tokens, answer, self._loss, len(questions))

    def capture_attention(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        """Return the attention rows of each question (`stvg_capture_attention`)."""
        return self.session.capture_attention(request)

    def _deterministic(self) -> AbstractContextManager[None]:
        return deterministic_algorithms(self.session.options.deterministic)

    def _learn(self, clip: EncodedClip, branches: Iterable[BranchQuery]) -> Prompts:
        """Return the prompt of each branch on one clip; None for a branch that learns none."""
        settings = self.settings
        learned: dict[BranchQuery, LearnedPrompt | None] = dict.fromkeys(branches)
        tuned = [one for one in learned if one.branch_settings(settings).tune and settings.prompt.steps > 0]
        if tuned:
            together = self.learn_prompts(clip, [one.prompt_questions(settings) for one in tuned])
            learned.update(zip(tuned, together, strict=True))
        return learned

    def _loss(self, logits: AnswerLogits) -> Float[Tensor, ""]:
        return self.session.regularize_logits(logits, self.settings.prompt)

    def _answers(self, clip: EncodedClip, questions: Sequence[tuple[str, ...]]) -> prompts.Answers:
        """Return a function that answers the questions of several prompts under one shared prompt."""

        def answer(prompt: Float[Tensor, "cell width"], numbers: Sequence[int]) -> list[AnswerLogits]:
            # All prompts share the neutral question: it is asked once.
            distinct = list(dict.fromkeys(question for number in numbers for question in questions[number]))
            logits = self.session.adapter.answer_logits(clip, distinct, prompt)
            return [logits.select([distinct.index(question) for question in questions[number]]) for number in numbers]

        return answer

    def _attend_reversed(
        self, views: EncodedViews, forward: Mapping[BranchQuery, BranchAttention]
    ) -> Mapping[BranchQuery, BranchAttention]:
        """Return the attention of the spatial branches in the reversed view; nothing with one view."""
        clip = views.reversed_clip
        if clip is None:
            return {}
        spatial = [one for one in forward if one.branch == "spatial"]
        if self.settings.augment.prompts == "flipped":
            return self._attend(clip, {one: _flipped(forward[one].prompt, views.clip) for one in spatial})
        return self._attend(clip, self._learn(clip, spatial))

    def _unprompted_maps(
        self, views: EncodedViews, forward: Mapping[BranchQuery, BranchAttention]
    ) -> Mapping[BranchQuery, FrameMaps]:
        """Return the maps without a prompt, views assembled, of the branches that have one."""
        prompted = [one for one, attended in forward.items() if attended.prompt is not None]
        if not prompted:
            return {}
        attended = self._attend(views.clip, dict.fromkeys(prompted), UNPROMPTED_STAGE)
        maps = {one: attention.maps for one, attention in attended.items()}
        spatial = [one for one in prompted if one.branch == "spatial"]
        if views.reversed_clip is not None and spatial:
            backward = self._attend(views.reversed_clip, dict.fromkeys(spatial), UNPROMPTED_STAGE)
            for one, attention in backward.items():
                maps[one] = assemble([maps[one], attention.maps], self.settings.augment.combine)
        return maps

    def _attend(
        self, clip: EncodedClip, learned: Prompts, stage: str = "attention"
    ) -> Mapping[BranchQuery, BranchAttention]:
        """Return the attention of branches on one clip, each under its prompt; those without one share passes."""
        attended: dict[BranchQuery, BranchAttention] = {}
        with device_stage(self.watch, stage, _size(clip)):
            for group in group_by_pass(learned, self.settings):
                attended |= self._attend_together(clip, group, learned[group[0]], answers=stage != UNPROMPTED_STAGE)
        return attended

    def _attend_together(
        self, clip: EncodedClip, branches: Sequence[BranchQuery], prompt: LearnedPrompt | None, *, answers: bool
    ) -> Mapping[BranchQuery, BranchAttention]:
        """Return the attention of branches that average the same layers under the same prompt, in one pass."""
        settings = self.settings.relative
        neutral = [settings.neutral_question] if settings.mode == "ratio" else []
        # The answer is to the question that the prompt was learned on, which may not be the one of the maps.
        learned_on = [self.settings.question(one.sub_query) for one in branches]
        questions = [one.attention_question(self.settings) for one in branches]
        distinct = tuple(dict.fromkeys([*questions, *neutral, *(learned_on if answers else ())]))
        layers = branches[0].branch_settings(self.settings).layers
        numbers = layers.layers(self.session.adapter.description.layer_count)
        # Weighted layers are captured one by one: a backend returns the mean of those in a request.
        requested = [(number,) for number in numbers] if layers.weights == "activation" else [numbers]
        applied = None if prompt is None else prompt.applied
        captured: list[Mapping[str, QuestionAttention]] = []
        for some in requested:
            request = AttentionRequest(clip, distinct, applied, some, answers and some is requested[-1])
            captured.append(dict(zip(distinct, self.capture_attention(request), strict=True)))
        attended = {}
        for one, question, answered in zip(branches, questions, learned_on, strict=True):
            tokens = one.branch_settings(self.settings).tokens
            query_rows = [rows[question] for rows in captured]
            neutral_rows = [rows[neutral[0] if neutral else question] for rows in captured]
            query, against = query_rows[0], neutral_rows[0]
            if layers.weights == "activation":
                query, against = attention.weigh_layers(query_rows, neutral_rows, settings, tokens)
            relative = attention.relative_rows(query, against, settings)
            chosen = self.session.select_grounding_tokens(query, relative, tokens)
            maps = attention.frame_maps(clip, query, relative, chosen)
            answer = self._answer(clip, answered, captured[-1][answered].answer, prompt) if answers else None
            attended[one] = BranchAttention(maps, prompt, answer, self._first_answer(prompt, answer))
        return attended

    def _answer(
        self, clip: EncodedClip, question: str, captured: AnswerLogits | None, prompt: LearnedPrompt | None
    ) -> AnswerLogits | None:
        """Return a question's answer, under its prompt in a separate pass if the capture left it out.

        Without a prompt the answer is a diagnostic, which is not worth a further pass.
        """
        if captured is not None or prompt is None:
            return captured
        with torch.no_grad():
            return self.session.adapter.answer_logits(clip, (question,), prompt.applied)

    def _first_answer(self, prompt: LearnedPrompt | None, answer: AnswerLogits | None) -> FirstAnswer | None:
        """Return the text of the first token that the model would answer without a prompt."""
        first = prompts.first_answer(answer) if prompt is None else prompt.first_answer
        if first is None:
            return None
        adapter = self.session.adapter
        token, probability = first
        return FirstAnswer(
            adapter.token_text(token) if isinstance(adapter, TokenDecoder) else f"[{token}]", probability
        )


def join_branches(
    frames: Frames,
    tracks: tuple[Track, ...],
    coverage: Float64[np.ndarray, "track frame row column"],
    spatial_maps: FrameMaps,
    temporal_maps: FrameMaps,
    settings: JointSettings,
) -> Joined:
    """Choose a track and a span from both branches' maps (paper section 3.5, joint inference).

    Args:
        frames: the sampled frames.
        tracks: candidate tracks.
        coverage: share of each cell that a track's box covers, from `cell_coverage`.
        spatial_maps: maps of the attribute branch.
        temporal_maps: maps of the action branch.
        settings: how maps become scores, and scores a span.
    """
    track_scores = scores.score_tracks(spatial_maps, temporal_maps, coverage, settings)
    chosen = int(track_scores.argmax())
    frame_scores = score_track_frames(frames, tracks[chosen], coverage[chosen], temporal_maps, settings)
    span = choose_span(frame_scores, settings)
    return Joined(chosen, track_scores, frame_scores, span, assemble_tube(tracks[chosen], span, frames, settings))


def score_track_frames(
    frames: Frames,
    track: Track,
    coverage: Float64[np.ndarray, "frame row column"],
    temporal_maps: FrameMaps,
    settings: JointSettings,
) -> Float64[np.ndarray, " frame"]:
    """Return how strongly the action branch attends to one track in each frame (S_frame), by cells or by pixels."""
    if settings.frame_scores == "pixels":
        return peaks_in_pixels(temporal_maps, track, frames.indices, frames.info)
    return scores.score_frames(temporal_maps, coverage)


def _flipped(prompt: LearnedPrompt | None, clip: EncodedClip) -> LearnedPrompt | None:
    return None if prompt is None else LearnedPrompt(flip_time(prompt.applied, clip.layout), ())


def _size(clip: EncodedClip) -> str:
    return f"{clip.layout.frame_count} frames as {clip.layout.cell_count} visual tokens"
