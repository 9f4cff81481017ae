"""Every protocol beside a plain restatement of its rules, the vectors of the codes themselves, and what must hold."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from stvg_core.errors import ScoreError, UsageError
from stvg_core.metrics import PROTOCOLS, Rules, SampleScores, SampleTube, find_protocol
from stvg_core.metrics.overlap import tube_overlap
from stvg_core.metrics.rules import RULE_TEXTS, rule_texts
from stvg_core.metrics.scoring import sampled_frames
from stvg_core.metrics.summary import METRIC_NAMES, SampleResult, count_statuses, score_samples, summarize
from stvg_core.values import Tube
from tests.support.plain_scores import PLAIN, Box, Case, CodeStopsError
from tests.support.scored_cases import NEAR_BOX, TRUE_BOX, same_box, score, truth, tube

# A perfect prediction scores 1 where the code does not lose the last frame of the truth alone.
EXACT = [name for name in PROTOCOLS if PROTOCOLS[name].rules.truth_end == PROTOCOLS[name].rules.predicted_end]


@st.composite
def cases(draw: st.DrawFn, smallest_video: int = 1) -> Case:
    """Spans that meet, touch, or lie apart; boxes on a coarse grid, so that ties and empty ones happen."""
    frame_count = draw(st.integers(smallest_video, 320))
    true_start = draw(st.integers(0, frame_count - 1))
    true_end = draw(st.integers(true_start, min(frame_count - 1, true_start + 40)))
    start = min(max(true_start + draw(st.integers(-45, 45)), 0), frame_count - 1)
    end = draw(st.integers(start, min(frame_count - 1, start + 40)))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    gaps, around = draw(st.sampled_from([0.0, 0.0, 0.2])), draw(st.integers(0, 90))

    def box(smallest: int) -> Box:
        left, top = generator.integers(0, 6, 2).tolist()
        width, height = generator.integers(smallest, 6, 2).tolist()
        return float(left), float(top), float(left + width), float(top + height)

    # An annotated box may be empty too; rarely, or codes would stop all the time.
    flat = draw(st.sampled_from([0, 1, 1]))
    true_boxes = {frame: box(flat) for frame in range(true_start, true_end + 1)}
    reach = range(max(0, start - around), min(frame_count, end + 1 + around))
    return Case(
        frame_count,
        true_start,
        true_end,
        true_boxes,
        start,
        end,
        {frame: box(flat) for frame in reach if generator.random() >= gaps},
    )


@pytest.mark.parametrize("name", PROTOCOLS)
@settings(max_examples=50)
@given(case=cases())
def test_a_protocol_agrees_with_its_plain_restatement(name: str, case: Case) -> None:
    try:
        expected = PLAIN[name](case)
    except CodeStopsError:
        with pytest.raises(ScoreError, match=r"^boxes"):
            score(case, PROTOCOLS[name].rules)
        return
    assert score(case, PROTOCOLS[name].rules) == pytest.approx(expected, abs=1e-9)


# Measured by running each code: truth's span, predicted span, then tIoU and vIoU by code; gt_vIoU is 0.6.
VECTORS = [
    (
        ((10, 19), (10, 19)),
        {"stcat": (0.9, 0.54), "released": (1, 0.6), "vidstg": (1, 0.6), "tubedetr": (1, 0.6), "organiser": (1, 0.6)},
    ),
    (
        ((10, 19), (15, 24)),
        {
            "stcat": (0.266667, 0.16),
            "released": (0.285714, 0.2),
            "vidstg": (0.285714, 0.171429),
            "tubedetr": (0.333333, 0.2),
            "organiser": (0.333333, 0.2),
        },
    ),
    (((10, 19), (40, 49)), dict.fromkeys(("stcat", "released", "vidstg", "tubedetr", "organiser"), (0, 0))),
    (
        ((10, 10), (10, 10)),
        {"stcat": (0, 0), "released": (0, 0.6), "vidstg": (0, 0), "tubedetr": (1, 0.6), "organiser": (1, 0.6)},
    ),
]
CODES = {
    "stcat": "stcat",
    "cg-stvg": "stcat",
    "ta-stvg": "stcat",
    "tubedetr": "tubedetr",
    "released-hcstvg": "released",
    "released-vidstg": "vidstg",
    "organiser": "organiser",
}


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize(("spans", "expected"), VECTORS)
def test_the_codes_own_numbers(
    name: str, spans: tuple[tuple[int, int], tuple[int, int]], expected: dict[str, tuple[float, float]]
) -> None:
    # The organiser's files have boxes inside spans alone; every other code is given one at each frame.
    case = same_box(*spans, around=0 if name == "organiser" else 1000)
    temporal, video, truth_video = score(case, PROTOCOLS[name].rules)
    assert (temporal, video) == pytest.approx(expected[CODES[name]], abs=5e-7)
    if name != "organiser":
        assert truth_video == pytest.approx(0.6)


def test_the_cap_of_a_code_that_refuses_short_clips() -> None:
    assert sampled_frames(60).tolist() == list(range(59))
    assert sampled_frames(1).tolist() == [0]
    assert sampled_frames(100).tolist() == list(range(99))
    assert sampled_frames(500).tolist() == list(range(0, 499, 5))
    assert max(len(sampled_frames(count)) for count in range(1, 3000)) <= 200


@pytest.mark.parametrize("name", PROTOCOLS)
@settings(max_examples=25)
@given(case=cases())
def test_scores_lie_between_zero_and_one(name: str, case: Case) -> None:
    try:
        scores = score(case, PROTOCOLS[name].rules)
    except ScoreError:
        return
    assert all(0 <= value <= 1 + 1e-12 for value in scores)
    assert scores[1] <= 1 + 1e-12


@st.composite
def rule_sets(draw: st.DrawFn) -> Rules:
    chosen = {name: draw(st.sampled_from(sorted(values))) for name, values in RULE_TEXTS.items()}
    try:
        return Rules(**chosen)  # type: ignore[arg-type]
    except ScoreError:
        reject()


@settings(max_examples=60)
@given(case=cases(), rules=rule_sets())
def test_any_rules_that_go_together_stay_between_zero_and_one(case: Case, rules: Rules) -> None:
    try:
        scores = score(case, rules)
    except ScoreError:
        return
    assert all(0 <= value <= 1 + 1e-12 for value in scores)


@pytest.mark.parametrize("name", PROTOCOLS)
@settings(max_examples=20)
@given(case=cases(smallest_video=2))
def test_a_perfect_prediction(name: str, case: Case) -> None:
    boxes = dict.fromkeys(case.true_boxes, TRUE_BOX)
    case = replace(case, true_boxes=boxes, start=case.true_start, end=case.true_end, boxes=boxes)
    temporal, video, truth_video = score(case, PROTOCOLS[name].rules)
    length = case.true_end - case.true_start + 1
    if name == "tubedetr":
        sampled = set(sampled_frames(case.frame_count).tolist()) & set(boxes)
        assert (temporal, video, truth_video) == pytest.approx((1, float(bool(sampled)), float(bool(sampled))))
        return
    assert truth_video == pytest.approx(1)
    if name not in EXACT:
        assert (temporal, video) == pytest.approx(((length - 1) / length,) * 2)
    elif length > 1:
        assert (temporal, video) == pytest.approx((1, 1))


@pytest.mark.parametrize("name", PROTOCOLS)
@settings(max_examples=20)
@given(first=st.integers(0, 20), length=st.integers(1, 20), gap=st.integers(0, 30), later=st.integers(1, 20))
def test_disjoint_spans_score_nothing(name: str, first: int, length: int, gap: int, later: int) -> None:
    spans = (first, first + length - 1), (first + length + gap, first + length + gap + later - 1)
    for true, found in (spans, spans[::-1]):
        case = same_box(true, found, around=0 if name == "organiser" else 1000)
        temporal, video, truth_video = score(case, PROTOCOLS[name].rules)
        assert (temporal, video) == (0, 0)
        assert truth_video == pytest.approx(0 if name == "organiser" else 0.6)


@pytest.mark.parametrize("name", PROTOCOLS)
@settings(max_examples=20)
@given(case=cases())
def test_exchanging_truth_and_prediction(name: str, case: Case) -> None:
    # Boxes everywhere, so that no code stops; the truth's own lie in its span.
    boxes = {frame: (float(frame % 7), 0.0, 10.0, 10.0) for frame in range(case.frame_count)}
    others = {frame: (0.0, float(frame % 5), 10.0, 10.0) for frame in range(case.frame_count)}

    def directed(true: tuple[int, int], found: tuple[int, int], exchanged: bool) -> tuple[float, float, float]:
        first, second = (others, boxes) if exchanged else (boxes, others)
        inside = {frame: first[frame] for frame in range(true[0], true[1] + 1)}
        kept = range(found[0], found[1] + 1) if name == "organiser" else range(case.frame_count)
        return score(
            Case(case.frame_count, *true, inside, *found, {frame: second[frame] for frame in kept}),
            PROTOCOLS[name].rules,
        )

    spans = (case.true_start, case.true_end), (case.start, case.end)
    forth, back = directed(*spans, False), directed(*spans[::-1], True)
    if name in EXACT or spans[0] == spans[1]:
        assert forth[:2] == pytest.approx(back[:2])


def test_codes_that_lose_the_truths_last_frame_alone_are_not_symmetric() -> None:
    rules = PROTOCOLS["stcat"].rules
    assert score(same_box((10, 19), (10, 14)), rules)[0] == pytest.approx(5 / 9)
    assert score(same_box((10, 14), (10, 19)), rules)[0] == pytest.approx(4 / 10)


@pytest.mark.parametrize("name", PROTOCOLS)
@settings(max_examples=20)
@given(case=cases())
def test_boxes_outside_the_predicted_span(name: str, case: Case) -> None:
    inside = {frame: box for frame, box in case.boxes.items() if case.start <= frame <= case.end}
    inside |= {frame: NEAR_BOX for frame in case.true_boxes if case.start <= frame <= case.end}
    filled = dict.fromkeys(case.true_boxes, NEAR_BOX) | inside
    without, more = replace(case, boxes=inside), replace(case, boxes=filled)
    # Nobody looks at a box outside both spans.
    most = replace(case, boxes=dict.fromkeys(range(case.frame_count), NEAR_BOX) | filled)
    rules = replace(PROTOCOLS[name].rules, empty_boxes="zero", missing_frame="zero")
    assert score(most, rules) == score(more, rules)
    if rules.common_frames == "spans":
        assert score(without, rules)[:2] == score(more, rules)[:2]
    else:
        assert score(without, rules)[0] <= score(more, rules)[0]
    assert score(without, rules)[2] <= score(more, rules)[2] + 1e-12


def test_boxes_outside_the_span_move_the_organisers_numbers() -> None:
    rules = PROTOCOLS["organiser"].rules
    assert score(same_box((10, 19), (15, 24), around=0), rules)[0] == pytest.approx(5 / 15)
    assert score(same_box((10, 19), (15, 24)), rules)[0] == pytest.approx(10 / 15)


@settings(max_examples=25)
@given(case=cases())
def test_sets_of_frames_give_the_overlap_of_tubes(case: Case) -> None:
    rules = Rules(temporal_measure="frames", video_union="union", missing_frame="zero", empty_boxes="zero")
    boxes = {frame: case.boxes.get(frame, NEAR_BOX) for frame in range(case.start, case.end + 1)}

    def as_tube(start: int, boxes: dict[int, Box]) -> Tube:
        return Tube(start, np.array([boxes[frame] for frame in sorted(boxes)]), np.arange(float(len(boxes))), 1.0)

    overlap = tube_overlap(as_tube(case.start, boxes), as_tube(case.true_start, case.true_boxes))
    scores = score(replace(case, boxes=boxes), rules)
    assert scores[:2] == pytest.approx((overlap.temporal_iou, overlap.video_iou))


def result(video_iou: float, status: str = "scored", counted: bool = True, name: str = "") -> SampleResult:
    return SampleResult(name or str(video_iou), status, SampleScores(video_iou, video_iou, video_iou), counted)  # type: ignore[arg-type]


def test_recall_counts_what_lies_strictly_above() -> None:
    results = [result(0.3), result(0.31), result(0.48), result(0.49), result(0.5), result(0.51)]
    expected = {"stcat": (5 / 6, 1 / 6), "released-vidstg": (5 / 6, 3 / 6), "organiser": (5 / 6, 1 / 6)}
    for name, recalls in expected.items():
        summary = summarize(results, PROTOCOLS[name].rules)
        assert (summary["vIoU@0.3"], summary["vIoU@0.5"]) == recalls
    reaching = summarize(results, Rules(comparison=">="))
    assert (reaching["vIoU@0.3"], reaching["vIoU@0.5"]) == (1, 2 / 6)


def test_the_mean_is_over_counted_samples() -> None:
    results = [result(0.6), result(0.0, "failed"), result(0.0, "missing", counted=False)]
    assert summarize(results, Rules())["m_vIoU"] == pytest.approx(0.3)
    assert count_statuses(results) == {"scored": 1, "missing": 1, "failed": 1}
    assert summarize(results[2:], Rules()) == dict.fromkeys(METRIC_NAMES, 0.0)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_missing_sample_is_zero_unless_the_code_drops_it(name: str) -> None:
    case = same_box((10, 19), (10, 19))
    truths = {"here": truth(case), "gone": truth(case), "bad": truth(case), "worse": ScoreError("unreadable")}
    found: dict[str, SampleTube | ScoreError] = {"here": tube(10, 19, case.boxes), "bad": ScoreError("broken")}
    results = {each.sample_id: each for each in score_samples(found, truths, PROTOCOLS[name].rules)}
    assert list(results) == list(truths)
    assert count_statuses(results.values()) == {"scored": 1, "missing": 1, "failed": 2}
    dropped = name not in ("tubedetr", "organiser")
    assert results["gone"].counted is not dropped
    one = results["here"].scores.video_iou
    assert summarize(list(results.values()), PROTOCOLS[name].rules)["m_vIoU"] == pytest.approx(
        one / (3 if dropped else 4)
    )


def test_every_value_of_every_rule_has_a_text_and_a_protocol_its_source() -> None:
    for protocol in PROTOCOLS.values():
        assert set(rule_texts(protocol.rules)) == set(vars(protocol.rules)) - {"comparison"}
        assert "@" in protocol.source
        assert ".py" in protocol.source
    with pytest.raises(UsageError, match="stcat, cg-stvg"):
        find_protocol("stcaT")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"thresholds": (0.3, 1.5)}, "0..1"),
        ({"common_frames": "boxes", "video_union": "union"}, "hull"),
        ({"common_frames": "boxes", "truth_end": "last-frame"}, "closed"),
    ],
)
def test_rules_that_make_no_sense_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ScoreError, match=message):
        Rules(**changes)  # type: ignore[arg-type]
