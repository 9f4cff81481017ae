"""VidSTG: sentences about relations of VidOR, whose boxes lie in VidOR's all_problems files.

Frames count from 0. `used_segment` includes both ends; `temporal_gt.end_fid` is the frame *after* the
last one: in 768 of the 4,610 test records it equals the number of frames. TubeDETR reads it so; STCAT
and what follows it read it as inclusive and copy the last box (`vidstg-stcat`).

Samples come grouped by video, in the order in which the file first names it, so that every file of
boxes is read once and one is held at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from stvg_core.inputs.datasets.entries import AnnotationSource, Draft, Entry, EntryMaker
from stvg_core.inputs.datasets.json_elements import Element, JsonError, iterate_elements
from stvg_core.inputs.datasets.paths import FileFinder, path_problem
from stvg_core.inputs.datasets.problems import Problem, RecordError, problem, problems_of
from stvg_core.inputs.datasets.records import VidstgRecord, VidstgSentence
from stvg_core.inputs.datasets.samples import QueryType
from stvg_core.inputs.datasets.vidor import VidorBoxes

_VIDEO_SUFFIX: Final = ".mp4"


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A sentence that waits for its boxes; target None where it has none to wait for."""

    draft: Draft
    target: int | None
    end_frame: int


@dataclass(frozen=True)
class VidstgReader:
    """Reads VidSTG's sentences and VidOR's boxes.

    Attributes:
        end_inclusive: whether `temporal_gt.end_fid` belongs to the span, as STCAT reads it.
    """

    end_inclusive: bool = False

    def __call__(self, source: AnnotationSource, maker: EntryMaker) -> Iterator[Entry]:
        """Yield the entries of an annotation file, by video; those that cannot be read come first."""
        waiting: dict[str, list[_Waiting]] = {}
        with source.file.open("rb") as stream:
            index = -1
            try:
                for element in iterate_elements(stream):
                    index = element.index
                    try:
                        record = _record(element)
                    except RecordError as fault:
                        yield maker.broken(f"[{index}]", *fault.problems)
                    else:
                        waiting.setdefault(record.vid, []).extend(self._sentences(index, record))
            except JsonError as fault:
                yield maker.broken(f"after record {index}", problem(fault.kind, "", str(fault)))
        finder = FileFinder(source.root, source.box_folders, "boxes")
        for video in list(waiting):
            yield from self._with_boxes(video, waiting.pop(video), maker, finder, source.root)

    def _sentences(self, index: int, record: VidstgRecord) -> Iterator[_Waiting]:
        start, end = record.temporal_gt.begin_fid, record.temporal_gt.end_fid
        segment = (record.used_segment.begin_fid, record.used_segment.end_fid)
        if self.end_inclusive:
            end = min(end, segment[1], record.frame_count - 1)
        else:
            end -= 1
        problems: list[Problem] = []
        if segment[1] < segment[0] or segment[1] >= record.frame_count:
            message = f"expected used_segment within frames 0..{record.frame_count - 1}, got {segment[0]}..{segment[1]}"
            problems.append(problem("out-of-range", "used_segment", message))
        if end < start:
            message = f"expected temporal_gt to end after frame {start}, got end_fid {record.temporal_gt.end_fid}"
            problems.append(problem("out-of-range", "temporal_gt.end_fid", message))
        if end >= record.frame_count:
            message = f"expected temporal_gt to end before frame {record.frame_count}, got frames {start}..{end}"
            problems.append(problem("span-beyond-video", "temporal_gt.end_fid", message))
        objects = {item.tid for item in record.objects}
        if len(objects) < len(record.objects):
            problems.append(problem("duplicate-id", "subject/objects", "expected each tid once, got one twice"))
        kinds: tuple[tuple[str, QueryType, list[VidstgSentence]], ...] = (
            ("captions", "declarative", record.captions),
            ("questions", "interrogative", record.questions),
        )
        for name, query_type, sentences in kinds:
            for place, sentence in enumerate(sentences):
                all_problems = list(problems)
                if sentence.target_id not in objects:
                    message = f"expected target_id of one of the objects {sorted(objects)}, got {sentence.target_id}"
                    all_problems.append(problem("out-of-range", "target_id", message))
                draft = Draft(
                    key=f"[{index}].{name}[{place}]",
                    sample_id=f"{record.vid}_{index:05d}_{query_type}_{place}",
                    video_name=record.vid + _VIDEO_SUFFIX,
                    query=sentence.description,
                    query_type=query_type,
                    frame_count=record.frame_count,
                    fps=record.fps,
                    width=record.width,
                    height=record.height,
                    segment=segment,
                    start_frame=start,
                    problems=tuple(all_problems),
                )
                yield _Waiting(draft, None if all_problems else sentence.target_id, end)

    def _with_boxes(
        self, video: str, sentences: list[_Waiting], maker: EntryMaker, finder: FileFinder, root: Path
    ) -> Iterator[Entry]:
        boxes: VidorBoxes | None = None
        faults: tuple[Problem, ...] = ()
        try:
            boxes = _boxes_of(video, finder, root, {one.target for one in sentences if one.target is not None})
        except RecordError as fault:
            faults = fault.problems
        for sentence in sentences:
            draft = sentence.draft
            if sentence.target is not None and boxes is not None:
                try:
                    track = boxes.track(
                        sentence.target, draft.start_frame, sentence.end_frame, copy_last=self.end_inclusive
                    )
                    draft = replace(draft, boxes_xyxy=track)
                except RecordError as fault:
                    draft = replace(draft, problems=fault.problems)
            elif boxes is None:
                draft = replace(draft, problems=draft.problems + faults)
            yield maker.entry(draft)


def _record(element: Element) -> VidstgRecord:
    if element.key is not None:
        raise RecordError(problem("wrong-type", "", "expected a list of records, got an object; is it another file?"))
    try:
        record = VidstgRecord.model_validate(element.parsed())
    except JsonError as fault:
        raise RecordError(problem(fault.kind, "", str(fault))) from fault
    except ValidationError as error:
        raise RecordError(*problems_of(error)) from error
    if not record.captions and not record.questions:
        raise RecordError(problem("out-of-range", "captions", "expected a caption or a question, got neither"))
    return record


def _boxes_of(video: str, finder: FileFinder, root: Path, targets: set[int]) -> VidorBoxes:
    wrong = path_problem(video, "vid")
    if wrong is not None:
        raise RecordError(wrong)
    place = finder.find(f"{video}.json")
    if place.problem is not None:
        raise RecordError(place.problem)
    return VidorBoxes(root / place.path, place.path, targets)


read_vidstg: Final = VidstgReader()
read_vidstg_as_stcat: Final = VidstgReader(end_inclusive=True)
