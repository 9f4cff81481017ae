"""From what a record says to a sample: the checks that all formats share.

A reader turns a record into a `Draft` (frames from 0, boxes by corners) or into problems; here the
draft is checked against the picture, the video's length, the root and its siblings.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Bool, Float64

from stvg_core._internal.plain_text import one_line
from stvg_core.inputs.datasets.paths import FileFinder, FilePlace, path_problem
from stvg_core.inputs.datasets.problems import KnownDefect, Problem, find_known_defect, problem, shown, unsafe_text
from stvg_core.inputs.datasets.samples import GroundingSample, Provenance, QueryType, TruthTube
from stvg_core.values import tidy_text

CLIP_BOXES: Final = "clip-boxes"
"""Boxes that reach over the picture's edge are cut at it, as CG-STVG, TA-STVG and the authors do."""

_ROUNDING_PIXELS: Final = 1e-6
"""x + width may miss the edge by an error of rounding; cut without a word."""


@dataclass(frozen=True)
class AnnotationSource:
    """Where a reader reads.

    Attributes:
        file: the annotation file.
        root: folder of the data set.
        box_folders: where boxes in files of their own lie, relative to the root; see `FileFinder`.
    """

    file: Path
    root: Path
    box_folders: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Draft:
    """What a record says, in our conventions, before it is checked against anything else."""

    key: str
    sample_id: str
    video_name: str
    query: str
    query_type: QueryType | None = None
    frame_count: int | None = None
    fps: float | None = None
    width: int | None = None
    height: int | None = None
    segment: tuple[int, int] | None = None
    frame_step: int = 1
    start_frame: int = 0
    boxes_xyxy: Float64[np.ndarray, "source_frame 4"] | None = None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, eq=False)
class Entry:
    """One sample of an annotation file, or what keeps it from being one.

    Attributes:
        file: annotation file, relative to the root.
        key: place in it, harmless to a terminal.
        sample_id: id, harmless to a terminal; empty where it could not be read.
        sample: the sample; None where it cannot be used or is left out.
        problems: what is wrong, warnings included.
        clipped_boxes: boxes that were cut at the picture's edge.
        known: what is known of this sample from elsewhere.
        left_out: whether it is left out for that.
        video: where its video is or would be; None where that could not be read.
    """

    file: str
    key: str
    sample_id: str = ""
    sample: GroundingSample | None = None
    problems: tuple[Problem, ...] = ()
    clipped_boxes: int = 0
    known: KnownDefect | None = None
    left_out: bool = False
    video: FilePlace | None = None

    @property
    def broken(self) -> bool:
        """Whether an error keeps the sample from being used."""
        return any(each.severity == "error" for each in self.problems)


@dataclass
class EntryMaker:
    """Makes entries of one annotation file; remembers the ids so far.

    Attributes:
        dataset: name of the data set.
        file: annotation file, relative to the root.
        finder: finds videos.
        corrections: whether known defects are left out and boxes cut at the edge.
    """

    dataset: str
    file: str
    finder: FileFinder
    corrections: bool = True
    _seen: set[str] = field(default_factory=set)

    def broken(self, key: str, *problems: Problem, sample_id: str = "") -> Entry:
        """Return the entry of a record that could not be read; a known defect is left out all the same."""
        known = find_known_defect(self.dataset, key)
        entry = Entry(self.file, one_line(key, 200), one_line(sample_id, 200), problems=problems, known=known)
        return self._left_out(entry) if self._drops(known) else entry

    def entry(self, draft: Draft) -> Entry:
        """Return the entry of a record: a sample, or its problems."""
        known = find_known_defect(self.dataset, draft.key)
        key, sample_id = one_line(draft.key, 200), one_line(draft.sample_id, 200)
        problems = [*draft.problems, *_text_problems(draft)]
        if draft.sample_id in self._seen:
            problems.append(problem("duplicate-id", "", f"expected each id once, got {shown(draft.sample_id)} again"))
        self._seen.add(draft.sample_id)
        place = None
        if not (wrong_path := path_problem(draft.video_name, "video")):
            place = self.finder.find(draft.video_name)
            wrong_path = place.problem
        problems += [wrong_path] if wrong_path else []
        boxes, clipped = draft.boxes_xyxy, 0
        if boxes is not None:
            problems += _span_problems(draft, len(boxes))
            problems += _box_problems(boxes, draft)
            if self.corrections and draft.width is not None and draft.height is not None:
                boxes, clipped = _clip(boxes, draft.width, draft.height)
                problems = [each for each in problems if each.kind != "box-over-edge"]
        entry = Entry(self.file, key, sample_id, None, tuple(problems), clipped, known, video=place)
        if self._drops(known):
            return self._left_out(entry)
        if entry.broken or place is None:
            return Entry(self.file, key, sample_id, None, tuple(problems), 0, known, video=place)
        sample = GroundingSample(
            sample_id=draft.sample_id,
            dataset=self.dataset,
            video=place.path,
            query=tidy_text(draft.query),
            provenance=Provenance(self.file, draft.key),
            query_type=draft.query_type,
            frame_count=draft.frame_count,
            fps=draft.fps,
            width=draft.width,
            height=draft.height,
            segment=draft.segment,
            frame_step=draft.frame_step,
            truth=None if boxes is None else TruthTube(draft.start_frame, boxes),
        )
        return Entry(self.file, key, sample_id, sample, tuple(problems), clipped, known, video=place)

    def _drops(self, known: KnownDefect | None) -> bool:
        return self.corrections and known is not None and known.action == "drop"

    def _left_out(self, entry: Entry) -> Entry:
        return Entry(self.file, entry.key, entry.sample_id, known=entry.known, left_out=True, video=entry.video)


