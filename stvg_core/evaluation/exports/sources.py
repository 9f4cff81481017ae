"""What is exported: a run of `stvg evaluate`, or one grounding of `stvg ground`. Both may come from anywhere."""

import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final

import numpy as np
from pydantic import AliasPath, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from stvg_core._internal.plain_text import one_line
from stvg_core.errors import RunError, ScoreError, StvgError, TubeError, UsageError
from stvg_core.evaluation.exports.samples import ExportedSample, ExportedTube, ExportedVideo
from stvg_core.evaluation.runs.database import FILE_NAME as DATABASE_FILE
from stvg_core.evaluation.runs.store import RunStore, StoredResult, StoredSample
from stvg_core.evaluation.runs.tasks import Task
from stvg_core.inputs.datasets.paths import FileFinder, path_problem
from stvg_core.inputs.video import probe_video
from stvg_core.metrics.files import parse_annotation
from stvg_core.outputs.report.folder import TUBE_FILE
from stvg_core.outputs.report.text import clean_text
from stvg_core.values import as_boxes

MOST_BYTES: Final = 2**28
"""Of a tube.json: a video of some days still fits in."""
_ATTENTION_FILE: Final = "attention.npz"
_LONGEST_TEXT: Final = 10_000
_LARGEST: Final = 10**9
_Count = Annotated[int, Field(ge=1, le=_LARGEST)]
_Frame = Annotated[int, Field(ge=0, le=_LARGEST)]
_Corner = Annotated[FiniteFloat, Field(ge=-1e9, le=1e9)]


class _Part(BaseModel):
    # Fields that a later version may add are passed over.
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Box(_Part):
    frame: _Frame
    seconds: FiniteFloat
    xyxy: tuple[_Corner, _Corner, _Corner, _Corner]


class _FrameScore(_Part):
    frame: _Frame
    score: FiniteFloat


class _Document(_Part):
    """What an export needs of a grounding document (docs/output.md)."""

    path: str = Field("", validation_alias=AliasPath("video", "path"))
    width: _Count = Field(validation_alias=AliasPath("video", "width"))
    height: _Count = Field(validation_alias=AliasPath("video", "height"))
    frame_count: _Count = Field(validation_alias=AliasPath("video", "frame_count"))
    fps: FiniteFloat = Field(gt=0, validation_alias=AliasPath("video", "fps"))
    query: str = Field(validation_alias=AliasPath("query", "text"))
    model: str = Field("", validation_alias=AliasPath("model", "id"))
    start_frame: _Frame = Field(validation_alias=AliasPath("tube", "start_frame"))
    end_frame: _Frame = Field(validation_alias=AliasPath("tube", "end_frame"))
    boxes: list[_Box] = Field(min_length=1, validation_alias=AliasPath("tube", "boxes"))
    frame_scores: list[_FrameScore] = Field([], validation_alias=AliasPath("scores", "frames"))

    def video(self, path: str) -> ExportedVideo:
        return ExportedVideo(clean_text(path, _LONGEST_TEXT), self.width, self.height, self.frame_count, self.fps)


class ExportSource:
    """Samples to be exported; `samples` may be called several times.

    Attributes:
        model: which model made the predictions.
        left_out: samples that are not exported, with the reason; complete once `samples` has ended.
    """

    def __init__(self, model: str, samples: Iterable[ExportedSample] = ()) -> None:
        """Take the model's name, and samples that are in memory."""
        self.model = clean_text(model, _LONGEST_TEXT)
        self.left_out: dict[str, str] = {}
        self._samples = samples

    def samples(self) -> Iterator[ExportedSample]:
        """Yield every sample that can be exported."""
        yield from self._samples


class RunSource(ExportSource):
    """A run with its predictions and the truth that it stores; one sample is held at a time."""

    def __init__(self, folder: Path, videos: Path | None = None) -> None:
        """Look through the run for the sizes of its videos.

        Args:
            folder: the run's.
            videos: folder of the videos, as the run's data set has it; None: they are not read.

        Raises:
            RunError: there is no run, or it cannot be read.
        """
        self._folder = folder
        self._root = videos
        self._finder = None if videos is None else FileFinder(videos, ("",))
        self._from_results: dict[str, ExportedVideo] = {}
        self._videos: dict[str, ExportedVideo] = {}
        # Results that come in later are not exported: several passes must see the same run.
        self._attempts: dict[str, int] = {}
        with RunStore(folder, write=False) as store:
            super().__init__(str((store.configuration() or {}).get("model", {}).get("id", "")))
            paths = {sample.sample_id: sample.task.video for sample in store.samples() if sample.task is not None}
            for result in store.results():
                self._attempts[result.sample_id] = result.attempt
                path = paths[result.sample_id]
                if result.document is not None and path not in self._from_results:
                    # What is wrong with a document is reported where its sample is read.
                    with contextlib.suppress(UsageError, TubeError):
                        self._from_results[path] = _parse(result.document, f"sample {result.sample_id}").video(path)

    def samples(self) -> Iterator[ExportedSample]:
        """Yield every sample with a prediction or a truth; one whose video's size is unknown is left out."""
        self.left_out.clear()
        with RunStore(self._folder, write=False) as store:
            for sample, result in store.samples_with_results():
                known = result is not None and self._attempts.get(sample.sample_id) == result.attempt
                try:
                    yield self._sample(sample, result if known else None)
                except StvgError as error:
                    self.left_out[sample.sample_id] = one_line(str(error), 500)

    def _sample(self, sample: StoredSample, result: StoredResult | None) -> ExportedSample:
        task = sample.task
        if task is None:
            raise RunError(sample.problem)
        content = None if result is None else result.document
        # A document that cannot be read is reported before a size that is missing because of it.
        document = None if content is None else _parse(content, f"sample {sample.sample_id}")
        video = self._video(task.video)
        truth = _truth(sample, task, video)
        if document is not None:
            return _sample_of(document, sample.sample_id, video, truth)
        if truth is None:
            why = result.failure.message if result is not None and result.failure is not None else "no result yet"
            raise RunError(f"neither prediction nor truth: {why}")
        return ExportedSample(sample.sample_id, clean_text(task.query, _LONGEST_TEXT), video, None, truth)

    def _video(self, path: str) -> ExportedVideo:
        """Return a video as its results describe it, or its file; a file that is another video's is an error."""
        if path not in self._videos:
            file, described = self._file(path), self._from_results.get(path)
            if described is not None:
                self._videos[path] = described if file is None else _with_file(described, file)
            elif file is not None:
                info = probe_video(file)
                size = (info.width, info.height, info.frame_count, info.fps)
                self._videos[path] = ExportedVideo(clean_text(path, _LONGEST_TEXT), *size, file, info.frame_seconds)
            else:
                raise RunError("no sample of its video has a result, so its size is not known; add --videos FOLDER")
        return self._videos[path]

    def _file(self, path: str) -> Path | None:
        """Return a video's file below the folder that the user named; None without one."""
        if self._finder is None or self._root is None or path_problem(path, "video") is not None:
            return None
        place = self._finder.find(path)
        return self._root / place.path if place.there and place.problem is None else None


