"""The method, in the order of the paper: the only module that knows the order.

Frames -> visual tokens -> prompts (LRA) -> attention maps -> assembled views (TAS) ->
tracks -> track and frame scores -> tube. Ground truth never comes here.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64
from torch import Tensor

from stvg_core import attention, augment, prompts, scores
from stvg_core.backend import AnswerLogits, AttentionRequest, EncodedClip
from stvg_core.config import BranchSettings, JointSettings, Settings
from stvg_core.determinism import deterministic_algorithms
from stvg_core.memory import memory_errors
from stvg_core.session import Session
from stvg_core.tracks.cells import cell_coverage
from stvg_core.tracks.proposing import propose_tracks
from stvg_core.tracks.tracker import Tracker, TrackRequest
from stvg_core.tube import assemble_tube, choose_span
from stvg_core.values import FrameMaps, Frames, Grounding, SubQueries, Track, Tube


class Stopwatch:
    """Wall-clock seconds per named stage, summed over its visits."""

    def __init__(self, on_stage: Callable[[str], None] | None = None) -> None:
        """Start with no stage.

        Args:
            on_stage: told the name of every stage as it begins, for a progress display.
        """
        self.seconds: dict[str, float] = {}
        self._on_stage = on_stage

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to a stage."""
        if self._on_stage is not None:
            self._on_stage(name)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


@dataclass(frozen=True, eq=False)
class EncodedViews:
    """A video's sampled frames as the model sees them; the same for every query about the video.

    Attributes:
        frames: what was encoded.
        clip: visual tokens of the frames in source order.
        reversed_clip: the same in reversed order (TAS), or None where one view is enough.
    """

    frames: Frames
    clip: EncodedClip
    reversed_clip: EncodedClip | None


@dataclass(frozen=True, eq=False)
class _Reading:
    """What one branch saw in one view."""

    maps: FrameMaps
    prompt: prompts.LearnedPrompt | None


@dataclass(frozen=True, eq=False)
class BranchMaps:
    """What both branches saw.

    Attributes:
        spatial: the attribute's maps, both views assembled.
        temporal: the action's.
        margins: logit of yes minus no before each prompt step, by branch and step.
    """

    spatial: FrameMaps
    temporal: FrameMaps
    margins: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Joined:
    """What both branches' maps chose together; the fields are those of Grounding."""

    chosen_track: int
    track_scores: Float64[np.ndarray, " track"]
    frame_scores: Float64[np.ndarray, " frame"]
    span_frames: tuple[int, int]
    tube: Tube


def encode_views(frames: Frames, session: Session, settings: Settings, watch: Stopwatch) -> EncodedViews:
    """Encode sampled frames, and their reversed view where the settings want one (TAS).

    Args:
        frames: what the model sees.
        session: the opened backend.
        settings: every choice of the method; only `input` and `augment` matter here.
        watch: collects the time per stage.

    Raises:
        DeviceMemoryError: the device is too small for these frames.
    """
    with (
        deterministic_algorithms(session.options.deterministic),
        device_stage(watch, "encode", f"{len(frames)} frames"),
    ):
        clip = session.adapter.encode(frames, settings.input, tuple(range(len(frames))))
        reversed_clip = session.augment_frames(frames, clip, settings.input) if settings.augment.enabled else None
    return EncodedViews(frames, clip, reversed_clip)


def ground_frames(
    frames: Frames,
    sub_queries: SubQueries,
    session: Session,
    tracker: Tracker,
    settings: Settings,
    watch: Stopwatch | None = None,
) -> Grounding:
    """Ground one decomposed query in sampled frames.

    Args:
        frames: what the model sees.
        sub_queries: the query and its attribute and action parts (DSTH).
        session: the opened backend.
        tracker: proposes the candidate tracks.
        settings: every choice of the method.
        watch: collects the time per stage; pass the one that timed decoding.

    Raises:
        DeviceMemoryError: a stage needs more memory than there is; the session still works.
        StvgError: any stage failed; the message says which and what to do.
    """
    watch = watch or Stopwatch()
    views = encode_views(frames, session, settings, watch)
    return ground_views(views, sub_queries, session, tracker, settings, watch)


