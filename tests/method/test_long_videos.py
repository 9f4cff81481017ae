"""Long videos through the whole method: the model is scripted by source frame, which it reads off the pictures."""

import gc
import tracemalloc
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor

from stvg_core.api.grounder import Grounder
from stvg_core.errors import DeviceMemoryError, ModelError, TrackError, VideoError
from stvg_core.host.session import Session, open_backend
from stvg_core.inputs.tracks.cached import VideoCache
from stvg_core.inputs.video import Window, WindowedVideo, lay_windows, sample_indices
from stvg_core.method.long_videos import ground_windows, search_windows
from stvg_core.method.pipeline import Pipeline, Stopwatch
from stvg_core.plugin.adapter import AnswerLogits, EncodedClip, PromptToken, QuestionAttention
from stvg_core.plugin.model_reference import LoadOptions, ModelReference
from stvg_core.plugin.tracker import Tracker, TrackRequest
from stvg_core.settings import InputSettings, Settings, load_settings
from stvg_core.values import Frames, Grounding, SubQueries, TokenLayout, Track, VideoInfo
from tests.support.clips import number_picture, read_number
from tests.support.scripted import GRID, ScriptedAdapter, ScriptedBackend, found_backend

QUERY = SubQueries("The tall man walks.", "the tall man", "the man walks", "test")
OTHER = SubQueries("The tall man runs.", "the tall man", "the man runs", "test")
COLUMN = 2


@dataclass
class NumberReader(ScriptedAdapter):
    """Says yes as far as a window shows an event's frames, and attends to one column in those.

    Attributes:
        events: verb of a question to the first and last source frame of its event.
        alive: clips that somebody still holds.
        most_alive: how many were, at most, when one more was made.
    """

    events: dict[str, tuple[int, int]] = field(default_factory=lambda: {"walks": (16, 23)})
    alive: "weakref.WeakSet[EncodedClip]" = field(default_factory=weakref.WeakSet)
    most_alive: int = 0
    asked_without_maps: int = 0

    def encode(self, frames: Frames, settings: InputSettings, frame_order: tuple[int, ...]) -> EncodedClip:
        self.most_alive = max(self.most_alive, len(self.alive))
        self.encoded.append(frame_order)
        numbers = [read_number(frames.pixels[place]) for place in frame_order]
        layout = TokenLayout(len(frames), GRID, GRID, tuple(range(len(frames))))
        tokens = torch.linspace(0.1, 1.0, layout.cell_count * 3).reshape(-1, 3)
        clip = EncodedClip(tokens, layout, frame_order, {"numbers": numbers})
        self.alive.add(clip)
        return clip

    def _event(self, question: str) -> tuple[int, int]:
        return next((event for verb, event in self.events.items() if verb in question), (1, 0))

    def answer_logits(self, clip: EncodedClip, questions: Sequence[str], prompt: Tensor | None) -> AnswerLogits:
        self.asked_without_maps += prompt is None
        shown = clip.visual_tokens if prompt is None else clip.visual_tokens + prompt
        margins = []
        for question in questions:
            first, last = self._event(question)
            share = sum(first <= number <= last for number in clip.state["numbers"]) / len(clip.state["numbers"])
            margins.append(shown.mean() * 0 + 10 * share - 1)
        yes = torch.stack(margins)
        return AnswerLogits(yes=yes, no=torch.zeros_like(yes))

    def _rows(self, clip: EncodedClip, question: str) -> QuestionAttention:
        grid = torch.full((*clip.layout.shape,), 1e-3)
        first, last = self._event(question)
        # Frames of a reversed view stand at their places in it, as in the state.
        for position, frame in enumerate(clip.frame_order):
            number = clip.state["numbers"][list(self.encoded[-1]).index(frame)]
            if "tall" in question:
                grid[position, :, COLUMN] = 0.02
            if first <= number <= last:
                grid[position, :, COLUMN] = 0.02 + 1e-5 * number
        tokens = (PromptToken("?", "punctuation"), PromptToken("<end>", "role"))
        return QuestionAttention(question, tokens, torch.stack([grid.flatten() / 2, grid.flatten()]))


