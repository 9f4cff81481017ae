"""The samples of an ablation: those of a data set, or whatever another distribution makes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from stvg_core.errors import ScoreError
from stvg_core.evaluation.comparison.source import Source
from stvg_core.evaluation.runs.tasks import Task, task_of
from stvg_core.inputs.datasets.export import annotation
from stvg_core.inputs.datasets.opening import Dataset, open_dataset
from stvg_core.inputs.datasets.samples import GroundingSample
from stvg_core.inputs.video import read_frames
from stvg_core.metrics import SampleTruth, ScoringProtocol
from stvg_core.metrics.files import parse_annotation
from stvg_core.plugin.tracker import TrackRequest
from stvg_core.settings import SamplingSettings
from stvg_core.values import Frames, Track


@dataclass(frozen=True, eq=False)
class AblationSample:
    """One query about one video, with its truth.

    Attributes:
        task: what the method may know.
        truth: the annotated tube.
        read: returns the frames of the video under some sampling.
        groups: what results are broken down by, such as its level.
        true_tracks: of all objects, in no order that tells which is meant; none where that is unknown.
    """

    task: Task
    truth: SampleTruth
    read: Callable[[SamplingSettings], Frames]
    groups: tuple[str, ...] = ()
    true_tracks: tuple[Track, ...] = ()


@runtime_checkable
class AblationSource(Protocol):
    """Where samples come from; it travels to other processes, so it holds names, not samples."""

    @property
    def protocol(self) -> ScoringProtocol:
        """Whose rules the scores follow."""
        ...

    @property
    def knows_true_tracks(self) -> bool:
        """Whether samples have the true tracks of all objects."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """Return what decides the samples, as JSON."""
        ...

    def samples(self) -> Iterator[AblationSample]:
        """Yield the samples, always in the same order."""
        ...


@dataclass(frozen=True)
class DatasetSource:
    """The annotated samples of a data set.

    Attributes:
        source: which.
        protocol: whose rules the scores follow.
    """

    source: Source
    protocol: ScoringProtocol

    @property
    def knows_true_tracks(self) -> bool:
        """Data sets annotate the target alone."""
        return False

    def describe(self) -> dict[str, Any]:
        """Return what decides the samples."""
        source = self.source
        return {"dataset": source.dataset, "split": source.split, "limit": source.limit, "protocol": self.protocol.name}

    def samples(self) -> Iterator[AblationSample]:
        """Yield samples that have a truth that can be used, up to the source's limit.

        Raises:
            DatasetError: the data set is not there, or cannot be read.
        """
        source = self.source
        dataset = open_dataset(
            source.dataset,
            source.root,
            split=source.split,
            annotations=source.annotations,
            video_root=source.video_root,
        )
        count = 0
        for sample in dataset.samples(corrections=source.corrections):
            found = annotation(sample)
            if found is None:
                continue
            truth = parse_annotation(found)
            if isinstance(truth, ScoreError):
                continue
            yield _of_dataset(dataset, sample, truth)
            count += 1
            if count == source.limit:
                return


def _of_dataset(dataset: Dataset, sample: GroundingSample, truth: SampleTruth) -> AblationSample:
    task = task_of(sample)

    def read(sampling: SamplingSettings) -> Frames:
        return read_frames(
            dataset.video_root / sample.video,
            sampling,
            maximum_side_pixels=sampling.maximum_side_pixels,
            segment=task.source_segment,
        )

    return AblationSample(task, truth, read, (sample.query_type,) if sample.query_type else ())


@dataclass(frozen=True)
class FixedTracks:
    """A tracker that proposes what it was given: the true tracks, as an upper bound.

    Attributes:
        tracks: of one video.
        name: in results.
        per_video: the query has no say.
    """

    tracks: tuple[Track, ...]
    name: str = "oracle"
    per_video: bool = True

    def propose(self, request: TrackRequest) -> tuple[Track, ...]:
        """Return the tracks, whatever is asked."""
        return self.tracks
