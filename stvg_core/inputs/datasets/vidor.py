"""VidOR's boxes, which VidSTG's sentences point to: one file per video.

`trajectories[frame]` lists the objects of that frame; frames count from 0, corners are pixels.
A file holds up to some ten thousand boxes, of which a sentence needs one object's.
"""

import gc
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float64
from pydantic import ValidationError
from pydantic_core import from_json

from stvg_core.inputs.datasets.json_elements import JsonError, strict_json
from stvg_core.inputs.datasets.problems import Problem, RecordError, problem, problems_of, shown
from stvg_core.inputs.datasets.records import BOXES, VidorBox

MAXIMUM_BYTES: Final = 2**28
"""Largest VidOR file that is read (256 MiB); the largest videos need some megabytes."""


class VidorBoxes:
    """The boxes of some objects of one video."""

    def __init__(self, file: Path, shown_name: str, targets: Collection[int]) -> None:
        """Read a file.

        Args:
            file: VidOR's annotation of one video.
            shown_name: its name in messages.
            targets: numbers of the objects whose boxes are needed.

        Raises:
            RecordError: the file is missing, no JSON, or not of this format.
        """
        self._name = shown_name
        self._by_object: dict[int, dict[int, dict[str, Any]]] = {target: {} for target in targets}
        self._twice: set[int] = set()
        self._tracks: dict[tuple[int, int, int], Float64[np.ndarray, "source_frame 4"]] = {}
        trajectories = _read(file, shown_name)
        try:
            self._add(trajectories)
        except (KeyError, TypeError) as error:
            raise self._malformed(trajectories) from error

    def _add(self, trajectories: list[Any]) -> None:
        """Sort boxes by object; there are millions, so malformed ones are looked for only after a failure."""
        by_object = self._by_object
        for frame, objects in enumerate(trajectories):
            for entry in objects:
                number = entry["tid"]
                # 1.0 and true are equal to 1, and no numbers of objects.
                if number in by_object and type(number) is int:
                    if frame in by_object[number]:
                        self._twice.add(number)
                    by_object[number][frame] = entry

    def _malformed(self, trajectories: list[Any]) -> RecordError:
        for frame, objects in enumerate(trajectories):
            place = f"trajectories.{frame}"
            if not isinstance(objects, list):
                return self._wrong("wrong-type", place, "a list", objects)
            for index, entry in enumerate(objects):
                if not isinstance(entry, dict):
                    return self._wrong("wrong-type", f"{place}.{index}", "an object", entry)
                if not isinstance(entry.get("tid"), int):
                    kind = "wrong-type" if "tid" in entry else "missing-field"
                    return self._wrong(kind, f"{place}.{index}.tid", "a whole number", entry.get("tid"))
        return self._wrong("wrong-type", "trajectories", "lists of objects", trajectories)

    def _wrong(self, kind: str, place: str, expected: str, got: object) -> RecordError:
        return RecordError(problem(kind, place, f"expected {place} in {self._name} to be {expected}, got {shown(got)}"))

    def track(
        self, target: int, start_frame: int, end_frame: int, *, copy_last: bool = False
    ) -> Float64[np.ndarray, "source_frame 4"]:
        """Return the boxes (x0, y0, x1, y1) of an object, one per frame.

        Args:
            target: number of the object; one of those that were named.
            start_frame: first frame.
            end_frame: last frame, inclusive.
            copy_last: where the last frame has no box, take the one before it (as STCAT does).

        Raises:
            RecordError: a frame without a box, or a box that cannot be read.
        """
        key = (target, start_frame, end_frame)
        if key not in self._tracks:
            self._tracks[key] = self._track(target, range(start_frame, end_frame + 1), copy_last)
        return self._tracks[key]

    def _track(self, target: int, span: range, copy_last: bool) -> Float64[np.ndarray, "source_frame 4"]:
        if target in self._twice:
            message = f"expected object {target} once in each frame of {self._name}, got it twice"
            raise RecordError(problem("duplicate-id", "trajectories", message))
        boxes = self._by_object.get(target, {})
        entries = [boxes.get(frame) for frame in span]
        if copy_last and len(entries) > 1 and entries[-1] is None:
            entries[-1] = entries[-2]
        try:
            corners = [entry["bbox"] for entry in entries if entry is not None]
            if len(corners) < len(entries):
                frame = span[entries.index(None)]
                message = f"expected a box of object {target} at frame {frame} in {self._name}, got none"
                raise RecordError(problem("missing-boxes", "trajectories", message))
            rows = [[box["xmin"], box["ymin"], box["xmax"], box["ymax"]] for box in corners]
            return np.array(BOXES.validate_python(rows), dtype=np.float64)
        except (KeyError, TypeError, ValidationError) as error:
            raise RecordError(*self._problems(entries, span)) from error

    def _problems(self, entries: list[dict[str, Any] | None], span: range) -> tuple[Problem, ...]:
        """Return what is wrong with the first bad box: looked for again, with the names of the fields."""
        for frame, entry in zip(span, entries, strict=True):
            try:
                VidorBox.model_validate(entry)
            except ValidationError as error:
                return tuple(
                    problem(each.kind, f"trajectories.{frame}.{each.field}", f"{each.message} ({self._name})")
                    for each in problems_of(error)
                )
        return (problem("wrong-type", "trajectories", f"expected boxes of four numbers in {self._name}"),)


def _read(file: Path, shown_name: str) -> list[Any]:
    try:
        size = file.stat().st_size
        if size > MAXIMUM_BYTES:
            message = f"expected boxes of at most {MAXIMUM_BYTES // 2**20} MiB, got {size // 2**20} MiB in {shown_name}"
            raise RecordError(problem("too-large", "boxes", message))
        raw = file.read_bytes()
    except OSError as error:
        message = f"expected the boxes of the video in {shown_name}, got no readable file"
        raise RecordError(problem("missing-boxes", "boxes", message)) from error
    try:
        with _collector_at_rest():
            content = from_json(raw)
        if not _keys_are_distinct(raw, content):
            content = strict_json(raw)
    except JsonError as fault:
        raise RecordError(problem(fault.kind, "boxes", f"{fault} ({shown_name})")) from fault
    except ValueError as error:
        raise RecordError(problem("syntax", "boxes", f"expected JSON in {shown_name}, got {error}")) from error
    if not isinstance(content, dict) or not isinstance(content.get("trajectories"), list):
        missing = isinstance(content, dict) and "trajectories" not in content
        message = f"expected a list of trajectories in {shown_name}, got {'none' if missing else shown(content)}"
        raise RecordError(problem("missing-field" if missing else "wrong-type", "trajectories", message))
    trajectories: list[Any] = content["trajectories"]
    return trajectories


@contextmanager
def _collector_at_rest() -> Iterator[None]:
    """Keep Python from looking for cycles while a parser makes a hundred thousand objects: half of the time."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _keys_are_distinct(raw: bytes, content: object) -> bool:
    """Return whether no key that is used can have been written twice; False where only a slow check can say.

    The fast parser keeps the last of equal keys without a word. Here a key's text is counted instead.
    """
    if b"\\" in raw or not isinstance(content, dict) or not isinstance(content.get("trajectories"), list):
        return False
    count = sum(len(objects) for objects in content["trajectories"] if isinstance(objects, list))
    named = content.get("subject/objects")
    others = len(named) if isinstance(named, list) else 0
    return (
        raw.count(b'"trajectories"') == 1
        and all(raw.count(key) == count for key in (b'"bbox"', b'"xmin"', b'"ymin"', b'"xmax"', b'"ymax"'))
        and raw.count(b'"tid"') == count + others
    )