class Columns(Tracker):
    """One track per column of the picture; keeps what it was shown."""

    name = "columns"
    per_video = True

    def __init__(self) -> None:
        self.requests: list[TrackRequest] = []

    def propose(self, request: TrackRequest) -> tuple[Track, ...]:
        self.requests.append(request)
        last = request.frames.info.frame_count - 1
        return tuple(
            Track(np.array([0, last]), np.tile([16.0 * column, 0, 16.0 * column + 16, 48], (2, 1)))
            for column in range(4)
        )


@pytest.fixture
def adapter() -> NumberReader:
    return NumberReader()


@pytest.fixture
def session(adapter: NumberReader) -> Session:
    return open_backend(ScriptedBackend(adapter), found_backend(), ModelReference("scripted"), LoadOptions())


def settings_of(**windows: object) -> Settings:
    """Windows of ten seconds, each with ten sampled frames, of which eight are the span."""
    overrides = {
        "sampling.frame_count": 10,
        "prompt.steps": 0,
        "joint.span_frame_count": 8,
        "windows.length_seconds": 10.0,
        "windows.overlap": 0.0,
    }
    return load_settings("paper", overrides=overrides | {f"windows.{name}": value for name, value in windows.items()})


def film(
    settings: Settings, seconds: np.ndarray | int = 40, segment: Window | None = None, size: tuple[int, int] = (64, 48)
) -> WindowedVideo:
    """A video of a frame a second (or at the given times) whose pictures show their numbers."""
    times = np.arange(float(seconds)) if isinstance(seconds, int) else seconds
    info = VideoInfo("film.mp4", *size, 1.0, float(times[-1] - times[0]) + 1.0, times)

    def read(window: Window) -> Frames:
        indices = sample_indices(info, settings.sampling, window)
        return Frames(info, indices, np.stack([number_picture(int(number), *size) for number in indices]), window)

    return WindowedVideo(info, lay_windows(info, settings.windows, segment), read)


def run(
    session: Session, settings: Settings, video: WindowedVideo | None = None, query: SubQueries = QUERY
) -> Grounding:
    pipeline = Pipeline(session, settings, Columns())
    (search,) = search_windows(pipeline, video or film(settings), (query,))
    return ground_windows(pipeline, search)


@pytest.mark.parametrize("shared", ["central", "average"])
@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_a_tube_goes_across_the_border_of_two_windows(session: Session, overlap: float, shared: str) -> None:
    grounding = run(session, settings_of(overlap=overlap, shared_frames=shared))
    assert (grounding.tube.start_frame, grounding.tube.end_frame) == (16, 23)
    assert (grounding.tube.span.start_seconds, grounding.tube.span.end_seconds) == (16.0, 24.0)
    assert grounding.tube.boxes_xyxy[0].tolist() == [32, 0, 48, 48]
    joined = [window for window in grounding.windows if window.joined]
    assert joined[0].start_frame <= 16
    assert joined[-1].end_frame >= 23
    assert grounding.frames.segment == (joined[0].start_frame, joined[-1].end_frame)


@pytest.mark.parametrize("event", [(2, 9), (31, 38), (12, 19)])
def test_an_event_inside_one_window_is_found_in_that_alone(
    adapter: NumberReader, session: Session, event: tuple[int, int]
) -> None:
    adapter.events = {"walks": event}
    grounding = run(session, settings_of())
    assert (grounding.tube.start_frame, grounding.tube.end_frame) == event
    assert [window.joined for window in grounding.windows].count(True) == 1
    assert len(grounding.frame_scores) == 10


def test_an_event_longer_than_a_window_is_found_whole(adapter: NumberReader, session: Session) -> None:
    adapter.events = {"walks": (14, 46)}
    grounding = run(session, settings_of(most_joined=8), film(settings_of(), 80))
    assert [window.joined for window in grounding.windows] == [False, True, True, True, True, False, False, False]
    # The best of what a window's span has (8 frames) and the two whole windows between the outer ones.
    assert (grounding.tube.start_frame, grounding.tube.end_frame) == (19, 46)
    few = run(session, settings_of(), film(settings_of(), 80))
    assert [window.joined for window in few.windows].count(True) == 2


