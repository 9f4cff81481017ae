"""Our own format: a JSON list, or one JSON object per line, of samples (docs/datasets.md)."""

from collections.abc import Iterator

from pydantic import ValidationError

from stvg_core.inputs.datasets.entries import AnnotationSource, Draft, Entry, EntryMaker
from stvg_core.inputs.datasets.json_elements import Element, JsonError, iterate_elements, iterate_lines
from stvg_core.inputs.datasets.problems import problem, problems_of, shown
from stvg_core.inputs.datasets.records import SimpleRecord
from stvg_core.values import as_boxes


def read_simple(source: AnnotationSource, maker: EntryMaker) -> Iterator[Entry]:
    """Yield the entries of a file of samples, in its order; `.jsonl` holds one object per line."""
    lines = source.file.suffix == ".jsonl"
    with source.file.open("rb") as stream:
        index = -1
        try:
            for element in iterate_lines(stream) if lines else iterate_elements(stream):
                index = element.index
                yield _entry(element, f"line {index + 1}" if lines else f"[{index}]", maker)
        except JsonError as fault:
            yield maker.broken(f"after record {index}", problem(fault.kind, "", str(fault)))


def _entry(element: Element, place: str, maker: EntryMaker) -> Entry:
    if element.key is not None:
        wrong = problem("wrong-type", "", "expected a list of samples, got an object; see docs/datasets.md")
        return maker.broken(element.key, wrong)
    content = None
    try:
        content = element.parsed()
        record = SimpleRecord.model_validate(content)
    except JsonError as fault:
        return maker.broken(place, problem(fault.kind, "", str(fault)))
    except ValidationError as error:
        stated = content.get("id") if isinstance(content, dict) else None
        return maker.broken(place, *problems_of(error), sample_id=stated if isinstance(stated, str) else "")
    return maker.entry(_draft(place, record))


def _draft(place: str, record: SimpleRecord) -> Draft:
    tube = record.tube
    problems = []
    boxes = None
    if tube is not None:
        span = range(tube.start_frame, tube.end_frame + 1)
        missing = next((frame for frame in span if str(frame) not in tube.boxes), None)
        if record.frame_count is None:
            problems.append(problem("missing-field", "frame_count", "expected frame_count beside a tube, got none"))
        if not span:
            message = f"expected end_frame of at least {tube.start_frame}, got {tube.end_frame}"
            problems.append(problem("out-of-range", "tube.end_frame", message))
        elif missing is not None:
            message = f"expected a box for every frame of the tube, got none for frame {missing}"
            problems.append(problem("missing-boxes", "tube.boxes", message))
        elif len(tube.boxes) != len(span):
            allowed = set(map(str, span))
            extra = next(frame for frame in tube.boxes if frame not in allowed)
            message = f"expected boxes for frames {span[0]}..{span[-1]} alone, got one for {shown(extra)}"
            problems.append(problem("out-of-range", "tube.boxes", message))
        else:
            boxes = as_boxes([tube.boxes[str(frame)] for frame in span])
    return Draft(
        key=place,
        sample_id=record.id,
        video_name=record.video,
        query=record.query,
        query_type=record.query_type,
        frame_count=record.frame_count,
        fps=record.fps,
        width=record.width,
        height=record.height,
        start_frame=0 if tube is None else tube.start_frame,
        boxes_xyxy=boxes,
        problems=tuple(problems),
    )
