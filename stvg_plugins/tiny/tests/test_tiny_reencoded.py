"""The demo clip as other files: the tube must not depend on codec, container, frame rate or rotation flag."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from stvg_core import Session, Tube, ground, open_session
from stvg_core.devtools.demos import DemoCase, find_demos
from stvg_core.inputs.video import iterate_frames, probe_video
from stvg_core.metrics import tube_overlap

FRAME_SECONDS = 1 / 20


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with open_session("tiny:qwen2-vl") as opened:
        yield opened


@pytest.fixture(scope="module")
def case() -> DemoCase:
    return next(case for case in find_demos() if case.name == "easy")


@pytest.fixture(scope="module")
def original(case: DemoCase, session: Session) -> Tube:
    return ground(case.video, case.query, model=session).tube


def pictures(case: DemoCase) -> list[np.ndarray]:
    info = probe_video(case.video)
    return [picture for _, picture in iterate_frames(case.video, info, 0, info.frame_count - 1)]


def encode(
    path: Path, shown: list[np.ndarray], codec: str, rate: int, options: dict[str, str], quarter_turns: int = 0
) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(rate), options=options)
        stream.width, stream.height = shown[0].shape[1], shown[0].shape[0]
        stream.pix_fmt = "yuv420p"
        if quarter_turns:
            stream.set_display_rotation(quarter_turns * 90)
        for picture in shown:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def vp9(folder: Path, case: DemoCase) -> Path:
    options = {"crf": "12", "b": "0", "deadline": "realtime", "cpu-used": "8"}
    return encode(folder / "clip.webm", pictures(case), "libvpx-vp9", 20, options)


def hevc_at_twice_the_rate(folder: Path, case: DemoCase) -> Path:
    shown = [picture for picture in pictures(case) for _ in range(2)]
    options = {"crf": "12", "preset": "ultrafast", "x265-params": "log-level=none"}
    return encode(folder / "clip.mkv", shown, "libx265", 40, options)


def rotated(folder: Path, case: DemoCase) -> Path:
    # Stored lying on its side, with a flag that sets it upright.
    shown = [np.rot90(picture, k=-1) for picture in pictures(case)]
    return encode(folder / "clip.mp4", shown, "libx264", 20, {"crf": "12"}, quarter_turns=1)


@pytest.mark.parametrize("write", [vp9, hevc_at_twice_the_rate, rotated])
def test_the_same_tube_within_a_frame_and_two_pixels(
    write: object, case: DemoCase, session: Session, original: Tube, tmp_path: Path
) -> None:
    path = write(tmp_path, case)  # type: ignore[operator]
    tube = ground(path, case.query, model=session).tube
    assert abs(tube.span.start_seconds - original.span.start_seconds) <= FRAME_SECONDS + 1e-6
    assert abs(tube.span.end_seconds - original.span.end_seconds) <= FRAME_SECONDS + 1e-6
    for corner in range(4):
        boxes = np.interp(original.frame_seconds, tube.frame_seconds, tube.boxes_xyxy[:, corner])
        common = (original.frame_seconds >= tube.frame_seconds[0]) & (original.frame_seconds <= tube.frame_seconds[-1])
        assert common.any()
        assert np.abs(boxes - original.boxes_xyxy[:, corner])[common].max() <= 2.0


def test_the_rotated_file_really_is_rotated(case: DemoCase, tmp_path: Path) -> None:
    path = rotated(tmp_path, case)
    first = pictures(case)[0].astype(int)
    with av.open(str(path)) as container:
        stored = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    _, shown = next(iter(iterate_frames(path, probe_video(path), 0, 0)))
    assert np.abs(stored - first).mean() > 2 * np.abs(shown.astype(int) - first).mean()


def test_the_demo_tube_meets_its_truth(case: DemoCase, original: Tube) -> None:
    overlap = tube_overlap(original, case.truth(probe_video(case.video)))
    assert overlap.video_iou > 0.4
