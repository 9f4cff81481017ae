"""The values that flow through the framework: frozen, and checked once, here.

This module knows no model and no torch: arrays are numpy, boxes are pixels of the video
as displayed (rotation and pixel aspect applied), frames are 0-based, times are seconds.
Axis words are those of docs/shapes.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float64, Int64, Num, UInt8

from stvg_core._internal.masks import RunLengthMask
from stvg_core.errors import QueryError, TokenLayoutError, TrackError, TubeError, VideoError


def _frozen(array: np.ndarray) -> np.ndarray:
    """Return a read-only view, so that a value stays what it was when it was checked."""
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, order=True)
class Span:
    """Time interval [start, end) in seconds of the source video.

    >>> Span(1.0, 3.0) & Span(2.0, 5.0)
    Span(start_seconds=2.0, end_seconds=3.0)
    """

    start_seconds: float
    end_seconds: float

    @property
    def duration_seconds(self) -> float:
        """Length in seconds, never negative."""
        return max(0.0, self.end_seconds - self.start_seconds)

    def __and__(self, other: "Span") -> "Span":
        """Return the intersection; its duration is 0 where the two do not meet."""
        return Span(
            max(self.start_seconds, other.start_seconds),
            min(self.end_seconds, other.end_seconds),
        )


@dataclass(frozen=True, eq=False)
class VideoInfo:
    """What a video file says of itself, as displayed.

    Attributes:
        path: the file as the user named it.
        width: pixels, after rotation and pixel aspect ratio.
        height: pixels, after rotation and pixel aspect ratio.
        fps: mean frames per second (frame count over duration).
        duration_seconds: from the first frame's start to the last frame's end.
        frame_seconds: presentation time of every source frame, in display order.
    """

    path: str
    width: int
    height: int
    fps: float
    duration_seconds: float
    frame_seconds: Float64[np.ndarray, " source_frame"]

    def __post_init__(self) -> None:
        """Check that there is a picture and that time runs forward."""
        if self.width < 1 or self.height < 1:
            raise VideoError(f"expected a picture, got {self.width}x{self.height} pixels in {self.path}")
        if self.frame_seconds.size == 0:
            raise VideoError(f"expected at least one frame in {self.path}, got none; is it a video?")
        if (np.diff(self.frame_seconds) < 0).any():
            raise VideoError(f"expected frame times in display order in {self.path}")
        object.__setattr__(self, "frame_seconds", _frozen(self.frame_seconds))

    @property
    def frame_count(self) -> int:
        """Number of source frames."""
        return int(self.frame_seconds.size)

    def frame_end_seconds(self, frame: int) -> float:
        """Return when a source frame leaves the screen, in seconds."""
        if frame + 1 < self.frame_count:
            return float(self.frame_seconds[frame + 1])
        return max(self.duration_seconds + float(self.frame_seconds[0]), float(self.frame_seconds[frame]))


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames sampled from one video.

    Attributes:
        info: the video they come from.
        indices: 0-based source frame number of each sampled frame; never decreasing.
        pixels: RGB, 0..255, as displayed.
        segment: first and last source frame (inclusive) that were sampled from; None: the whole video.
    """

    info: VideoInfo
    indices: Int64[np.ndarray, " frame"]
    pixels: UInt8[np.ndarray, "frame height width 3"]
    segment: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Check counts, order and range."""
        if self.indices.size == 0:
            raise VideoError(f"expected at least one sampled frame of {self.info.path}, got none")
        if len(self.pixels) != self.indices.size:
            raise VideoError(f"expected {self.indices.size} pictures, got {len(self.pixels)}")
        if (np.diff(self.indices) < 0).any():
            raise VideoError(f"expected sampled frames in source order, got {self.indices.tolist()}")
        if self.indices[0] < 0 or self.indices[-1] >= self.info.frame_count:
            raise VideoError(
                f"expected frame numbers in 0..{self.info.frame_count - 1}, got "
                f"{int(self.indices[0])}..{int(self.indices[-1])}"
            )
        object.__setattr__(self, "indices", _frozen(self.indices))
        object.__setattr__(self, "pixels", _frozen(self.pixels))

    def __len__(self) -> int:
        """Return the number of sampled frames."""
        return int(self.indices.size)

    @property
    def seconds(self) -> Float64[np.ndarray, " frame"]:
        """Presentation time of each sampled frame."""
        times: Float64[np.ndarray, " frame"] = self.info.frame_seconds[self.indices]
        return times


@dataclass(frozen=True)
class SubQueries:
    """A query and the two sub-queries that DSTH makes of it (paper section 3.3).

    Attributes:
        text: the query as given, white space tidied.
        attribute: who or what, lower case, no final stop ("the man in blue clothes").
        action: what happens, with a generic subject ("the man walks to the sofa").
        decomposer: name of the decomposer that made them.
        warnings: what the decomposer could not do as asked, one sentence each.
    """

    text: str
    attribute: str
    action: str
    decomposer: str
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that nothing is empty."""
        for name in ("text", "attribute", "action"):
            if not getattr(self, name).strip():
                raise QueryError(f"expected a sentence for {name}, got nothing; describe an object and what it does")


