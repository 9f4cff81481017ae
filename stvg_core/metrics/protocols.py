"""The rules of published evaluation codes, as presets.

Each preset was read from the file and function that it names, at that commit, and run against it;
the tests hold it against a plain restatement of the code's rules.
"""

from dataclasses import dataclass, replace

from stvg_core.errors import UsageError
from stvg_core.metrics.rules import Rules


@dataclass(frozen=True)
class ScoringProtocol:
    """A named way to score, with its source.

    Attributes:
        name: as `stvg score --protocol` takes it.
        rules: what is counted, and how.
        source: repository, commit, file and function whose numbers it gives.
        compares_with: papers whose tables it makes comparable.
        remarks: what that code does beyond the rules, a sentence each.
    """

    name: str
    rules: Rules
    source: str
    compares_with: str
    remarks: tuple[str, ...] = ()


_STCAT = Rules(truth_end="last-frame", predicted_end="one-past", missing_sample="drop")
_CG_STVG = replace(_STCAT, missing_frame="zero")
_ONE_FRAME_SHORT = "a perfect prediction of N frames scores (N - 1) / N, one of a single frame 0"
_TWO_PASSES = "the code interpolates boxes of two half-rate passes before it scores; hand in one box per frame"

_ALL = (
    ScoringProtocol(
        "stcat",
        _STCAT,
        "jy0205/STCAT@400f548 datasets/evaluation/hcstvg_eval.py and vidstg_eval.py, evaluate; "
        "the end + 1 in models/post_processor.py",
        "STCAT and papers that use its code; CG-STVG on VidSTG",
        (_ONE_FRAME_SHORT, _TWO_PASSES),
    ),
    ScoringProtocol(
        "cg-stvg",
        _CG_STVG,
        "HengLan/CGSTVG@f062d84 datasets/evaluation/hcstvg_eval.py, evaluate",
        "CG-STVG on HC-STVG",
        (_ONE_FRAME_SHORT, _TWO_PASSES, "its vidstg_eval.py stops at a missing box: protocol stcat gives its numbers"),
    ),
    ScoringProtocol(
        "ta-stvg",
        _CG_STVG,
        "HengLan/TA-STVG@904ad0c datasets/evaluation/hcstvg_eval.py and vidstg_eval.py, evaluate",
        "TA-STVG",
        (_ONE_FRAME_SHORT, _TWO_PASSES),
    ),
    ScoringProtocol(
        "tubedetr",
        Rules(frame_sampling="hcstvg-5fps"),
        "antoyang/TubeDETR@d70c0ee datasets/hcstvg_eval.py, HCSTVGGiouEvaluator; "
        "the end + 1 in models/postprocessors.py",
        "TubeDETR on HC-STVG (its corrected numbers)",
        (
            "a missing video stops the code; here it counts as 0",
            "the code refuses videos of fewer than 100 frames; here every frame of them but the last takes part",
            "its preprocessing keeps HC-STVG's 1-based start, which moves the truth by one frame; "
            "it is not part of the protocol",
        ),
    ),
    ScoringProtocol(
        "released-hcstvg",
        Rules(
            truth_end="last-frame",
            predicted_end="last-frame",
            video_range="closed",
            missing_frame="zero",
            missing_sample="drop",
        ),
        "zaiquanyang/LLaVA_Next_STVG@d904f1a stvg/datasets/evaluation/hcstvg_eval.py, evaluate",
        "the released code of arXiv 2509.15178 on HC-STVG",
        (
            "its files hold every 10th frame: number frames and spans by those",
            "tIoU is still a difference: a truth of one frame gives tIoU 0, and vIoU above 0",
        ),
    ),
    ScoringProtocol(
        "released-vidstg",
        Rules(
            truth_end="last-frame",
            predicted_end="last-frame",
            missing_sample="drop",
            thresholds=(0.3, 0.48),
        ),
        "zaiquanyang/LLaVA_Next_STVG@d904f1a stvg/datasets/evaluation/vidstg_eval.py, evaluate; "
        "the thresholds in its __init__.py, build_evaluator",
        "the released code of arXiv 2509.15178 on VidSTG",
        (
            "its files hold sampled frames: number frames and spans by those",
            "vIoU@0.5 counts samples above 0.48, as that code does; the JSON says so under thresholds",
        ),
    ),
    ScoringProtocol(
        "organiser",
        Rules(
            truth_end="last-frame",
            predicted_end="last-frame",
            temporal_measure="frames",
            video_range="closed",
            common_frames="boxes",
            missing_frame="zero",
            empty_boxes="zero",
        ),
        "tzhhhh123/HC-STVG@94ab6e9 eval_hcvg.py, hcvg_eval and iou2d",
        "the HC-STVG challenge",
        (
            "the challenge's own files have boxes inside the span alone; a box outside it is a common frame where the "
            "truth has one, so it moves tIoU and vIoU",
            "the code has no gt_vIoU: here it is the mean IoU over the frames of the truth, 0 where no box is",
        ),
    ),
)

PROTOCOLS: dict[str, ScoringProtocol] = {protocol.name: protocol for protocol in _ALL}
"""Every protocol by its name."""


def find_protocol(name: str) -> ScoringProtocol:
    """Return a protocol.

    Raises:
        UsageError: there is none of that name.

    >>> find_protocol("stcat").rules.truth_end
    'last-frame'
    """
    if name not in PROTOCOLS:
        raise UsageError(f"expected a protocol ({', '.join(PROTOCOLS)}), got {name!r}; docs/metrics.md compares them")
    return PROTOCOLS[name]
