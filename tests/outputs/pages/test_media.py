"""Videos of pages: linked where browsers play them, encoded where not; never outside, never half, never twice."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from stvg_core.errors import OutputError, UsageError, VideoError
from stvg_core.inputs.video import probe_video
from stvg_core.inputs.video.source import FileIdentity
from stvg_core.outputs.report.pages import media
from stvg_core.outputs.report.pages.media import check_media_choice, place_video, playable_offset
from tests.support.pages import FRAMES, frame_seconds, write_clip


def encoded(path: Path, codec: str, pix_fmt: str = "yuv420p", size: tuple[int, int] = (64, 48), start: int = 0) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        for number in range(6):
            frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), 40 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = start + number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_a_video_that_browsers_play_is_linked_once(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a'b \"<c>.mp4")
    info = probe_video(clip)
    first = place_video(clip, info, tmp_path / "media", "link")
    again = place_video(clip, info, tmp_path / "media", "link")
    assert first == again
    assert (first.offset_seconds, first.note) == (0.0, "")
    (placed,) = (tmp_path / "media").iterdir()
    assert placed.name == first.name
    assert set(placed.stem) <= set("0123456789abcdef")
    assert placed.stat().st_ino == clip.stat().st_ino
    # The file is another one now.
    write_clip(clip)
    os.utime(clip, (1, 1))
    assert place_video(clip, probe_video(clip), tmp_path / "media", "link").name != first.name


def test_where_no_link_can_be_made_the_file_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = write_clip(tmp_path / "clip.mp4")

    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    placed = tmp_path / "media" / place_video(clip, probe_video(clip), tmp_path / "media", "link").name
    assert placed.read_bytes() == clip.read_bytes()
    assert placed.stat().st_ino != clip.stat().st_ino


def test_a_link_to_a_video_is_resolved(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    (tmp_path / "other.mp4").symlink_to(clip)
    placed = (
        tmp_path / "media" / place_video(tmp_path / "other.mp4", probe_video(clip), tmp_path / "media", "link").name
    )
    assert not placed.is_symlink()


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mp4", "mpeg4", "yuv420p"),
        ("a.mkv", "libx264", "yuv420p"),
        ("a.mp4", "libx264", "yuv444p"),
        ("a.avi", "mpeg4", "yuv420p"),
    ],
)
def test_what_browsers_do_not_play_is_encoded_with_its_times(
    name: str, codec: str, pix_fmt: str, tmp_path: Path
) -> None:
    clip = encoded(tmp_path / name, codec, pix_fmt)
    info = probe_video(clip)
    placed = place_video(clip, info, tmp_path / "media", "link")
    copy = probe_video(tmp_path / "media" / placed.name)
    assert placed.name.endswith(".mp4")
    assert "H.264" in placed.note
    assert np.abs(copy.frame_seconds - info.frame_seconds).max() < 1e-4
    with av.open(str(tmp_path / "media" / placed.name)) as container:
        assert container.streams.video[0].codec_context.codec.canonical_name == "h264"


def test_large_videos_are_encoded_smaller_and_even(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "ENCODED_SIDE_PIXELS", 50)
    clip = encoded(tmp_path / "a.avi", "mpeg4", size=(130, 74))
    placed = place_video(clip, probe_video(clip), tmp_path, "encode", "video")
    copy = probe_video(tmp_path / placed.name)
    assert (copy.width, copy.height) == (50, 28)
    assert placed.name == "video.mp4"


def test_variable_frame_times_survive_encoding(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    placed = place_video(clip, probe_video(clip), tmp_path / "media", "encode")
    copy = probe_video(tmp_path / "media" / placed.name)
    assert copy.frame_seconds == pytest.approx(frame_seconds()[:FRAMES], abs=1e-4)


def test_a_container_that_does_not_begin_at_zero_is_encoded(tmp_path: Path) -> None:
    clip = encoded(tmp_path / "late.mp4", "libx264", start=30)
    late = playable_offset(FileIdentity.of(clip), probe_video(clip))
    assert late is None or abs(late) < 1e-6
    plain = encoded(tmp_path / "plain.mp4", "libx264")
    assert playable_offset(FileIdentity.of(plain), probe_video(plain)) == pytest.approx(0.0)


def test_nothing_is_left_where_encoding_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = encoded(tmp_path / "a.avi", "mpeg4")
    info = probe_video(clip)

    def fail(*_: object, **__: object) -> None:
        raise VideoError("it broke")

    monkeypatch.setattr(media, "encode_video", fail)
    with pytest.raises(VideoError):
        place_video(clip, info, tmp_path / "media", "link")
    assert list((tmp_path / "media").iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose another folder"):
        place_video(clip, probe_video(clip), tmp_path / "file" / "media", "link")


def test_choices() -> None:
    assert check_media_choice("encode") == "encode"
    with pytest.raises(UsageError, match="expected --media link, encode, none, got 'all'"):
        check_media_choice("all")
