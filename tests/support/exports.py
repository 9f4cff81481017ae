"""Samples of any shape for the formats, and readers that know nothing of the writers."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

from stvg_core.evaluation.exports.samples import ExportedSample, ExportedTube, ExportedVideo
from stvg_core.evaluation.exports.sources import ExportSource

Boxes = dict[int, tuple[float, ...]]
NASTY = (
    'a man & a <b>"woman"</b>',
    "<img src=x onerror=alert(1)>",
    "]]>",
    "男人走路 \N{MAN}",
    "a\u2028b",
    "100 %, 'so'",
)


@dataclass
class GivenSource(ExportSource):
    """Samples that are at hand."""

    given: list[ExportedSample]
    model: str = "tiny:qwen2-vl"
    left_out: dict[str, str] = field(default_factory=dict)

    def samples(self) -> Iterator[ExportedSample]:
        yield from self.given


def boxes_of(tube: ExportedTube) -> Boxes:
    return {frame: tuple(box) for frame, box in zip(tube.frames.tolist(), tube.boxes_xyxy.tolist(), strict=True)}


@st.composite
def tubes(draw: st.DrawFn, video: ExportedVideo, role: str, step: int = 1) -> ExportedTube:
    start = draw(st.integers(0, (video.frame_count - 1) // step)) * step
    count = draw(st.integers(1, min(12, (video.frame_count - 1 - start) // step + 1)))
    frames = np.arange(start, start + count * step, step)
    corners = []
    for _ in range(count):
        x = sorted(draw(st.lists(st.integers(0, video.width * 1000), min_size=2, max_size=2)))
        y = sorted(draw(st.lists(st.integers(0, video.height * 1000), min_size=2, max_size=2)))
        corners.append([x[0] / 1000, y[0] / 1000, x[1] / 1000, y[1] / 1000])
    return ExportedTube(role, start, int(frames[-1]), frames, np.array(corners))  # type: ignore[arg-type]


@st.composite
def sources(draw: st.DrawFn, step: int = 1, most: int = 4) -> GivenSource:
    videos = [
        ExportedVideo(
            path,
            draw(st.integers(1, 4000)),
            draw(st.integers(1, 4000)),
            draw(st.integers(1, 400)),
            draw(st.sampled_from([23.976, 25.0, 30.0, 7.5])),
        )
        for path in draw(
            st.lists(
                st.sampled_from(["a.mp4", "b/a.mp4", "b_a.mp4", "../../c.mp4", 'd "<&>.mp4', "A.mp4"]),
                min_size=1,
                unique=True,
            )
        )
    ]
    samples = []
    for number in range(draw(st.integers(1, most))):
        video = draw(st.sampled_from(videos))
        prediction = draw(st.none() | tubes(video, "prediction"))
        truth = draw(tubes(video, "truth", step) if prediction is None else st.none() | tubes(video, "truth", step))
        samples.append(ExportedSample(f"s{number}", draw(st.sampled_from(NASTY)), video, prediction, truth))
    return GivenSource(samples)


def interpolated(keys: list[tuple[int, tuple[float, ...]]]) -> Boxes:
    """Return the box at every frame from the first key to the last, on lines, one frame at a time."""
    found = {keys[0][0]: keys[0][1]}
    for (first, box), (last, following) in pairwise(keys):
        for frame in range(first + 1, last + 1):
            share = (frame - first) / (last - first)
            found[frame] = tuple(a + share * (b - a) for a, b in zip(box, following, strict=True))
    return found


def assert_close(found: Boxes, expected: Boxes, tolerance: float) -> None:
    """Assert that the expected frames have the expected boxes; further frames may lie between them."""
    assert set(expected) <= set(found)
    assert (min(found), max(found)) == (min(expected), max(expected))
    for frame, box in expected.items():
        assert np.abs(np.array(found[frame]) - np.array(box)).max() <= tolerance, frame