@dataclass(frozen=True)
class TokenLayout:
    """Where a clip's visual tokens lie: time step, row, column, in raster order.

    Attributes:
        time_steps: number of token grids along time.
        rows: cells per column of one grid.
        columns: cells per row of one grid.
        time_step_of_frame: for each frame in the order the model saw it, its grid.
    """

    time_steps: int
    rows: int
    columns: int
    time_step_of_frame: tuple[int, ...]

    def __post_init__(self) -> None:
        """Check that every frame has a grid and every grid a frame."""
        if min(self.time_steps, self.rows, self.columns) < 1:
            raise TokenLayoutError(f"expected a grid of at least 1x1x1 cells, got {self.shape}")
        if set(self.time_step_of_frame) != set(range(self.time_steps)):
            raise TokenLayoutError(
                f"expected each of {self.time_steps} time steps to cover a frame, got {self.time_step_of_frame}; "
                "check the backend's frames per token"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Grid as (time steps, rows, columns)."""
        return self.time_steps, self.rows, self.columns

    @property
    def cell_count(self) -> int:
        """Number of visual tokens."""
        return self.time_steps * self.rows * self.columns

    @property
    def frame_count(self) -> int:
        """Number of frames that the model saw."""
        return len(self.time_step_of_frame)


@dataclass(frozen=True, eq=False)
class Track:
    """One object's boxes at some source frames; between them boxes are interpolated.

    Attributes:
        frames: source frame numbers, strictly increasing.
        boxes_xyxy: pixels, x0 < x1 and y0 < y1.
        label: free text for pictures ("red circle"), may be empty.
        masks: which pixels show the object, one mask per box, None where there is none; None: boxes alone.
        absent: stretches of source frames (first, last; inclusive) between boxes where the object is out of sight.
    """

    frames: Int64[np.ndarray, " box"]
    boxes_xyxy: Float64[np.ndarray, "box 4"]
    label: str = ""
    masks: tuple[RunLengthMask | None, ...] | None = None
    absent: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        """Check order, counts and that no box is empty."""
        object.__setattr__(self, "frames", np.asarray(self.frames))
        object.__setattr__(self, "boxes_xyxy", np.asarray(self.boxes_xyxy))
        if self.frames.size == 0:
            raise TrackError("expected a track of at least one box, got none")
        if self.boxes_xyxy.shape != (self.frames.size, 4):
            raise TrackError(f"expected boxes ({self.frames.size}, 4), got {self.boxes_xyxy.shape}")
        if (np.diff(self.frames) <= 0).any():
            raise TrackError(f"expected strictly increasing frames, got {self.frames.tolist()}")
        if not np.isfinite(self.boxes_xyxy).all():
            raise TrackError("expected finite box corners, got nan or infinity")
        if (self.boxes_xyxy[:, 2:] <= self.boxes_xyxy[:, :2]).any():
            raise TrackError("expected boxes as (x0, y0, x1, y1) with x0 < x1 and y0 < y1")
        if self.masks is not None and len(self.masks) != self.frames.size:
            raise TrackError(f"expected a mask or None for each of {self.frames.size} boxes, got {len(self.masks)}")
        for first, last in self.absent:
            if (
                not self.frames[0] < first <= last < self.frames[-1]
                or ((self.frames >= first) & (self.frames <= last)).any()
            ):
                raise TrackError(f"expected stretches without boxes inside the track, got frames {first} to {last}")
        object.__setattr__(self, "frames", _frozen(self.frames))
        object.__setattr__(self, "boxes_xyxy", _frozen(self.boxes_xyxy))

    def boxes_at(
        self, frames: Num[np.ndarray, " wanted"]
    ) -> tuple[Float64[np.ndarray, "wanted 4"], Bool[np.ndarray, " wanted"]]:
        """Return boxes at source frames, linear between key boxes, and where the track exists.

        Outside its first and last frame a track does not exist: the nearest box is
        returned there and marked False. Where it is absent in between, the interpolated one is.

        >>> track = Track(np.array([0, 10]), np.array([[0.0, 0, 2, 2], [10.0, 0, 12, 2]]))
        >>> boxes, exists = track.boxes_at(np.array([5, 11]))
        >>> boxes[0].tolist(), exists.tolist()
        ([5.0, 0.0, 7.0, 2.0], [True, False])
        """
        corners = [np.interp(frames, self.frames, self.boxes_xyxy[:, corner]) for corner in range(4)]
        exists = (frames >= self.frames[0]) & (frames <= self.frames[-1])
        for first, last in self.absent:
            exists &= (frames < first) | (frames > last)
        return np.stack(corners, axis=-1).astype(np.float64), exists


@dataclass(frozen=True, eq=False)
class Tube:
    """When and where: a span of source frames with one box each.

    Attributes:
        start_frame: first source frame, 0-based.
        boxes_xyxy: one box per source frame from start_frame on, in pixels.
        frame_seconds: presentation time of each of those frames.
        end_seconds: when the last of them leaves the screen.
    """

    start_frame: int
    boxes_xyxy: Float64[np.ndarray, "source_frame 4"]
    frame_seconds: Float64[np.ndarray, " source_frame"]
    end_seconds: float

    def __post_init__(self) -> None:
        """Check that there is a box and a time for every frame."""
        if len(self.boxes_xyxy) == 0 or self.boxes_xyxy.shape[1:] != (4,):
            raise TubeError(f"expected boxes (frames, 4) with frames >= 1, got {self.boxes_xyxy.shape}")
        if len(self.boxes_xyxy) != len(self.frame_seconds):
            raise TubeError(f"expected {len(self.boxes_xyxy)} frame times, got {len(self.frame_seconds)}")
        if self.start_frame < 0:
            raise TubeError(f"expected a 0-based start frame, got {self.start_frame}")
        object.__setattr__(self, "boxes_xyxy", _frozen(self.boxes_xyxy))
        object.__setattr__(self, "frame_seconds", _frozen(self.frame_seconds))

    def __len__(self) -> int:
        """Return the number of source frames."""
        return len(self.boxes_xyxy)

    def __iter__(self) -> Iterator[tuple[int, tuple[float, float, float, float]]]:
        """Iterate over source frames with their boxes, xyxy in pixels.

        >>> tube = Tube(3, np.array([[0.0, 0, 2, 2], [1.0, 0, 3, 2]]), np.array([0.3, 0.4]), 0.5)
        >>> for frame, box in tube:
        ...     print(frame, box)
        3 (0.0, 0.0, 2.0, 2.0)
        4 (1.0, 0.0, 3.0, 2.0)
        """
        frames = range(self.start_frame, self.start_frame + len(self))
        return (
            (frame, (x0, y0, x1, y1)) for frame, (x0, y0, x1, y1) in zip(frames, self.boxes_xyxy.tolist(), strict=True)
        )

    @property
    def end_frame(self) -> int:
        """Last source frame, inclusive."""
        return self.start_frame + len(self.boxes_xyxy) - 1

    @property
    def span(self) -> Span:
        """The tube's time, in seconds."""
        return Span(float(self.frame_seconds[0]), self.end_seconds)


@dataclass(frozen=True, eq=False)
class FrameMaps:
    """One attention map per sampled frame, on the backend's token grid.

    Attributes:
        values: attention (relative or raw), not negative, in the order of the sampled frames.
        grounding_tokens: text of the prompt tokens whose rows were averaged.
    """

    values: Float64[np.ndarray, "frame row column"]
    grounding_tokens: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        """Check that attention is a number everywhere."""
        if not np.isfinite(self.values).all():
            raise TokenLayoutError(
                "expected finite attention, got nan or infinity; lower the prompt step size "
                "(settings prompt.step_size) or load the model in a wider dtype"
            )
        object.__setattr__(self, "values", _frozen(self.values))


def tidy_text(text: str) -> str:
    r"""Return text on one line with single spaces.

    >>> tidy_text("  a  man\n runs ")
    'a man runs'
    """
    return " ".join(text.split())


def as_boxes(rows: Sequence[Sequence[float]]) -> Float64[np.ndarray, "box 4"]:
    """Return rows of (x0, y0, x1, y1) as an array, also when there are none."""
    return np.asarray(rows, dtype=np.float64).reshape(-1, 4)


@dataclass(frozen=True)
class SearchedWindow:
    """One window of a long video, and what it said of a query.

    Attributes:
        start_frame: first source frame, 0-based.
        end_frame: last source frame, inclusive.
        start_seconds: presentation time of the first frame.
        end_seconds: when the last frame leaves the screen.
        margin: logit of yes minus no that ranks windows; None where the window could not be read.
        joined: whether its maps are part of the grounding.
    """

    start_frame: int
    end_frame: int
    start_seconds: float
    end_seconds: float
    margin: float | None
    joined: bool


@dataclass(frozen=True)
class PromptEffect:
    """What one branch's visual prompt did to the answer (LRA, paper section 3.3).

    Attributes:
        margin_before: logit of yes minus logit of no for the branch's sub-query, without a prompt.
        margin_after: the same under the learned prompt.
        prompt_norm_share: Frobenius norm of the prompt over that of the visual tokens.
    """

    margin_before: float
    margin_after: float
    prompt_norm_share: float


@dataclass(frozen=True)
class FirstAnswer:
    """What the model would have said first to a branch's question, without a visual prompt.

    Attributes:
        first_token: text of the most probable token of the whole vocabulary.
        probability: softmax probability of that token.
    """

    first_token: str
    probability: float

    @property
    def is_yes_or_no(self) -> bool:
        """Whether the token is one of the answers that the margin compares, in any case.

        >>> FirstAnswer(" Yes", 0.7).is_yes_or_no, FirstAnswer("The", 0.9).is_yes_or_no
        (True, False)
        """
        return self.first_token.strip().lower() in {"yes", "no"}


@dataclass(frozen=True, eq=False)
class Grounding:
    """Everything that one grounding found: the tube, and what led to it.

    Attributes:
        frames: the sampled frames the model saw; of a long video those of the joined windows.
        tracks: candidates, in the order of track_scores.
        chosen_track: index into tracks.
        track_scores: higher is better, comparable within this result only.
        frame_scores: one per sampled frame, inside the chosen track.
        span_frames: the sampled frames that the span was made of (first, last), inclusive.
        spatial_maps: attention of the attribute branch (views assembled).
        temporal_maps: attention of the action branch.
        diagnostics: yes/no margins before each prompt step, by branch and step.
        prompts: what the learned prompts did, by branch ("spatial", "temporal", and "spatial_reversed" where the
            reversed view learns its own).
        answers: what the model would have said first, by branch; none where the backend does not tell.
        timings_seconds: wall-clock seconds per stage.
        warnings: what could not be done as asked, one sentence each.
        windows: where a long video was searched, in order of time; none where it was sampled as a whole.
        unprompted_spatial_maps: the attribute's maps without its learned prompt; None where it has none, or they were
            not asked for.
        unprompted_temporal_maps: the same of the action.
    """

    frames: Frames
    sub_queries: SubQueries
    tracks: tuple[Track, ...]
    chosen_track: int
    track_scores: Float64[np.ndarray, " track"]
    frame_scores: Float64[np.ndarray, " frame"]
    span_frames: tuple[int, int]
    spatial_maps: FrameMaps
    temporal_maps: FrameMaps
    tube: Tube
    diagnostics: Mapping[str, float]
    timings_seconds: Mapping[str, float]
    warnings: tuple[str, ...] = ()
    windows: tuple[SearchedWindow, ...] = ()
    unprompted_spatial_maps: FrameMaps | None = None
    unprompted_temporal_maps: FrameMaps | None = None
    prompts: Mapping[str, PromptEffect] = field(default_factory=dict)
    answers: Mapping[str, FirstAnswer] = field(default_factory=dict)