def ground_views(
    views: EncodedViews,
    sub_queries: SubQueries,
    session: Session,
    tracker: Tracker,
    settings: Settings,
    watch: Stopwatch,
) -> Grounding:
    """Ground one decomposed query in frames that are encoded already, for a video with several queries.

    Args:
        views: what `encode_views` made with the same session and settings.
        sub_queries: the query and its attribute and action parts (DSTH).
        session: the opened backend.
        tracker: proposes the candidate tracks.
        settings: every choice of the method.
        watch: collects the time per stage.

    Raises:
        DeviceMemoryError: a stage needs more memory than there is; the session still works.
        StvgError: any stage failed; the message says which and what to do.
    """
    frames, clip = views.frames, views.clip
    with deterministic_algorithms(session.options.deterministic):
        read = read_branches(session, clip, views.reversed_clip, sub_queries, settings, watch)
    with watch.stage("tracks"):
        tracks, warnings = propose_tracks(tracker, TrackRequest(frames, sub_queries, read.spatial, read.temporal))
    with watch.stage("tube"):
        _, rows, columns = clip.layout.shape
        coverage = cell_coverage(tracks, frames.indices, frames.info, rows, columns)
        joined = join_branches(frames, tracks, coverage, read.spatial, read.temporal, settings.joint)
    return Grounding(
        frames=frames,
        sub_queries=sub_queries,
        tracks=tracks,
        chosen_track=joined.chosen_track,
        track_scores=joined.track_scores,
        frame_scores=joined.frame_scores,
        span_frames=joined.span_frames,
        spatial_maps=read.spatial,
        temporal_maps=read.temporal,
        tube=joined.tube,
        diagnostics=read.margins,
        timings_seconds=watch.seconds,
        warnings=warnings,
    )


def read_branches(
    session: Session,
    clip: EncodedClip,
    reversed_clip: EncodedClip | None,
    sub_queries: SubQueries,
    settings: Settings,
    watch: Stopwatch,
) -> BranchMaps:
    """Return both branches' maps of an encoded clip: prompts are learned, attention is read, views are assembled.

    Args:
        session: the opened backend.
        clip: the frames as visual tokens.
        reversed_clip: the same in reversed order (TAS), or None for the one view.
        sub_queries: the query's attribute and action parts.
        settings: every choice of the method.
        watch: collects the time per stage.

    Raises:
        DeviceMemoryError: a stage needs more memory than there is.
    """
    method = _Method(session, settings, sub_queries, watch)
    asked = ((sub_queries.attribute, settings.spatial), (sub_queries.action, settings.temporal))
    learned = method.learn(clip, asked)
    spatial, temporal = (
        method.read(clip, sub_query, branch, prompt) for (sub_query, branch), prompt in zip(asked, learned, strict=True)
    )
    spatial_maps = spatial.maps
    if reversed_clip is not None:
        prompt = spatial.prompt
        if prompt is not None and settings.augment.prompts == "flipped":
            prompt = prompts.LearnedPrompt(augment.flip_time(prompt.applied, clip.layout), ())
        elif prompt is not None:
            (prompt,) = method.learn(reversed_clip, asked[:1])
        backward = method.read(reversed_clip, *asked[0], prompt)
        spatial_maps = augment.assemble([spatial.maps, backward.maps])
    return BranchMaps(spatial_maps, temporal.maps, _margins("spatial", spatial) | _margins("temporal", temporal))


def join_branches(
    frames: Frames,
    tracks: tuple[Track, ...],
    coverage: Float64[np.ndarray, "track frame row column"],
    spatial_maps: FrameMaps,
    temporal_maps: FrameMaps,
    settings: JointSettings,
) -> Joined:
    """Choose a track and a span from both branches' maps (paper section 3.5, joint inference)."""
    track_scores = scores.score_tracks(spatial_maps, temporal_maps, coverage, settings)
    chosen = int(track_scores.argmax())
    frame_scores = scores.score_frames(temporal_maps, coverage[chosen])
    span = choose_span(frame_scores, settings)
    return Joined(chosen, track_scores, frame_scores, span, assemble_tube(tracks[chosen], span, frames, settings))