def open_source(path: Path, videos: Path | None = None) -> ExportSource:
    """Return what is at a path: a run, or one grounding.

    Args:
        path: a run's folder, a folder with tube.json, or such a file by any name.
        videos: folder of the videos, or the video itself; None: they are not read.

    Raises:
        UsageError: it is neither, or holds no grounding.
        RunError: the run cannot be read.
        TubeError: the tube does not fit its video.
    """
    if (path / DATABASE_FILE).is_file():
        return RunSource(path, videos)
    file = path / TUBE_FILE if path.is_dir() else path
    if not file.is_file():
        raise UsageError(
            f"expected a run of stvg evaluate, a folder of stvg ground or a tube.json, got {path}; "
            "a comparison's runs are exported one by one"
        )
    document = _parse(_load(file), str(file))
    # Its folder on the machine that made the result is not published.
    name = PurePosixPath(document.path.replace("\\", "/")).name or "video"
    video = document.video(name)
    if videos is not None:
        video = _with_file(video, videos / name if videos.is_dir() else videos)
    attention = file.parent / _ATTENTION_FILE
    sample = _sample_of(document, video.path, video)
    return ExportSource(document.model, [replace(sample, attention_file=attention if attention.is_file() else None)])


def _load(file: Path) -> Any:  # noqa: ANN401  # JSON
    try:
        if file.stat().st_size > MOST_BYTES:
            raise UsageError(f"expected a grounding of at most {MOST_BYTES // 2**20} MiB, got more in {file}")
        return json.loads(file.read_bytes())
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise UsageError(f"expected a grounding at {file}: {reason}; name a folder of stvg ground or a run") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"expected a grounding as JSON in {file}, got none: {one_line(str(error), 200)}") from error


def _parse(raw: object, where: str) -> _Document:
    if isinstance(raw, dict) and raw.get("status") == "error":
        raise UsageError(f"expected a grounding in {where}, got the report of an error; there is no tube to export")
    try:
        return _Document.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"expected a grounding of stvg in {where}, but {one_line(place, 80)}: {first['msg']}"
        ) from error


def _sample_of(
    document: _Document, sample_id: str, video: ExportedVideo, truth: ExportedTube | None = None
) -> ExportedSample:
    if not document.start_frame <= document.end_frame < video.frame_count:
        raise TubeError(
            f"expected a tube within {video.frame_count} frames of {video.path}, got {document.start_frame} to "
            f"{document.end_frame}; is it the video of this result?"
        )
    frames = np.array([box.frame for box in document.boxes], dtype=np.int64)
    boxes = as_boxes([box.xyxy for box in document.boxes])
    return ExportedSample(
        sample_id,
        clean_text(document.query, _LONGEST_TEXT),
        video,
        ExportedTube.within(video, "prediction", (document.start_frame, document.end_frame), frames, boxes),
        truth,
        {box.frame: box.seconds for box in document.boxes},
        {score.frame: score.score for score in document.frame_scores},
    )


def _truth(sample: StoredSample, task: Task, video: ExportedVideo) -> ExportedTube | None:
    """Return the truth in source frames: annotations may count every n-th of them."""
    if sample.annotation is None:
        return None
    truth = parse_annotation(sample.annotation)
    if isinstance(truth, ScoreError):
        raise truth
    step, tube = task.frame_step, truth.tube
    return ExportedTube.within(
        video, "truth", (tube.start_frame * step, tube.end_frame * step), tube.frames * step, tube.boxes_xyxy
    )


def _with_file(video: ExportedVideo, file: Path) -> ExportedVideo:
    """Return a video with its file; another video's file is an error."""
    info = probe_video(file)
    actual, expected = (info.width, info.height, info.frame_count), (video.width, video.height, video.frame_count)
    if actual != expected:
        raise UsageError(
            f"expected {expected[0]}x{expected[1]} pixels and {expected[2]} frames in {file}, got "
            f"{actual[0]}x{actual[1]} and {actual[2]}; is it the video of this result?"
        )
    return replace(video, file=file, file_seconds=info.frame_seconds)
