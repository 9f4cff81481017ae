"""The check of a data set on disk: what exists, what is missing, what is broken, with examples."""

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from stvg_core._internal.plain_text import one_line
from stvg_core.inputs.datasets.entries import CLIP_BOXES, Entry
from stvg_core.inputs.datasets.opening import Dataset
from stvg_core.inputs.datasets.problems import KINDS, Severity
from stvg_core.inputs.datasets.videos import VideoCheck, VideoInspector

SCHEMA_VERSION: Final = 1
EXAMPLES: Final = 5
"""Examples that are reported of each kind of problem."""
_PROGRESS_EVERY: Final = 200


@dataclass(frozen=True)
class Example:
    """One sample that has a problem.

    Attributes:
        file: annotation file, relative to the root.
        key: place in it.
        sample_id: its id, where that could be read.
        field: place in the record.
        message: what was expected and what came.
        known: what is known of this sample from elsewhere; may be empty.
    """

    file: str
    key: str
    sample_id: str
    field: str
    message: str
    known: str


@dataclass
class ProblemTally:
    """How often a kind of problem was met.

    Attributes:
        kind: name of the kind.
        severity: whether such samples cannot be used.
        meaning: what the kind means.
        cure: what to do.
        samples: number of samples with it.
        examples: the first of them.
    """

    kind: str
    severity: Severity
    meaning: str
    cure: str
    samples: int = 0
    examples: list[Example] = field(default_factory=list)


@dataclass(frozen=True)
class CorrectionTally:
    """How often a correction was applied.

    Attributes:
        name: `clip-boxes` or `known-defect`.
        what: what was done.
        samples: number of samples that it touched.
        boxes: number of boxes that it changed.
        source: who does or says so.
    """

    name: str
    what: str
    samples: int
    boxes: int
    source: str


@dataclass(frozen=True)
class Report:
    """The result of a check.

    Attributes:
        read: samples read, whatever became of them.
        usable: samples without an error.
        broken: samples with one.
        left_out: samples left out as known defects.
        with_truth: usable samples with an annotated tube.
        query_types: usable samples by query type; `unknown` where the file does not say.
        videos: distinct videos by state, and how closely they were looked at.
        layouts: the layout that was recognised, and what it says.
        problems: by kind, errors first.
        corrections: what was corrected.
    """

    dataset: str
    title: str
    split: str
    root: str
    layout: str
    annotation_file: str
    source_convention: str
    complete: bool
    read: int
    usable: int
    broken: int
    left_out: int
    with_truth: int
    query_types: dict[str, int]
    videos: dict[str, int | str]
    problems: tuple[ProblemTally, ...]
    corrections: tuple[CorrectionTally, ...]

    @property
    def healthy(self) -> bool:
        """Whether there is something to use, and nothing that is broken or missing."""
        return self.usable > 0 and self.broken == 0

    def document(self) -> dict[str, Any]:
        """Return the report as `stvg dataset check --json` prints it."""
        return {"schema_version": SCHEMA_VERSION, "healthy": self.healthy} | asdict(self)


def check_dataset(
    dataset: Dataset,
    *,
    videos: VideoCheck = "exists",
    limit: int | None = None,
    corrections: bool = True,
    on_progress: Callable[[str], None] = lambda text: None,
) -> Report:
    """Read a whole data set and report what exists, what is missing and what is broken.

    Args:
        dataset: which.
        videos: how closely to look at videos.
        limit: only the first N samples; None: all.
        corrections: as in `Dataset.entries`.
        on_progress: called now and then with what is going on.

    Raises:
        DatasetError: the annotation file cannot be read at all.
    """
    inspector = VideoInspector(dataset.video_root, videos)
    counts: Counter[str] = Counter()
    query_types: Counter[str] = Counter({"declarative": 0, "interrogative": 0, "unknown": 0})
    tallies: dict[str, ProblemTally] = {}
    dropped: Counter[tuple[str, str]] = Counter()
    entries = dataset.entries(corrections=corrections)
    for entry in itertools.islice(entries, limit):
        counts["read"] += 1
        if counts["read"] % _PROGRESS_EVERY == 0:
            on_progress(f"{counts['read']} samples read")
        if entry.left_out and entry.known is not None:
            counts["left_out"] += 1
            dropped[f"{entry.key}: {entry.known.what}", entry.known.source] += 1
            continue
        problems = entry.problems + inspector.problems(entry)
        # A sample counts once for each kind, however many of its fields have it.
        for kind, first in {each.kind: each for each in reversed(problems)}.items():
            tally = tallies.setdefault(kind, ProblemTally(kind, **asdict(KINDS[kind])))
            tally.samples += 1
            if len(tally.examples) < EXAMPLES:
                tally.examples.append(_example(entry, first.field, first.message))
        broken = entry.sample is None or any(each.severity == "error" for each in problems)
        counts["broken" if broken else "usable"] += 1
        if entry.clipped_boxes:
            counts["clipped_samples"] += 1
            counts["clipped_boxes"] += entry.clipped_boxes
        if not broken and entry.sample is not None:
            query_types[entry.sample.query_type or "unknown"] += 1
            counts["with_truth"] += entry.sample.truth is not None
    complete = limit is None or next(entries, None) is None
    return Report(
        dataset=dataset.description.name,
        title=dataset.description.title,
        split=dataset.split,
        root=one_line(str(dataset.root)),
        layout=dataset.layout.name,
        annotation_file=dataset.file_name,
        source_convention=dataset.description.source_convention,
        complete=complete,
        read=counts["read"],
        usable=counts["usable"],
        broken=counts["broken"],
        left_out=counts["left_out"],
        with_truth=counts["with_truth"],
        query_types=dict(query_types),
        videos={
            "check": videos,
            "there": len(inspector.there - inspector.unreadable),
            "missing": len(inspector.missing),
            "unreadable": len(inspector.unreadable),
        },
        problems=tuple(sorted(tallies.values(), key=lambda tally: (tally.severity, -tally.samples, tally.kind))),
        corrections=_corrections(counts, dropped),
    )


def _example(entry: Entry, place: str, message: str) -> Example:
    known = "" if entry.known is None else f"{entry.known.what} ({entry.known.source})"
    return Example(entry.file, entry.key, entry.sample_id, place, message, known)


def _corrections(counts: Counter[str], dropped: Counter[tuple[str, str]]) -> tuple[CorrectionTally, ...]:
    corrections = [
        CorrectionTally("known-defect", f"left out {what}", n, 0, source) for (what, source), n in dropped.items()
    ]
    if counts["clipped_boxes"]:
        corrections.append(
            CorrectionTally(
                CLIP_BOXES,
                "cut boxes at the picture's edge",
                counts["clipped_samples"],
                counts["clipped_boxes"],
                "CG-STVG, TA-STVG and the method's authors cut the right and lower edge",
            )
        )
    return tuple(corrections)