def _text_problems(draft: Draft) -> list[Problem]:
    problems = []
    if unsafe_text(draft.sample_id):
        problems.append(problem("control-characters", "id", f"expected a plain id, got {shown(draft.sample_id)}"))
    if unsafe_text(draft.query, white_space=True):
        problems.append(problem("control-characters", "query", f"expected a plain sentence, got {shown(draft.query)}"))
    for name, text in (("id", draft.sample_id), ("query", draft.query)):
        if not text.strip():
            problems.append(problem("out-of-range", name, f"expected some text for {name}, got {shown(text)}"))
    return problems


def _span_problems(draft: Draft, count: int) -> list[Problem]:
    end = draft.start_frame + count - 1
    if draft.frame_count is not None and end >= draft.frame_count:
        message = f"expected the tube to end before frame {draft.frame_count}, got frames {draft.start_frame}..{end}"
        return [problem("span-beyond-video", "", message)]
    if draft.segment is not None and not draft.segment[0] <= draft.start_frame <= end <= draft.segment[1]:
        first, last = draft.segment
        message = f"expected the tube within frames {first}..{last}, got {draft.start_frame}..{end}"
        return [problem("span-outside-segment", "", message)]
    return []


def _box_problems(boxes: Float64[np.ndarray, "source_frame 4"], draft: Draft) -> list[Problem]:
    """Return problems of boxes, one per kind, with the first place and the count."""
    low, high = boxes[:, :2], boxes[:, 2:]
    reversed_ = (high < low).any(axis=1)
    empty = ~reversed_ & (high == low).any(axis=1)
    problems = [("reversed-box", reversed_), ("empty-box", empty)]
    if draft.width is not None and draft.height is not None:
        size = np.array([draft.width, draft.height], dtype=np.float64)
        outside = ~reversed_ & ((high <= 0) | (low >= size)).any(axis=1)
        over = ((low < -_ROUNDING_PIXELS) | (high > size + _ROUNDING_PIXELS)).any(axis=1)
        problems += [("box-outside-picture", outside), ("box-over-edge", over & ~outside & ~reversed_)]
    return [_box_problem(kind, marked, boxes, draft) for kind, marked in problems if marked.any()]


def _box_problem(
    kind: str, marked: Bool[np.ndarray, " source_frame"], boxes: Float64[np.ndarray, "source_frame 4"], draft: Draft
) -> Problem:
    first = int(marked.argmax())
    corners = ", ".join(f"{value:g}" for value in boxes[first].tolist())
    picture = f" of {draft.width}x{draft.height} pixels" if draft.width is not None else ""
    message = (
        f"expected boxes in the picture{picture}, got ({corners}) at frame {draft.start_frame + first}"
        f" and {int(marked.sum()) - 1} more"
    )
    return problem(kind, "boxes", message)


def _clip(
    boxes: Float64[np.ndarray, "source_frame 4"], width: int, height: int
) -> tuple[Float64[np.ndarray, "source_frame 4"], int]:
    """Return boxes cut at the picture's edge, and how many were cut by more than rounding."""
    clipped = np.clip(boxes, 0.0, np.array([width, height, width, height], dtype=np.float64))
    return clipped, int((np.abs(clipped - boxes) > _ROUNDING_PIXELS).any(axis=1).sum())
