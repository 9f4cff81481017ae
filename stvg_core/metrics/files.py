"""Reads predictions and annotations; a sample that is wrong is reported, and the others are read.

Files are foreign: every number is checked, and nothing of a file is run or opened.
"""

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from stvg_core._internal.plain_text import one_line
from stvg_core.errors import ScoreError
from stvg_core.metrics.sample_tube import SampleTruth, SampleTube

MOST_BYTES = 2**29
"""Largest file that is read: ten thousand samples with a box at each of a thousand frames still fit in.

Reading takes some seven times the files' length of memory (measured: 0.62 GB for 87 MB).
"""
_LONGEST_VALUE = 60
_MOST_DIGITS = 18
# Of one spelling, so that two keys never name one frame.
_FRAME_KEY = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)
_Box = Annotated[list[FiniteFloat], Field(min_length=4, max_length=4)]


class _PredictionEntry(BaseModel):
    """One sample of the predictions. Further keys are allowed: runners keep notes there."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    start_frame: int
    end_frame: int
    boxes: dict[str, _Box]
    num_frames: int | None = None


class _AnnotationEntry(_PredictionEntry):
    """One sample of the annotations."""

    num_frames: int
    query_type: Annotated[str, Field(max_length=100)] | None = None


class _Pairs(dict[str, Any]):
    """A JSON object that remembers which of its keys were given twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.repeated: tuple[str, ...] = ()
        if len(self) < len(pairs):
            self.repeated = tuple(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)


_Entry = TypeVar("_Entry", bound=_PredictionEntry)
_Value = TypeVar("_Value", SampleTube, SampleTruth)


def read_predictions(path: Path) -> dict[str, SampleTube | ScoreError]:
    """Return the predicted tube of each sample, or what is wrong with it.

    Raises:
        ScoreError: the file cannot be read, is no JSON object, or is too large.
    """
    return _read(path, "predictions", _PredictionEntry, _tube)


def read_annotations(path: Path) -> dict[str, SampleTruth | ScoreError]:
    """Return the truth of each sample, or what is wrong with it.

    Raises:
        ScoreError: the file cannot be read, is no JSON object, is too large, or holds no sample.
    """
    annotations = _read(path, "annotations", _AnnotationEntry, _truth)
    if not annotations:
        raise ScoreError(f"expected at least one sample in the annotations {path}, got none")
    return annotations


def parse_prediction(raw: object) -> SampleTube | ScoreError:
    """Return the predicted tube of one sample's JSON, or what is wrong with it."""
    return _parse(raw, _PredictionEntry, _tube, "")


def parse_annotation(raw: object) -> SampleTruth | ScoreError:
    """Return the truth of one sample's JSON, or what is wrong with it."""
    return _parse(raw, _AnnotationEntry, _truth, "")


def _tube(entry: _PredictionEntry) -> SampleTube:
    for key in entry.boxes:
        if not _FRAME_KEY.fullmatch(key):
            raise ScoreError(f"boxes: expected frame numbers such as 10 as keys, got {_shown(key)}")
    frames = np.array([int(key) for key in entry.boxes], dtype=np.int64)
    boxes = np.array(list(entry.boxes.values()), dtype=np.float64).reshape(-1, 4)
    order = np.argsort(frames)
    return SampleTube(entry.start_frame, entry.end_frame, frames[order], boxes[order], entry.num_frames)


def _truth(entry: _AnnotationEntry) -> SampleTruth:
    return SampleTruth(_tube(entry), entry.num_frames, entry.query_type)


def _read(
    path: Path, kind: str, model: type[_Entry], build: Callable[[_Entry], _Value]
) -> dict[str, _Value | ScoreError]:
    document = _load(path, kind)
    samples: dict[str, _Value | ScoreError] = {}
    for sample_id, raw in document.items():
        try:
            _refuse_repetition(sample_id, document)
        except ScoreError as error:
            samples[sample_id] = ScoreError(f"{error} (in {path.name})")
        else:
            samples[sample_id] = _parse(raw, model, build, f" (in {path.name})")
    return samples


def _parse(raw: object, model: type[_Entry], build: Callable[[_Entry], _Value], place: str) -> _Value | ScoreError:
    try:
        return build(model.model_validate(raw))
    except ValidationError as error:
        return ScoreError(f"{_first_error(error)}{place}")
    except ScoreError as error:
        return ScoreError(f"{error}{place}")


def _refuse_repetition(sample_id: str, document: _Pairs) -> None:
    """Refuse a sample, or a key in it, that is given twice: which of the two was meant?"""
    if sample_id in document.repeated:
        raise ScoreError("expected the sample once, got it several times")
    raw = document[sample_id]
    if isinstance(raw, _Pairs):
        for place, part in (("", raw), ("boxes.", raw.get("boxes"))):
            if isinstance(part, _Pairs) and part.repeated:
                raise ScoreError(f"{place}{_shown(part.repeated[0])}: expected the key once, got it several times")


def _load(path: Path, kind: str) -> _Pairs:
    """Return the file's object.

    Raises:
        ScoreError: it cannot be read, is too large, or holds something else.
    """
    try:
        if not path.is_file():
            state = "is no file" if path.exists() else "is missing"
            raise ScoreError(f"expected {kind} in a JSON file, but {path} {state}")
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise ScoreError(
                f"expected {kind} of at most {MOST_BYTES} bytes, got {size} in {path}; score in parts, or leave out "
                "boxes at frames that the protocol does not look at"
            )
        document = json.loads(path.read_bytes(), object_pairs_hook=_Pairs, parse_int=_parse_int)
    except OSError as error:
        raise ScoreError(f"expected {kind} that can be read, but {path} cannot: {error.strerror or error}") from error
    except RecursionError as error:
        raise ScoreError(f"expected {kind} as a JSON object, but {path} is nested too deeply") from error
    except ValueError as error:
        raise ScoreError(f"expected {kind} as JSON in {path}, got none: {error}") from error
    if not isinstance(document, _Pairs):
        raise ScoreError(f"expected {kind} as an object of samples in {path}, got {_shown(document)}")
    return document


def _parse_int(text: str) -> int | float:
    """Return an integer, or infinity where it has more digits than a frame or a pixel ever has."""
    return int(text) if len(text) <= _MOST_DIGITS else float("inf")


def _first_error(error: ValidationError) -> str:
    """Return where the first error is, what was expected, what came, and how many more there are."""
    errors = error.errors(include_url=False, include_context=False)
    first = errors[0]
    place = ".".join(str(part) for part in first["loc"])
    came = "" if first["type"] == "missing" else f", got {_shown(first['input'])}"
    more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    return f"{one_line(place, _LONGEST_VALUE) + ': ' if place else ''}{first['msg']}{came}{more}"


def _shown(value: object) -> str:
    """Return a foreign value, short."""
    if isinstance(value, list | dict) and len(value) > _LONGEST_VALUE:
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    return one_line(repr(value), _LONGEST_VALUE)
