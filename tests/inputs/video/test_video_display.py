"""Pictures are what a viewer sees: rotation, pixel aspect, colours, transparency, bit depth, odd sizes."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from stvg_core.errors import VideoError
from stvg_core.inputs.video import iterate_frames, probe_video, read_frames
from stvg_core.settings import SamplingSettings

FORMATS = {
    "10-bit": {
        "name": "clip.mkv",
        "codec": "libx265",
        "pixel_format": "yuv420p10le",
        "options": {"preset": "ultrafast", "x265-params": "log-level=none:pools=1"},
    },
    "grey": {"name": "clip.mkv", "codec": "ffv1", "pixel_format": "gray"},
    "grey-10-bit": {"name": "clip.mkv", "codec": "ffv1", "pixel_format": "gray10le"},
    "alpha-qtrle": {"name": "clip.mov", "codec": "qtrle", "pixel_format": "argb"},
    "alpha-png": {"name": "clip.mov", "codec": "png", "pixel_format": "rgba"},
    "alpha-vp9": {
        "name": "clip.webm",
        "codec": "libvpx-vp9",
        "pixel_format": "yuva420p",
        "options": {"deadline": "realtime", "cpu-used": "8", "auto-alt-ref": "0"},
    },
    "gif": {"name": "clip.gif", "codec": "gif", "pixel_format": "rgb8", "rate": Fraction(10)},
    "odd-420": {
        "name": "clip.webm",
        "codec": "libvpx-vp9",
        "width": 65,
        "height": 49,
        "options": {"deadline": "realtime", "cpu-used": "8"},
    },
    "odd-444": {"pixel_format": "yuv444p", "width": 67, "height": 51},
    "av1": {"codec": "libsvtav1", "options": {"preset": "12", "svtav1-params": "lp=1"}},
    "prores": {"name": "clip.mov", "codec": "prores_ks", "pixel_format": "yuv422p10le"},
    "full-range": {"name": "clip.avi", "codec": "mjpeg", "pixel_format": "yuvj422p"},
}


@pytest.mark.parametrize("kind", FORMATS)
def test_formats_show_their_numbers(studio, kind, monkeypatch):
    monkeypatch.setenv("SVT_LOG", "0")
    wanted = FORMATS[kind]
    path = studio.write(frame_count=12, **wanted)
    info = probe_video(path)
    assert (info.width, info.height) == (wanted.get("width", 64), wanted.get("height", 48))
    frames = read_frames(path, SamplingSettings(frame_count=12))
    assert studio.numbers(frames.pixels) == list(range(12))
    assert np.abs(frames.pixels[4].astype(int) - studio.picture(5, info.width, info.height)).mean() < 12


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("clockwise_degrees", [0, 90, 180, 270])
def test_rotation_and_mirroring(studio, clockwise_degrees, mirrored):
    path = studio.write(
        width=96, height=48, frame_count=4, clockwise_degrees=clockwise_degrees, mirrored=mirrored, options={"qp": "5"}
    )
    expected = np.rot90(studio.picture(3, 96, 48), -clockwise_degrees // 90)
    if mirrored:
        expected = expected[:, ::-1]
    info = probe_video(path)
    assert (info.width, info.height) == ((96, 48) if clockwise_degrees % 180 == 0 else (48, 96))
    pictures = read_frames(path, SamplingSettings(frame_count=4)).pixels
    assert np.abs(pictures[2].astype(int) - expected).mean() < 6
    ((_, picture),) = iterate_frames(path, info, 2, 2, maximum_side_pixels=48)
    assert picture.shape[:2] == ((24, 48) if clockwise_degrees % 180 == 0 else (48, 24))


def test_a_phones_quarter_turn_matrix(studio):
    """The tkhd matrix a phone held upright writes: (0, 1, -1, 0), the stored right side shown at the bottom."""
    path = studio.write(width=96, height=48, frame_count=2, options={"qp": "5"})
    data = bytearray(path.read_bytes())
    identity = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    track_header = data.index(b"tkhd")
    position = data.index(identity, track_header)
    data[position : position + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    path.write_bytes(data)
    assert (probe_video(path).width, probe_video(path).height) == (48, 96)
    picture = read_frames(path, SamplingSettings(frame_count=1)).pixels[0]
    stored = studio.picture(1, 96, 48)
    assert picture[90, 40].mean() == pytest.approx(stored[47 - 40, 90].mean(), abs=20)
    assert np.abs(picture.astype(int) - np.rot90(stored, -1)).mean() < 6


@pytest.mark.parametrize(("ratio", "width"), [(Fraction(4, 3), 80), (Fraction(3, 4), 45), (Fraction(1, 100), 60)])
def test_sample_aspect_ratio_changes_the_width(studio, ratio, width):
    path = studio.write(width=60, height=48, sample_aspect_ratio=ratio, frame_count=3)
    info = probe_video(path)
    assert (info.width, info.height) == (width, 48)
    frames = read_frames(path, SamplingSettings(frame_count=3))
    assert frames.pixels.shape[1:3] == (48, width)
    assert studio.numbers(frames.pixels) == [0, 1, 2]


def test_sample_aspect_ratio_is_applied_before_rotation(studio):
    path = studio.write(width=60, height=48, sample_aspect_ratio=Fraction(4, 3), clockwise_degrees=90, frame_count=2)
    assert (probe_video(path).width, probe_video(path).height) == (48, 80)


def _flat(colour, width, height):
    return np.full((height, width, 3), colour, np.uint8)


@pytest.mark.parametrize(
    ("size", "stated", "red_in_file"),
    [
        ((64, 48), None, (81, 90, 240)),
        ((64, 48), 1, (63, 102, 240)),
        ((1280, 720), None, (63, 102, 240)),
        ((1280, 720), 5, (81, 90, 240)),
    ],
)
def test_red_is_red(studio, size, stated, red_in_file):
    """Red in the numbers of BT.601 and BT.709 (ITU-R), stated or by the size that players go by."""
    width, height = size
    path = studio.folder / "red.mp4"
    planes = np.stack([np.full((height, width), value, np.uint8) for value in red_in_file])
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
        if stated is not None:
            stream.codec_context.colorspace = stated
        container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv444p")))
        container.mux(stream.encode(None))
    pixels = read_frames(path, SamplingSettings(frame_count=1)).pixels
    assert np.abs(pixels.astype(int) - (255, 0, 0)).max() <= 3


def test_transparent_parts_are_black(studio):
    picture = np.zeros((48, 64, 4), np.uint8)
    picture[...] = (250, 100, 50, 0)
    picture[:, 32:, 3] = 255
    picture[24:, :, 3] = 128
    path = studio.write(
        name="clip.mov", codec="png", pixel_format="rgba", pictures=[picture, picture], picture_format="rgba"
    )
    pixels = read_frames(path, SamplingSettings(frame_count=1)).pixels[0]
    assert pixels[10, 10].tolist() == [0, 0, 0]
    assert pixels[10, 50].tolist() == [250, 100, 50]
    assert np.abs(pixels[40, 50].astype(int) - (125, 50, 25)).max() <= 1


def test_pictures_can_be_shrunk_while_boxes_keep_their_size(studio):
    frames = read_frames(
        studio.write(width=160, height=120, frame_count=5), SamplingSettings(frame_count=5), maximum_side_pixels=64
    )
    assert frames.pixels.shape == (5, 48, 64, 3)
    assert (frames.info.width, frames.info.height) == (160, 120)
    assert studio.numbers(frames.pixels) == list(range(5))


def test_a_size_below_one_is_refused(studio):
    path = studio.write(frame_count=2)
    with pytest.raises(VideoError, match="maximum_side_pixels"):
        read_frames(path, SamplingSettings(), maximum_side_pixels=0)


def test_the_size_may_change_within_a_stream(studio):
    with av.open(str(studio.folder / "a.ts"), "w") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(studio.picture(number + 1), format="rgb24")))
        container.mux(stream.encode(None))
    first = (studio.folder / "a.ts").read_bytes()
    other = studio.write(
        name="b.ts", codec="mpeg2video", width=128, height=96, frame_count=5, ticks=range(5, 10)
    ).read_bytes()
    path = studio.folder / "c.ts"
    path.write_bytes(first + other)
    info = probe_video(path)
    pictures = [picture for _, picture in iterate_frames(path, info, 0, info.frame_count - 1)]
    assert {picture.shape for picture in pictures} == {(48, 64, 3)}
