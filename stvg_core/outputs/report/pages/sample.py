"""A sample as the page's player takes it: the video's times, the query, tubes, scores, maps; numbers and text alone.

Documents may come from a run folder of anywhere: whatever is no number or text where one should be is refused here,
so that the page's scripts need not ask. Boxes are flat lists of tenths of a pixel.
"""

import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any, Final, Literal

import numpy as np
from jaxtyping import Float64

from stvg_core.outputs.report.pages.media import Medium
from stvg_core.values import Tube, VideoInfo

Part = Literal["attribute", "action", ""]

LONGEST_TEXT: Final = 4000
_WORD: Final = re.compile(r"[^\W_]+(?:[-'\u2019][^\W_]+)*")
_TAKEN: Final = "\0"
_TIME_DIGITS: Final = 5
_SAME_STEP_SECONDS: Final = 0.0005
_TENTHS: Final = 10


def video_part(name: str, info: VideoInfo, medium: Medium, folder: str) -> dict[str, Any]:
    """Return a video whose file was read.

    Args:
        name: what the page calls it.
        info: what was read.
        medium: where it was placed.
        folder: of the media, relative to the page; empty for the page's own.
    """
    return {
        "name": text(name),
        "source": f"{folder}/{medium.name}".lstrip("/") if medium.name else None,
        "note": medium.note,
        "width": info.width,
        "height": info.height,
        "offset": round(medium.offset_seconds, 6),
        "end": round(info.frame_end_seconds(info.frame_count - 1), _TIME_DIGITS),
        "times": frame_times(info.frame_seconds),
    }


def unread_video_part(name: str, document: Mapping[str, Any], note: str) -> dict[str, Any]:
    """Return a video that was not decoded, as a grounding's document describes it; frames are taken as even.

    Raises:
        KeyError, TypeError, ValueError: the document is none.
    """
    video = document["video"]
    count = _whole(video["frame_count"])
    duration = _number(video.get("duration_seconds", 0.0)) or count / 25
    return {
        "name": text(name),
        "source": None,
        "note": note,
        "width": _whole(video["width"]),
        "height": _whole(video["height"]),
        "offset": 0.0,
        "end": duration,
        "times": {"count": count, "first": 0.0, "step": duration / max(1, count)},
    }


def frame_times(seconds: Float64[np.ndarray, " source_frame"]) -> dict[str, Any]:
    """Return presentation times: first and step where frames are even, else all of them.

    >>> frame_times(np.array([0.0, 0.5, 1.0]))
    {'count': 3, 'first': 0.0, 'step': 0.5}
    >>> frame_times(np.array([0.0, 0.5, 2.0]))
    {'seconds': [0.0, 0.5, 2.0]}
    """
    count = len(seconds)
    step = float(seconds[-1] - seconds[0]) / max(1, count - 1)
    even = float(seconds[0]) + step * np.arange(count)
    if count > 1 and step > 0 and np.abs(even - seconds).max() < _SAME_STEP_SECONDS:
        return {"count": count, "first": round(float(seconds[0]), _TIME_DIGITS), "step": step}
    return {"seconds": seconds.round(_TIME_DIGITS).tolist()}


