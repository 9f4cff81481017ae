"""Objects found in key frames and followed both ways: the procedure of `grounding-dino+sam2`.

Forwards: in each key frame a detected box that overlaps no followed object is a new one and joins there.
Backwards: each object is followed from where it was found to the video's start, so one that a key frame missed, or
that entered between two of them, is there from its true beginning. Knows no particular detector.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from stvg_core.inputs.tracks.boxes import intersection_over_union
from stvg_core.plugin import RunLengthMask
from stvg_sam.detector import BoxDetector, FoundBoxes
from stvg_sam.frame_reader import FrameReader
from stvg_sam.objects import FollowedObject
from stvg_sam.sam2 import Masks, Sweep

FORWARDS: Final = False
BACKWARDS: Final = True

StartSweep = Callable[..., Sweep | Any]
"""Begins a sweep; called with `backwards`."""


def follow(
    pictures: FrameReader,
    key_positions: frozenset[int],
    detector: BoxDetector,
    start_sweep: StartSweep,
    match_overlap: float,
    most_objects: int,
) -> tuple[FollowedObject, ...]:
    """Return every object that a key frame shows, over all frames that show it, in the order of discovery.

    Args:
        pictures: the looked-at frames.
        key_positions: where the detector looks.
        detector: finds boxes.
        start_sweep: begins a sweep, `backwards` or not.
        match_overlap: a box that overlaps a followed object more is that object.
        most_objects: no further ones join.
    """
    objects: list[FollowedObject] = []
    sweep = start_sweep(backwards=FORWARDS)
    for position in range(len(pictures)):
        if sweep.has_objects:
            _record(objects, position, sweep.step(position))
        if position not in key_positions:
            continue
        found = detector.detect(pictures[position])
        new = _match(objects, position, found, match_overlap)[: max(0, most_objects - len(objects))]
        if not new:
            continue
        first = len(objects)
        objects += [
            FollowedObject(found.labels[place], float(found.scores[place]), position, found.boxes_xyxy[place])
            for place in new
        ]
        sweep.join(position, {number: objects[number].seed_box_xyxy for number in range(first, len(objects))})
        _record(objects, position, sweep.step(position))
    _follow_back(objects, start_sweep)
    return tuple(objects)


def _follow_back(objects: list[FollowedObject], start_sweep: StartSweep) -> None:
    """Follow each object from where it was found to the video's start."""
    late = [number for number, one in enumerate(objects) if one.seed > 0]
    if not late:
        return
    sweep = start_sweep(backwards=BACKWARDS)
    for position in range(max(objects[number].seed for number in late), -1, -1):
        joining = {number: objects[number].seed_box_xyxy for number in late if objects[number].seed == position}
        if joining:
            sweep.join(position, joining)
        masks = sweep.step(position)
        _record(objects, position, {number: mask for number, mask in masks.items() if position < objects[number].seed})


def _record(objects: list[FollowedObject], position: int, masks: Masks) -> None:
    for number, mask in masks.items():
        objects[number].masks.pop(position, None)
        if mask is not None:
            objects[number].masks[position] = RunLengthMask.of(mask)


def _match(objects: list[FollowedObject], position: int, found: FoundBoxes, overlap: float) -> list[int]:
    """Return which boxes are new objects; the others raise the score of the object that they show."""
    followed = [(one, box) for one in objects if (box := one.box_at(position)) is not None]
    if not followed:
        return list(range(len(found.scores)))
    overlaps = intersection_over_union(found.boxes_xyxy, np.stack([box for _, box in followed]))
    new = []
    for place, row in enumerate(overlaps):
        best = int(row.argmax())
        if row[best] < overlap:
            new.append(place)
        else:
            one = followed[best][0]
            one.score = max(one.score, float(found.scores[place]))
    return new
