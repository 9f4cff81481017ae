"""What each evaluation code counts, said again with sets of frames and loops; slow and easy to check.

Written from the description of the codes' rules, not from `stvg_core.metrics`: no function is shared.
"""

from collections.abc import Iterable
from dataclasses import dataclass

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Case:
    """A truth and a prediction; both ends of a span are in it."""

    frame_count: int
    true_start: int
    true_end: int
    true_boxes: dict[int, Box]
    start: int
    end: int
    boxes: dict[int, Box]


class CodeStopsError(Exception):
    """The code would raise, or divide zero by zero."""


def iou(first: Box, second: Box) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    common = width * height if width > 0 and height > 0 else 0.0
    areas = (first[2] - first[0]) * (first[3] - first[1]) + (second[2] - second[0]) * (second[3] - second[1])
    if areas == 0:
        raise ZeroDivisionError
    return common / (areas - common)


def strict_iou(case: Case, frame: int) -> float:
    try:
        return iou(case.boxes[frame], case.true_boxes[frame])
    except (KeyError, ZeroDivisionError) as error:
        raise CodeStopsError from error


def lenient_iou(case: Case, frame: int) -> float:
    try:
        return iou(case.boxes[frame], case.true_boxes[frame]) if frame in case.boxes else 0.0
    except ZeroDivisionError as error:
        raise CodeStopsError from error


def share(common: Iterable[int], either: Iterable[int]) -> float:
    return len(set(common)) / max(len(set(either)), 1)


def hull(first: set[int], second: set[int]) -> set[int]:
    both = first | second
    return set(range(min(both), max(both) + 1)) if both else set()


def _stcat(case: Case, at: object) -> tuple[float, float, float]:
    # The truth's last frame is lost, the prediction's is not; the hull reaches to where either stops.
    true = set(range(case.true_start, case.true_end))
    found = set(range(case.start, case.end + 1))
    whole = set(range(min(case.true_start, case.start), max(case.true_end, case.end + 1)))
    ious = {frame: at(case, frame) for frame in case.true_boxes}  # type: ignore[operator]
    video = sum(ious.get(frame, 0.0) for frame in true & found)
    return share(true & found, true | found), video / max(len(whole), 1), sum(ious.values()) / len(ious)


def stcat(case: Case) -> tuple[float, float, float]:
    return _stcat(case, strict_iou)


def cg_stvg(case: Case) -> tuple[float, float, float]:
    return _stcat(case, lenient_iou)


def tubedetr(case: Case) -> tuple[float, float, float]:
    rate = min(5 / (case.frame_count / 20), 1.0)
    sampled = [0]
    for frame in range(case.frame_count - 1):
        if int(sampled[-1] * rate) < int(frame * rate):
            sampled.append(frame)
    true = set(range(case.true_start, case.true_end + 1))
    found = set(range(case.start, case.end + 1))
    ious = {frame: strict_iou(case, frame) for frame in sampled if frame in true}
    whole = hull(true, found) & set(sampled)
    video = sum(value for frame, value in ious.items() if frame in found)
    return share(true & found, true | found), video / max(len(whole), 1), sum(ious.values()) / max(len(ious), 1)


def released_hcstvg(case: Case) -> tuple[float, float, float]:
    true = set(range(case.true_start, case.true_end + 1))
    found = set(range(case.start, case.end + 1))
    ious = {frame: lenient_iou(case, frame) for frame in case.true_boxes}
    video = sum(ious.get(frame, 0.0) for frame in true & found)
    # tIoU alone forgets both last frames.
    true_short, found_short = true - {case.true_end}, found - {case.end}
    temporal = share(true_short & found_short, true_short | found_short)
    return temporal, video / len(hull(true, found)), sum(ious.values()) / len(ious)


def released_vidstg(case: Case) -> tuple[float, float, float]:
    true = set(range(case.true_start, case.true_end))
    found = set(range(case.start, case.end))
    whole = set(range(min(case.true_start, case.start), max(case.true_end, case.end)))
    ious = {frame: strict_iou(case, frame) for frame in case.true_boxes}
    video = sum(ious.get(frame, 0.0) for frame in true & found)
    return share(true & found, true | found), video / max(len(whole), 1), sum(ious.values()) / len(ious)


def organiser(case: Case) -> tuple[float, float, float]:
    total = 0.0
    common = [frame for frame in case.true_boxes if frame in case.boxes]
    for frame in common:
        try:
            total += iou(case.boxes[frame], case.true_boxes[frame])
        except ZeroDivisionError:
            continue
    frames = max(case.true_end, case.end) - min(case.true_start, case.start) + 1
    return len(common) / frames, total / frames, total / len(case.true_boxes)


PLAIN = {
    "stcat": stcat,
    "cg-stvg": cg_stvg,
    "ta-stvg": cg_stvg,
    "tubedetr": tubedetr,
    "released-hcstvg": released_hcstvg,
    "released-vidstg": released_vidstg,
    "organiser": organiser,
}