def test_windows_are_told_with_their_seconds_and_margins(session: Session) -> None:
    grounding = run(session, settings_of())
    told = [(w.start_frame, w.end_frame, w.start_seconds, w.end_seconds, w.joined) for w in grounding.windows]
    assert told == [
        (0, 9, 0.0, 10.0, False),
        (10, 19, 10.0, 20.0, True),
        (20, 29, 20.0, 30.0, True),
        (30, 39, 30.0, 40.0, False),
    ]
    assert [window.margin for window in grounding.windows] == pytest.approx([-1.0, 3.0, 3.0, -1.0])


@pytest.mark.parametrize(("question", "places"), [("sentence", 1), ("action", 1), ("attribute", 1), ("both", 2)])
def test_the_question_that_ranks_is_the_one_that_is_set(
    adapter: NumberReader, session: Session, question: str, places: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []
    plain = adapter.answer_logits

    def answer(clip: EncodedClip, questions: Sequence[str], prompt: Tensor | None) -> AnswerLogits:
        asked.append(tuple(questions))
        return plain(clip, questions, prompt)

    monkeypatch.setattr(adapter, "answer_logits", answer)
    run(session, settings_of(question=question))
    parts = {"sentence": "the tall man walks", "action": "the man walks", "attribute": "the tall man"}
    wanted = ("attribute", "action") if question == "both" else (question,)
    assert asked[0] == tuple(f"Is there {parts[name]} in this video?" for name in wanted)
    assert len(asked[0]) == places


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("augmented", [False, True])
def test_the_best_window_alone_is_grounded_as_a_clip_of_its_own(session: Session, steps: int, augmented: bool) -> None:
    settings = settings_of(join="none").model_copy(
        update={
            "augment": Settings().augment.model_copy(update={"enabled": augmented}),
            "prompt": Settings().prompt.model_copy(update={"steps": steps, "objective": "linear"}),
        }
    )
    video = film(settings)
    found = run(session, settings, video)
    (alone,) = Pipeline(session, settings, Columns()).ground(video.read((10, 19)), (QUERY,))
    np.testing.assert_array_equal(found.spatial_maps.values, alone.spatial_maps.values)
    np.testing.assert_array_equal(found.temporal_maps.values, alone.temporal_maps.values)
    np.testing.assert_array_equal(found.frame_scores, alone.frame_scores)
    np.testing.assert_array_equal(found.tube.boxes_xyxy, alone.tube.boxes_xyxy)
    assert found.tube.start_frame == alone.tube.start_frame
    assert found.diagnostics == alone.diagnostics


def test_queries_about_one_video_share_its_windows(adapter: NumberReader, session: Session) -> None:
    adapter.events = {"walks": (16, 23), "runs": (31, 38)}
    settings = settings_of()
    settings = settings.model_copy(update={"augment": settings.augment.model_copy(update={"enabled": False})})
    tracker = Columns()
    pipeline = Pipeline(session, settings, VideoCache(tracker))
    searches = search_windows(pipeline, film(settings), (QUERY, OTHER, QUERY))
    # Four windows are searched; three of them join a query.
    assert len(adapter.encoded) == 4 + 3
    assert adapter.asked_without_maps == 4
    spans = [ground_windows(pipeline, search).tube for search in searches]
    assert [(tube.start_frame, tube.end_frame) for tube in spans] == [(16, 23), (31, 38), (16, 23)]
    same = search_windows(pipeline, film(settings), (QUERY, QUERY))
    tracker.requests.clear()
    for search in same:
        ground_windows(pipeline, search)
    assert len(tracker.requests) == 1, "queries whose windows are the same share the tracks of their frames"
    for own, sub_queries in zip(searches, (QUERY, OTHER), strict=False):
        (alone,) = search_windows(pipeline, film(settings), (sub_queries,))
        np.testing.assert_allclose(own.maps.spatial.values, alone.maps.spatial.values, rtol=1e-6)
        assert own.windows == alone.windows


def test_queries_that_share_a_window_keep_their_own_maps(adapter: NumberReader, session: Session) -> None:
    adapter.events = {"walks": (16, 23), "runs": (24, 31)}
    settings = settings_of()
    pipeline = Pipeline(session, settings, Columns())
    together = search_windows(pipeline, film(settings), (QUERY, OTHER))
    assert all(search.windows[2].joined for search in together)
    for own, sub_queries in zip(together, (QUERY, OTHER), strict=True):
        (alone,) = search_windows(pipeline, film(settings), (sub_queries,))
        np.testing.assert_allclose(own.maps.temporal.values, alone.maps.temporal.values, rtol=1e-6)


def test_a_tracker_is_shown_the_joined_windows_alone(session: Session) -> None:
    settings, tracker = settings_of(), Columns()
    pipeline = Pipeline(session, settings, tracker)
    (search,) = search_windows(pipeline, film(settings), (QUERY,))
    ground_windows(pipeline, search)
    (request,) = tracker.requests
    assert request.frames.segment == (10, 29)
    assert request.frames.indices.tolist() == list(range(10, 30))
    assert [read_number(picture) for picture in request.frames.pixels] == list(range(10, 30))
    assert len(request.spatial_maps.values) == len(request.temporal_maps.values) == 20


def test_variable_frame_rates_are_searched_by_time(adapter: NumberReader, session: Session) -> None:
    # Frames 0 to 9 come in the first second, the others one a second: an event by frame number lies elsewhere in time.
    times = np.concatenate([np.arange(10) / 10, 1.0 + np.arange(40)])
    adapter.events = {"walks": (30, 37)}
    settings = settings_of()
    grounding = run(session, settings, film(settings, times))
    (window,) = [window for window in grounding.windows if window.joined]
    assert (window.start_frame, window.start_seconds) == (29, 20.0)
    assert grounding.tube.start_frame == 30
    assert grounding.tube.span.start_seconds == 21.0
    assert (grounding.windows[0].start_frame, grounding.windows[0].end_frame) == (0, 18)


def test_a_segment_alone_is_searched(adapter: NumberReader, session: Session) -> None:
    adapter.events = {"walks": (2, 9), "tall": (0, 0)}
    settings = settings_of()
    grounding = run(session, settings, film(settings, 80, (25, 64)))
    assert (grounding.windows[0].start_frame, grounding.windows[-1].end_frame) == (25, 64)
    assert all(25 <= frame <= 64 for frame in grounding.frames.indices)
    assert 25 <= grounding.tube.start_frame <= grounding.tube.end_frame <= 64


def broken(video: WindowedVideo, error: VideoError, *windows: int) -> WindowedVideo:
    def read(window: Window) -> Frames:
        if video.windows.index(window) in windows:
            raise error
        return video.read(window)

    return WindowedVideo(video.info, video.windows, read)


def test_a_window_that_does_not_decode_is_left_out_and_told(session: Session) -> None:
    settings = settings_of()
    error = VideoError("expected 10 frames, got 3: the file is damaged")
    grounding = run(session, settings, broken(film(settings), error, 0))
    assert (grounding.tube.start_frame, grounding.tube.end_frame) == (16, 23)
    assert grounding.windows[0].margin is None
    assert grounding.warnings == (
        "window 1 of 4 (0.00 to 10.00 s) cannot be decoded and was not searched: "
        "expected 10 frames, got 3: the file is damaged",
    )
    # The neighbour with half of the event is gone: what is left is grounded.
    half = run(session, settings, broken(film(settings), error, 1))
    assert [window.joined for window in half.windows] == [False, False, True, False]
    with pytest.raises(VideoError, match="got 3"):
        run(session, settings, broken(film(settings), error, 0, 1, 2, 3))


def test_frames_that_do_not_decode_are_counted(session: Session) -> None:
    settings = settings_of()
    video = film(settings)

    def read(window: Window) -> Frames:
        frames = video.read(window)
        indices = frames.indices.copy()
        indices[4] = indices[3]
        return Frames(frames.info, indices, frames.pixels, window)

    grounding = run(session, settings, WindowedVideo(video.info, video.windows, read))
    assert grounding.warnings == ("2 of 20 sampled frames do not decode; neighbours stand in",)


@pytest.mark.parametrize("window", [0, 2])
def test_any_other_failure_names_its_window(
    adapter: NumberReader, session: Session, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = adapter.encode

    def encode(frames: Frames, settings: InputSettings, frame_order: tuple[int, ...]) -> EncodedClip:
        if frames.segment == (10 * window, 10 * window + 9):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return plain(frames, settings, frame_order)

    monkeypatch.setattr(adapter, "encode", encode)
    expected = rf"^window {window + 1} of 4 \({10 * window}.00 to {10 * window + 10}.00 s\): out of memory in stage"
    with pytest.raises(DeviceMemoryError, match=expected):
        run(session, settings_of())


def test_a_margin_that_is_no_number_is_an_error(
    adapter: NumberReader, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    nan = torch.full((1,), torch.nan)
    monkeypatch.setattr(adapter, "answer_logits", lambda clip, questions, prompt: AnswerLogits(nan, nan))
    with pytest.raises(ModelError, match=r"window 1 of 4 .* expected finite logits"):
        run(session, settings_of())


def test_an_error_of_the_tracker_is_the_querys_alone(session: Session) -> None:
    settings = settings_of()
    pipeline = Pipeline(session, settings, Columns())
    one, other = search_windows(pipeline, film(settings), (QUERY, QUERY))

    class Fussy(Columns):
        def propose(self, request: TrackRequest) -> tuple[Track, ...]:
            raise TrackError("expected an object, got none")

    with pytest.raises(TrackError):
        ground_windows(Pipeline(session, settings, Fussy()), one)
    assert ground_windows(pipeline, other).tube.start_frame == 16


def test_progress_tells_the_window(session: Session) -> None:
    settings = settings_of()
    told: list[str] = []
    watch = Stopwatch(told.append)
    pipeline = Pipeline(session, settings, Columns(), watch)
    (search,) = search_windows(pipeline, film(settings), (QUERY,))
    ground_windows(pipeline, search)
    assert told[:3] == ["window 1 of 4: video", "window 1 of 4: encode", "window 1 of 4: search"]
    assert "window 4 of 4: search" in told
    assert "window 3 of 4: attention" in told
    assert "window 4 of 4: attention" not in told
    assert told[-2:] == ["tracks", "tube"]
    assert set(watch.seconds) == {"video", "encode", "search", "attention", "tracks", "tube"}


def _peak_bytes(work: Callable[[], object]) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_number_of_windows(adapter: NumberReader, session: Session) -> None:
    settings = settings_of(overlap=0.5)
    frame_bytes = 160 * 120 * 3
    peaks, alive = {}, {}
    for seconds in (60, 300):
        video = film(settings, seconds, size=(160, 120))
        held: weakref.WeakSet[Frames] = weakref.WeakSet()
        most: list[int] = []

        def read(
            window: Window,
            video: WindowedVideo = video,
            held: "weakref.WeakSet[Frames]" = held,
            most: list[int] = most,
        ) -> Frames:
            frames = video.read(window)
            held.add(frames)
            most.append(len(held))
            return frames

        watched = WindowedVideo(video.info, video.windows, read)
        adapter.most_alive = 0
        peaks[seconds] = _peak_bytes(lambda watched=watched: run(session, settings, watched))  # type: ignore[misc]
        alive[seconds] = max(most)
        assert adapter.most_alive <= 1, "one window's visual tokens (and their reversed view) at a time"
    # The window in work, the one that is decoded meanwhile, and one that the collector may still have.
    assert max(alive.values()) <= 3
    assert peaks[300] < 1.1 * peaks[60] + 10 * frame_bytes
    assert peaks[60] > 20 * frame_bytes, "the counter sees the pictures"


def test_the_document_tells_the_windows(session: Session) -> None:
    settings = settings_of()
    grounder = Grounder(session, settings, Columns())
    (search,) = grounder.search_windows(film(settings), (QUERY,), Stopwatch())
    document = grounder.ground_windows(search, Stopwatch()).document.model_dump(mode="json")
    assert document["windows"][1] == {
        "start_frame": 10,
        "end_frame": 19,
        "start_seconds": 10.0,
        "end_seconds": 20.0,
        "margin": pytest.approx(3.0),
        "joined": True,
    }
    assert document["settings"]["windows"]["length_seconds"] == 10.0
    assert [entry["frame"] for entry in document["scores"]["frames"]] == list(range(10, 30))