def found_part(document: Mapping[str, Any], maps: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the part of a page about one grounding.

    Args:
        document: as `stvg ground --json` prints it.
        maps: as `stvg_core.outputs.report.kept_maps` stores them; None where there are none.

    Raises:
        KeyError, TypeError, ValueError: the document is none.
    """
    query, tube, scores = document["query"], document["tube"], document.get("scores", {})
    frames = scores.get("frames", [])
    attribute, action = text(query["attribute"]), text(query["action"])
    start, end = _whole(tube["start_frame"]), _whole(tube["end_frame"])
    boxes = _tenths([box["xyxy"] for box in tube["boxes"]])
    if len(boxes) != 4 * (end - start + 1):
        raise ValueError("a box is missing")
    return {
        "status": "ok",
        "attribute": attribute,
        "action": action,
        "decomposer": text(query.get("decomposer", "")),
        "parts": query_parts(text(query["text"]), attribute, action),
        "tube": {
            "start": start,
            "end": end,
            "start_seconds": _number(tube["start_seconds"]),
            "end_seconds": _number(tube["end_seconds"]),
            "boxes": boxes,
        },
        "scores": {
            "frames": [_whole(each["frame"]) for each in frames],
            "values": [_number(each["score"]) for each in frames],
            "tracks": len(scores.get("tracks", [])),
        },
        "margins": _margins(document.get("diagnostics", {})),
        "warnings": [text(warning) for warning in document.get("warnings", [])],
        "maps": maps,
    }


def query_parts(query: str, attribute: str, action: str) -> list[tuple[str, Part]]:
    """Return a query in pieces, each with the part it belongs to; the pieces together are the query.

    A decomposer may write a sub-query in words of its own; words that the query does not have are left out. Where
    both parts have a word, it is the attribute's: the action's subject is a stand-in for it.

    >>> query_parts("The man in blue walks away.", "the man in blue", "the man walks away")
    [('The man in blue', 'attribute'), (' ', ''), ('walks away', 'action'), ('.', '')]
    """
    matches = list(_WORD.finditer(query))
    words = [match.group().lower() for match in matches]
    marks: list[Part] = [""] * len(words)
    parts: tuple[tuple[Part, str], ...] = (("attribute", attribute), ("action", action))
    for part, sub_query in parts:
        open_words = [_TAKEN if mark else word for word, mark in zip(words, marks, strict=True)]
        targets = [match.group().lower() for match in _WORD.finditer(sub_query)]
        for start, _, length in SequenceMatcher(None, open_words, targets, autojunk=False).get_matching_blocks():
            marks[start : start + length] = [part] * length
    pieces: list[tuple[str, Part]] = []
    end = 0
    for match, mark in zip(matches, marks, strict=True):
        # What stands between two words of one part is of that part as well.
        joins = bool(pieces) and pieces[-1][1] == mark and mark != ""
        _add(pieces, query[end : match.start()], mark if joins else "")
        _add(pieces, match.group(), mark)
        end = match.end()
    _add(pieces, query[end:], "")
    return pieces


def _add(pieces: list[tuple[str, Part]], text: str, part: Part) -> None:
    if pieces and pieces[-1][1] == part:
        pieces[-1] = (pieces[-1][0] + text, part)
    elif text:
        pieces.append((text, part))


def _margins(diagnostics: Mapping[str, Any]) -> dict[str, float]:
    """Return the margins before each step of a prompt, and what came of the prompt, by branch."""
    margins = {text(name): _number(value) for name, value in diagnostics.items() if "_margin_" in name}
    for branch, effect in diagnostics.get("prompts", {}).items():
        for name in ("margin_after", "prompt_norm_share"):
            margins[f"{text(branch)}_{name}"] = _number(effect[name])
    return margins


def failed_part(kind: str, error: str, traceback: str = "") -> dict[str, Any]:
    """Return why a sample has no tube."""
    return {"status": "failed", "kind": text(kind), "error": text(error), "traceback": traceback[:20_000]}


def truth_of_tube(tube: Tube) -> dict[str, Any]:
    """Return a true tube whose boxes are one per source frame."""
    return {
        "start": tube.start_frame,
        "end": tube.end_frame,
        "frames": list(range(tube.start_frame, tube.end_frame + 1)),
        "boxes": _tenths(tube.boxes_xyxy.tolist()),
    }


def truth_of_annotation(annotation: Mapping[str, Any], frame_step: int) -> dict[str, Any]:
    """Return a true tube as `stvg score` reads it, in source frames.

    Args:
        annotation: span and boxes by counted frame.
        frame_step: every how many-th source frame is counted.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    boxes = sorted((int(frame), box) for frame, box in annotation["boxes"].items())
    return {
        "start": _whole(annotation["start_frame"]) * frame_step,
        "end": _whole(annotation["end_frame"]) * frame_step,
        "frames": [frame * frame_step for frame, _ in boxes],
        "boxes": _tenths([box for _, box in boxes]),
    }


def text(value: object) -> str:
    """Return a text that may be shown, cut where it is very long.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {type(value).__name__}")
    return value if len(value) <= LONGEST_TEXT else f"{value[:LONGEST_TEXT]} ..."


def _tenths(boxes: Sequence[Any]) -> list[int]:
    flat = np.asarray(boxes, dtype=np.float64).reshape(-1)
    if not np.isfinite(flat).all():
        raise ValueError("a box is not finite")
    tenths: list[int] = np.rint(_TENTHS * flat).astype(np.int64).tolist()
    return tenths


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise TypeError("expected a finite number")
    return float(value)


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 2**40:
        raise TypeError("expected a whole number")
    return value
