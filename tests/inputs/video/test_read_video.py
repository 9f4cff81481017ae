"""A file as a whole or in windows, as the settings want it."""

import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from stvg_core.errors import VideoError
from stvg_core.inputs.video import WindowedVideo, read_frames, read_video
from stvg_core.settings import load_settings
from stvg_core.values import Frames
from tests.support.clips import Clip, read_number, write_clip

SAMPLING = {"sampling.frame_count": 5}


def test_windows_of_a_file_are_its_segments(tmp_path: Path) -> None:
    path = write_clip(tmp_path, Clip(frame_count=100))
    settings = load_settings("paper", overrides=SAMPLING | {"windows.length_seconds": 1.0})
    video = read_video(path, settings)
    assert isinstance(video, WindowedVideo)
    assert video.windows == ((0, 24), (13, 37), (25, 49), (38, 62), (50, 74), (63, 87), (75, 99))
    with closing(video.each()) as pictures:
        found = list(pictures)
    for window, frames in zip(video.windows, found, strict=True):
        assert isinstance(frames, Frames)
        plain = read_frames(path, settings.sampling, segment=window)
        assert frames.segment == window
        np.testing.assert_array_equal(frames.indices, plain.indices)
        np.testing.assert_array_equal(frames.pixels, plain.pixels)
        assert [read_number(picture) - 1 for picture in frames.pixels] == frames.indices.tolist()
    assert video.seconds((13, 37)) == pytest.approx((0.52, 1.52))


@pytest.mark.parametrize("length_seconds", [None, 1.2, 60.0])
def test_a_video_no_longer_than_a_window_is_read_as_ever(tmp_path: Path, length_seconds: float | None) -> None:
    path = write_clip(tmp_path, Clip())
    settings = load_settings("paper", overrides=SAMPLING | {"windows.length_seconds": length_seconds})
    for segment in (None, (3, 20), (3, 900)):
        found, plain = read_video(path, settings, segment), read_frames(path, settings.sampling, segment=segment)
        assert isinstance(found, Frames)
        assert found.segment == plain.segment
        np.testing.assert_array_equal(found.indices, plain.indices)
        np.testing.assert_array_equal(found.pixels, plain.pixels)


def test_a_segment_that_reaches_beyond_the_end_is_cut_there(tmp_path: Path) -> None:
    path = write_clip(tmp_path, Clip(frame_count=100))
    settings = load_settings("paper", overrides=SAMPLING | {"windows.length_seconds": 1.0, "windows.overlap": 0})
    video = read_video(path, settings, (50, 900))
    assert isinstance(video, WindowedVideo)
    assert video.windows == ((50, 74), (75, 99))
    with pytest.raises(VideoError, match="expected frames 500 to 900"):
        read_video(path, settings, (500, 900))


def test_windows_that_nobody_wants_any_more_leave_no_thread(tmp_path: Path) -> None:
    path = write_clip(tmp_path, Clip(frame_count=100))
    video = read_video(path, load_settings("paper", overrides=SAMPLING | {"windows.length_seconds": 1.0}))
    assert isinstance(video, WindowedVideo)
    with closing(video.each()) as pictures:
        next(pictures)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("stvg-window")]
