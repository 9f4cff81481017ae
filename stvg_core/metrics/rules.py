"""The named rules in which evaluation codes differ, and what each of them means in a line.

Throughout: the truth and the prediction each have a first and a last frame, both in the tube. A code
holds a span as two numbers; whether the second one is the last frame or the one after it is a rule.
"""

from dataclasses import dataclass
from typing import Literal, get_args, get_type_hints

from stvg_core.errors import ScoreError

EndNumber = Literal["last-frame", "one-past"]
TemporalMeasure = Literal["difference", "frames"]
VideoRange = Literal["half-open", "closed"]
VideoUnion = Literal["hull", "union"]
CommonFrames = Literal["spans", "boxes"]
FrameSampling = Literal["as-given", "hcstvg-5fps"]
MissingFrame = Literal["fail", "zero"]
EmptyBoxes = Literal["fail", "zero"]
MissingSample = Literal["zero", "drop"]
Comparison = Literal[">", ">="]


@dataclass(frozen=True)
class Rules:
    """One way to score a tube; `RULE_TEXTS` says what each value means.

    Attributes:
        truth_end: which number the code holds for the end of the truth.
        predicted_end: the same for the prediction.
        temporal_measure: how tIoU counts: differences of span numbers, or the frames that vIoU counts.
        video_range: whether vIoU's frames go up to the end number or include it.
        video_union: what vIoU divides by.
        common_frames: which frames vIoU sums over, and so what boxes outside the predicted span do.
        frame_sampling: which frames of the video take part.
        missing_frame: what happens where a frame of the truth has no predicted box.
        empty_boxes: what the IoU of two boxes without area is.
        missing_sample: what happens to an annotated sample without a prediction.
        thresholds: vIoU above which a sample counts, for vIoU@0.3 and vIoU@0.5.
        comparison: whether reaching the threshold is enough.

    Raises:
        ScoreError: a value is not one of those the rule knows, two do not go together, or a threshold is
            not in 0..1.
    """

    truth_end: EndNumber = "one-past"
    predicted_end: EndNumber = "one-past"
    temporal_measure: TemporalMeasure = "difference"
    video_range: VideoRange = "half-open"
    video_union: VideoUnion = "hull"
    common_frames: CommonFrames = "spans"
    frame_sampling: FrameSampling = "as-given"
    missing_frame: MissingFrame = "fail"
    empty_boxes: EmptyBoxes = "fail"
    missing_sample: MissingSample = "zero"
    thresholds: tuple[float, float] = (0.3, 0.5)
    comparison: Comparison = ">"

    def __post_init__(self) -> None:
        """Check that every rule has a value that it knows."""
        for name, kind in get_type_hints(Rules).items():
            value = getattr(self, name)
            if name != "thresholds" and value not in get_args(kind):
                raise ScoreError(f"expected {name} to be one of {', '.join(get_args(kind))}, got {value!r}")
        if not all(0 <= threshold <= 1 for threshold in self.thresholds):
            raise ScoreError(f"expected thresholds in 0..1, got {self.thresholds}")
        if self.common_frames == "boxes":
            # Else a frame with both boxes would be common without being among those that are divided by.
            if self.video_union == "union":
                raise ScoreError("expected video_union hull where common_frames is boxes, got union")
            if self.truth_end == "last-frame" and self.video_range == "half-open":
                raise ScoreError(
                    "expected video_range closed where common_frames is boxes and truth_end last-frame, got half-open"
                )

    def passes(self, video_iou: float, threshold: float) -> bool:
        """Return whether a vIoU counts at a threshold.

        >>> Rules().passes(0.5, 0.5), Rules(comparison=">=").passes(0.5, 0.5)
        (False, True)
        """
        return video_iou >= threshold if self.comparison == ">=" else video_iou > threshold


RULE_TEXTS: dict[str, dict[str, str]] = {
    "truth_end": {
        "last-frame": "the end number of the truth is its last frame",
        "one-past": "the end number of the truth is the frame after its last",
    },
    "predicted_end": {
        "last-frame": "the end number of the prediction is its last frame",
        "one-past": "the end number of the prediction is the frame after its last",
    },
    "temporal_measure": {
        "difference": "tIoU divides differences of the numbers (end - start); 0 where the spans do not overlap by one",
        "frames": "tIoU divides numbers of frames: common ones by those that vIoU divides by",
    },
    "video_range": {
        "half-open": "vIoU takes frames from start up to the end number, without it",
        "closed": "vIoU takes frames from start to the end number, with it",
    },
    "video_union": {
        "hull": "vIoU divides by all frames from the earlier start to the later end, a gap between the spans included",
        "union": "vIoU divides by the frames in either span",
    },
    "common_frames": {
        "spans": "vIoU sums over frames in both spans; boxes outside the predicted span count for gt_vIoU alone",
        "boxes": "vIoU sums over frames with a box in both files, outside the predicted span as well",
    },
    "frame_sampling": {
        "as-given": "every frame of the files takes part",
        "hcstvg-5fps": "5 frames per second of a 20 s clip take part, never the last one; every frame below 100 frames",
    },
    "missing_frame": {
        "fail": "a frame of the truth without a predicted box fails the sample (the code stops there)",
        "zero": "a frame of the truth without a predicted box adds 0",
    },
    "empty_boxes": {
        "fail": "two boxes without area fail the sample (the code divides 0 by 0)",
        "zero": "two boxes without area have IoU 0",
    },
    "missing_sample": {
        "zero": "a sample without a prediction counts as 0",
        "drop": "a sample without a prediction is LEFT OUT of the mean, as in that code; the counts say how many",
    },
}
"""What every value of every rule means, but for the thresholds, which `rule_texts` words."""


def rule_texts(rules: Rules) -> dict[str, str]:
    """Return a line per rule, by the rule's name, in the order of `Rules`.

    >>> rule_texts(Rules(thresholds=(0.3, 0.48)))["thresholds"]
    'vIoU@0.3 counts samples with vIoU > 0.3, vIoU@0.5 those with vIoU > 0.48'
    """
    lines = {name: texts[getattr(rules, name)] for name, texts in RULE_TEXTS.items()}
    low, high = (f"{rules.comparison} {threshold:g}" for threshold in rules.thresholds)
    return lines | {"thresholds": f"vIoU@0.3 counts samples with vIoU {low}, vIoU@0.5 those with vIoU {high}"}
