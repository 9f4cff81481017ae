"""Tubes of a run of `stvg evaluate`, and the truth that it keeps; needs nothing but its folder."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from stvg_core._internal.plain_text import one_line
from stvg_core.errors import RunError, ScoreError, StvgError, TubeError, UsageError
from stvg_core.evaluation.exports.grounding_source import checked_file, exported_sample, exported_video, parse_document
from stvg_core.evaluation.exports.samples import ExportedSample, ExportedTube, ExportedVideo
from stvg_core.evaluation.runs.store import RunStore, StoredResult, StoredSample
from stvg_core.evaluation.runs.tasks import Task
from stvg_core.inputs.datasets.paths import FileFinder, path_problem
from stvg_core.inputs.video import probe_video
from stvg_core.metrics.files import parse_annotation
from stvg_core.outputs.report.text import clean_text

_LONGEST_TEXT = 10_000


class RunSource:
    """A run.

    Attributes:
        model: which model made the predictions.
        left_out: samples that are not exported, with the reason.
    """

    def __init__(self, folder: Path, videos: Path | None = None) -> None:
        """Look through the run for the sizes of its videos.

        Args:
            folder: the run's.
            videos: folder of the videos, as the run's data set has it; None: they are not looked at.

        Raises:
            RunError: there is no run, or it cannot be read.
        """
        self._folder = folder
        self._root = videos
        self._finder = None if videos is None else FileFinder(videos, ("",))
        self._from_results: dict[str, ExportedVideo] = {}
        self._videos: dict[str, ExportedVideo] = {}
        self.left_out: dict[str, str] = {}
        with RunStore(folder, write=False) as store:
            configuration = store.configuration() or {}
            self.model = clean_text(str(configuration.get("model", {}).get("id", "")), _LONGEST_TEXT)
            paths = {sample.sample_id: sample.task.video for sample in store.samples() if sample.task is not None}
            # What comes in later is not exported: several passes must see the same run.
            self._attempts: dict[str, int] = {}
            for result in store.results():
                self._attempts[result.sample_id] = result.attempt
                if result.document is not None and paths[result.sample_id] not in self._from_results:
                    self._keep_video(paths[result.sample_id], result)

    def samples(self) -> Iterator[ExportedSample]:
        """Yield every sample with a prediction or a truth; one whose video's size is unknown is left out."""
        self.left_out.clear()
        with RunStore(self._folder, write=False) as store:
            results = store.results()
            pending = next(results, None)
            for sample in store.samples():
                result = None
                if pending is not None and pending.sample_id == sample.sample_id:
                    result, pending = pending, next(results, None)
                    result = result if self._attempts.get(sample.sample_id) == result.attempt else None
                try:
                    yield self._sample(sample, result)
                except StvgError as error:
                    self.left_out[sample.sample_id] = one_line(str(error), 500)

    def _sample(self, sample: StoredSample, result: StoredResult | None) -> ExportedSample:
        task = sample.task
        if task is None:
            raise RunError(sample.problem)
        content = None if result is None else result.document
        # A document that cannot be read is reported before a size that is missing because of it.
        document = None if content is None else parse_document(content, f"sample {sample.sample_id}")
        video = self._video_of(task)
        truth = self._truth(sample, task, video)
        if document is not None:
            return exported_sample(document, sample.sample_id, video, truth)
        if truth is None:
            why = result.failure.message if result is not None and result.failure is not None else "no result yet"
            raise RunError(f"neither prediction nor truth: {why}")
        return ExportedSample(sample.sample_id, clean_text(task.query, _LONGEST_TEXT), video, None, truth)

    def _keep_video(self, path: str, result: StoredResult) -> None:
        # What is wrong with a document is reported where its sample is read.
        with contextlib.suppress(UsageError, TubeError):
            self._from_results[path] = exported_video(
                parse_document(result.document, f"sample {result.sample_id}"), path
            )

    def _video_of(self, task: Task) -> ExportedVideo:
        """Return a video as its results describe it, or its file; a file that is another video's is an error."""
        path = task.video
        if path not in self._videos:
            file, described = self._file_of(path), self._from_results.get(path)
            if described is not None:
                self._videos[path] = described if file is None else checked_file(described, file)
            elif file is not None:
                info = probe_video(file)
                size = (info.width, info.height, info.frame_count, info.fps)
                self._videos[path] = ExportedVideo(clean_text(path, _LONGEST_TEXT), *size, file, info.frame_seconds)
            else:
                raise RunError("no sample of its video has a result, so its size is not known; add --videos FOLDER")
        return self._videos[path]

    def _file_of(self, path: str) -> Path | None:
        """Return where a video lies below the folder that the user named; None where it does not."""
        if self._finder is None or self._root is None or path_problem(path, "video") is not None:
            return None
        place = self._finder.find(path)
        return self._root / place.path if place.there and place.problem is None else None

    @staticmethod
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