@contextmanager
def device_stage(watch: Stopwatch, name: str, size: str) -> Iterator[None]:
    """Time a stage that runs the model, and name it and its size where memory runs out.

    Raises:
        DeviceMemoryError: memory ran out inside.
    """
    cure = (
        f"lower sampling.frame_count or input.frame_size_pixels, raise input.pooling_stride where the family "
        f"pools{', set prompt.steps=0' if name == 'prompts' else ''}, or load with quantization"
    )
    with watch.stage(name), memory_errors(f"stage {name!r} with {size}", cure):
        yield


@dataclass(frozen=True)
class _Method:
    """One query's branches against one session."""

    session: Session
    settings: Settings
    sub_queries: SubQueries
    watch: Stopwatch

    def learn(
        self, clip: EncodedClip, asked: Sequence[tuple[str, BranchSettings]]
    ) -> tuple[prompts.LearnedPrompt | None, ...]:
        """Learn the prompts of sub-queries on one clip; None for a branch that learns none."""
        settings = self.settings.prompt
        tuned = [number for number, (_, branch) in enumerate(asked) if branch.tune and settings.steps > 0]
        if not tuned:
            return (None,) * len(asked)
        questions = [self._prompt_questions(asked[number][0]) for number in tuned]

        def answer(prompt: Float[Tensor, "cell width"], numbers: Sequence[int]) -> list[AnswerLogits]:
            # The neutral question is every prompt's: it is asked once.
            distinct = list(dict.fromkeys(question for number in numbers for question in questions[number]))
            logits = self.session.adapter.answer_logits(clip, distinct, prompt)
            places = [[distinct.index(question) for question in questions[number]] for number in numbers]
            return [AnswerLogits(yes=logits.yes[place], no=logits.no[place]) for place in places]

        with device_stage(self.watch, "prompts", _size(clip)):
            learned = prompts.learn_prompts(
                clip.visual_tokens,
                answer,
                lambda logits: self.session.regularize_logits(logits, settings),
                len(tuned),
                settings,
            )
        found = dict(zip(tuned, learned, strict=True))
        return tuple(found.get(number) for number in range(len(asked)))

    def read(
        self, clip: EncodedClip, sub_query: str, branch: BranchSettings, prompt: prompts.LearnedPrompt | None
    ) -> _Reading:
        """Read a sub-query's attention under its prompt."""
        with device_stage(self.watch, "attention", _size(clip)):
            maps = self._attend(clip, sub_query, branch, None if prompt is None else prompt.applied)
        return _Reading(maps, prompt)

    def _prompt_questions(self, sub_query: str) -> tuple[str, ...]:
        neutral = (self.settings.relative.neutral_question,) if self.settings.prompt.contrast_neutral else ()
        return (self.settings.question(sub_query), *neutral)

    def _attend(
        self,
        clip: EncodedClip,
        sub_query: str,
        branch: BranchSettings,
        prompt: Float[Tensor, "cell width"] | None,
    ) -> FrameMaps:
        asked = sub_query if branch.inference_question == "sub_query" else self.sub_queries.text.lower()
        relative_settings = self.settings.relative
        questions = [self.settings.question(asked)]
        if relative_settings.mode == "ratio":
            questions.append(relative_settings.neutral_question)
        layers = branch.layers.layers(self.session.adapter.description.layer_count)
        rows = self.session.capture_attention(AttentionRequest(clip, tuple(questions), prompt, layers))
        relative = attention.relative_rows(rows[0], rows[-1], relative_settings)
        chosen = self.session.select_grounding_tokens(rows[0], relative, branch.tokens)
        return attention.frame_maps(clip, rows[0], relative, chosen)


def _size(clip: EncodedClip) -> str:
    return f"{clip.layout.frame_count} frames as {clip.layout.cell_count} visual tokens"


def _margins(branch: str, reading: _Reading) -> dict[str, float]:
    margins = () if reading.prompt is None else reading.prompt.margins
    return {f"{branch}_margin_step_{step}": margin for step, margin in enumerate(margins)}
