"""Every decoded picture is the source frame it is said to be, however it is reached."""

from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stvg_core.errors import VideoError
from stvg_core.inputs.video import decoding, iterate_frames, probe_video, read_frames, sample_indices
from stvg_core.inputs.video.source import FileIdentity, open_container, video_stream
from stvg_core.inputs.video.timeline import Timeline, scan
from stvg_core.settings import SamplingSettings

LOSSY = {
    "h264-mp4": {"options": {"bf": "3", "g": "24"}},
    "h264-open-gop-mkv": {
        "name": "clip.mkv",
        "options": {"x264-params": "open-gop=1:bframes=3:scenecut=0:b-adapt=0:keyint=24"},
    },
    "h264-every-frame-key": {"options": {"g": "1"}},
    "h264-one-key": {"options": {"bf": "3", "g": "1000"}},
    "h264-bit-by-bit": {"options": {"x264-params": "intra-refresh=1:keyint=24"}},
    "h264-ts": {"name": "clip.ts", "options": {"bf": "2", "g": "24"}},
    "h264-avi": {"name": "clip.avi", "options": {"bf": "2", "g": "24"}},
    "h264-without-container": {"name": "clip.h264", "options": {"bf": "2", "g": "24"}},
    "h264-fragments": {
        "container_options": {"movflags": "frag_keyframe+empty_moov"},
        "options": {"bf": "2", "g": "24"},
    },
    "hevc-mkv": {
        "name": "clip.mkv",
        "codec": "libx265",
        "rate": Fraction(30000, 1001),
        "options": {"preset": "ultrafast", "x265-params": "log-level=none:keyint=24:bframes=3:open-gop=1:pools=1"},
    },
    "vp9-webm": {
        "name": "clip.webm",
        "codec": "libvpx-vp9",
        "options": {"deadline": "realtime", "cpu-used": "8", "g": "24", "lag-in-frames": "16", "auto-alt-ref": "1"},
    },
    "vp8-webm": {
        "name": "clip.webm",
        "codec": "libvpx",
        "options": {"deadline": "good", "cpu-used": "16", "g": "24", "lag-in-frames": "16", "auto-alt-ref": "1"},
    },
    "mpeg4-avi": {"name": "clip.avi", "codec": "mpeg4", "options": {"bf": "2", "g": "12"}},
    "mpeg2-ps": {"name": "clip.mpg", "codec": "mpeg2video", "options": {"bf": "2", "g": "12"}},
    "flv": {"name": "clip.flv", "codec": "flv", "options": {"g": "12"}},
    "mjpeg-avi": {"name": "clip.avi", "codec": "mjpeg", "pixel_format": "yuvj420p"},
}


@pytest.mark.parametrize("kind", LOSSY)
def test_every_frame_reached_alone_equals_the_streamed_one(studio, kind):
    frame_count = 120
    path = studio.write(frame_count=frame_count, **LOSSY[kind])
    info = probe_video(path)
    assert info.frame_count == frame_count
    streamed = list(iterate_frames(path, info, 0, frame_count - 1))
    assert [number for number, _ in streamed] == list(range(frame_count))
    assert studio.numbers(picture for _, picture in streamed) == list(range(frame_count))
    for number in range(0, frame_count, 1 if kind in {"h264-mp4", "h264-open-gop-mkv"} else 7):
        ((alone_number, alone),) = iterate_frames(path, info, number, number)
        assert alone_number == number
        assert studio.numbers([alone]) == [number]
        if kind != "h264-bit-by-bit":
            np.testing.assert_array_equal(alone, streamed[number][1])


@pytest.mark.parametrize("kind", LOSSY)
def test_sampled_frames_are_the_named_ones(studio, kind):
    path = studio.write(frame_count=240, **LOSSY[kind])
    for frame_count in (1, 3, 20):
        frames = read_frames(path, SamplingSettings(frame_count=frame_count))
        assert frames.indices.tolist() == np.linspace(0, 239, frame_count).round().astype(int).tolist()
        assert studio.numbers(frames.pixels) == frames.indices.tolist()


@pytest.fixture(scope="module")
def long_clip(shared_studio):
    path = shared_studio.write(name="long.mp4", frame_count=1000, options={"bf": "3", "g": "30", "preset": "ultrafast"})
    return path, shared_studio


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(1, 60), side=st.none() | st.integers(24, 80))
def test_any_count_gives_the_named_frames(long_clip, count, side):
    path, studio = long_clip
    frames = read_frames(path, SamplingSettings(frame_count=count), maximum_side_pixels=side)
    assert len(frames) == count
    assert studio.numbers(frames.pixels) == frames.indices.tolist()
    assert max(frames.pixels.shape[1:3]) == min(side or 64, 64)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.integers(0, 999), length=st.integers(1, 40))
def test_any_range_streams_the_named_frames(long_clip, start, length):
    path, studio = long_clip
    end = min(start + length - 1, 999)
    streamed = list(iterate_frames(path, probe_video(path), start, end))
    assert [number for number, _ in streamed] == list(range(start, end + 1))
    assert studio.numbers(picture for _, picture in streamed) == list(range(start, end + 1))


def test_sparse_frames_are_sought_and_few_packets_decoded(long_clip, monkeypatch):
    path, _ = long_clip
    decoded, moves = [], []
    next_numbered, move_to = decoding.FrameDecoder._next_numbered, decoding.FrameDecoder._move_to

    def counting(self):
        packet = next_numbered(self)
        decoded.append(packet)
        return packet

    def noting(self, packet_number):
        moves.append(packet_number)
        move_to(self, packet_number)

    probe_video(path)
    monkeypatch.setattr(decoding.FrameDecoder, "_next_numbered", counting)
    monkeypatch.setattr(decoding.FrameDecoder, "_move_to", noting)
    read_frames(path, SamplingSettings(frame_count=9))
    assert len(decoded) < 9 * (30 + 16)
    assert len(moves) == 9


@pytest.mark.parametrize("kind", ["h264-open-gop-mkv", "hevc-mkv", "mpeg2-ps", "h264-mp4"])
def test_decoding_from_a_keyframe_gives_nothing_that_leans_on_earlier_pictures(studio, kind):
    path = studio.write(frame_count=120, **LOSSY[kind])
    file = FileIdentity.of(path)
    with open_container(file) as container:
        timeline = scan(container, video_stream(container, file.shown_name), file.shown_name)
    with decoding.FrameDecoder(file, timeline) as decoder:
        for keyframe in timeline.keyframe_packets[1:].tolist():
            numbers = [number for number, _ in decoder.frames(keyframe, 119)]
            assert numbers == list(range(int(timeline.frame_of_packet[keyframe]), 120))


def test_a_frame_shown_before_its_keyframe_is_decoded_from_an_earlier_one():
    """File order I0 P3 B1 B2 | I6 B4 B5 P9 B7 B8: frames 4 and 5 lean on frame 3, before the keyframe."""
    shown = np.array([0, 3, 1, 2, 6, 4, 5, 9, 7, 8])
    timeline = Timeline(
        frame_seconds=np.arange(10) / 25,
        duration_seconds=0.4,
        packet_of_frame=np.argsort(shown),
        frame_of_packet=shown,
        packet_ticks=shown * 40,
        keyframe_packets=np.array([0, 4]),
        timed=True,
        seekable=True,
    )
    assert [timeline.first_packet_for(frame) for frame in range(10)] == [0, 0, 0, 0, 0, 0, 4, 4, 4, 4]
    assert timeline.first_packet_for(9, keyframes_earlier=1) == 0


def test_packets_that_show_nothing_are_no_frames(studio):
    """Alternate reference frames of VP8 are packets of their own; here a hidden copy before every keyframe."""
    source = studio.write(frame_count=100, **LOSSY["vp8-webm"])
    path = studio.folder / "b.webm"
    hidden_count = 0
    with av.open(str(source)) as reader, av.open(str(path), "w") as writer:
        stream = writer.add_stream_from_template(reader.streams.video[0])
        for packet in reader.demux(reader.streams.video[0]):
            if not packet.size:
                continue
            if packet.is_keyframe and packet.pts:
                data = bytearray(bytes(packet))
                data[0] &= ~0x10 & 0xFF
                hidden = av.Packet(bytes(data))
                hidden.pts = hidden.dts = packet.pts - 5
                hidden.time_base, hidden.stream = packet.time_base, stream
                writer.mux_one(hidden)
                hidden_count += 1
            packet.stream = stream
            writer.mux_one(packet)
    assert hidden_count >= 3
    info = probe_video(path)
    assert info.frame_count == 100
    assert studio.numbers(p for _, p in iterate_frames(path, info, 0, 99)) == list(range(100))
    ((_, picture),) = iterate_frames(path, info, 77, 77)
    assert studio.numbers([picture]) == [77]


def test_a_misleading_index_is_found_out(long_clip, monkeypatch):
    path, studio = long_clip

    def to_the_middle(self, _ticks):
        self._container.seek(int(20 / self._stream.time_base), stream=self._stream)

    monkeypatch.setattr(decoding.FrameDecoder, "_jump", to_the_middle)
    for frame_count in (3, 9):
        frames = read_frames(path, SamplingSettings(frame_count=frame_count))
        assert studio.numbers(frames.pixels) == frames.indices.tolist()


def test_a_container_that_cannot_seek_is_read_on(long_clip, monkeypatch):
    path, studio = long_clip

    def refuse(_self, _ticks):
        raise av.FFmpegError(1, "no seeking here")

    monkeypatch.setattr(decoding.FrameDecoder, "_jump", refuse)
    frames = read_frames(path, SamplingSettings(frame_count=6))
    assert studio.numbers(frames.pixels) == frames.indices.tolist()
    ((_, picture),) = iterate_frames(path, probe_video(path), 777, 777)
    assert studio.numbers([picture]) == [777]


def test_variable_frame_rate_keeps_presentation_times(studio):
    ticks = [0, 40, 80, 500, 520, 1500, 1501, 4000]
    path = studio.write(name="clip.mkv", frame_count=8, ticks=ticks, time_base=Fraction(1, 1000), codec="ffv1")
    info = probe_video(path)
    np.testing.assert_allclose(info.frame_seconds, np.array(ticks) / 1000, atol=1e-9)
    frames = read_frames(path, SamplingSettings(mode="fps", frames_per_second=1))
    assert studio.numbers(frames.pixels) == frames.indices.tolist() == [0, 4, 6, 7, 7]


def test_variable_frame_rate_with_reordering(studio):
    ticks = np.cumsum(np.random.default_rng(0).integers(200, 9000, 150)).tolist()
    path = studio.write(frame_count=150, ticks=ticks, time_base=Fraction(1, 90000), options={"bf": "3", "g": "20"})
    info = probe_video(path)
    np.testing.assert_allclose(info.frame_seconds, (np.array(ticks) - ticks[0]) / 90000, atol=1e-4)
    assert studio.numbers(p for _, p in iterate_frames(path, info, 0, 149)) == list(range(150))
    frames = read_frames(path, SamplingSettings(frame_count=6))
    assert studio.numbers(frames.pixels) == frames.indices.tolist()


def _remux(source, target, change, **options):
    """Copy packets, each changed by change(position, packet)."""
    with av.open(str(source)) as reader, av.open(str(target), "w", options=options) as writer:
        stream = writer.add_stream_from_template(reader.streams.video[0])
        for position, packet in enumerate(p for p in reader.demux(reader.streams.video[0]) if p.size):
            change(position, packet)
            packet.stream = stream
            writer.mux_one(packet)
    return target


def test_equal_presentation_times_keep_their_order(studio):
    def double(position, packet):
        packet.pts = packet.dts = position // 2 * 40

    path = _remux(
        studio.write(name="a.mkv", codec="ffv1", options={"g": "1"}, frame_count=100), studio.folder / "b.mkv", double
    )
    info = probe_video(path)
    assert info.frame_seconds[:4].tolist() == [0.0, 0.0, 0.04, 0.04]
    assert studio.numbers(p for _, p in iterate_frames(path, info, 0, 99)) == list(range(100))
    for number in (0, 1, 70, 71, 99):
        ((_, picture),) = iterate_frames(path, info, number, number)
        assert studio.numbers([picture]) == [number]


def test_frames_before_an_edit_list_are_no_frames(studio):
    def earlier(_position, packet):
        packet.pts -= 6 * 512
        packet.dts -= 6 * 512

    source = studio.write(name="a.mp4", frame_count=60, options={"bf": "2", "g": "20"})
    path = _remux(source, studio.folder / "b.mp4", earlier, avoid_negative_ts="disabled", use_editlist="1")
    info = probe_video(path)
    assert info.frame_count == 54
    assert info.frame_seconds[0] == 0.0
    assert studio.numbers(p for _, p in iterate_frames(path, info, 0, 53)) == list(range(6, 60))
    ((_, picture),) = iterate_frames(path, info, 52, 52)
    assert studio.numbers([picture]) == [58]


@pytest.mark.parametrize("name", ["clip.ts", "clip.mkv", "clip.mp4"])
def test_a_late_start_counts_only_within_the_container(studio, name):
    """A transport stream starts at any time; a picture that starts long after the sound does so on screen."""
    ticks = list(range(50, 80))
    silent = studio.write(name=name, ticks=ticks)
    with_sound = studio.write(name=f"sound-{name}", ticks=ticks, with_sound=True)
    assert probe_video(with_sound).frame_seconds[0] == pytest.approx(2.0, abs=0.1)
    assert probe_video(silent).frame_seconds[0] == (0.0 if name != "clip.mp4" else pytest.approx(0.0, abs=2.0))


def test_sound_that_starts_a_little_earlier_does_not_shift_the_first_frame(studio):
    ticks = range(20, 1020, 40)
    info = probe_video(
        studio.write(
            name="clip.mkv", codec="ffv1", with_sound=True, frame_count=25, ticks=ticks, time_base=Fraction(1, 1000)
        )
    )
    assert info.frame_seconds[0] == 0.0
    assert info.duration_seconds == pytest.approx(1.0, abs=2e-3)


def test_rate_and_duration(studio):
    info = probe_video(studio.write(name="clip.mkv", rate=Fraction(30000, 1001), frame_count=60, codec="ffv1"))
    assert info.fps == pytest.approx(30000 / 1001, rel=1e-3)
    assert info.duration_seconds == pytest.approx(60 * 1001 / 30000, abs=2e-3)
    assert info.frame_end_seconds(59) == pytest.approx(60 * 1001 / 30000, abs=2e-3)


def test_one_frame_is_a_video(studio):
    path = studio.write(frame_count=1)
    frames = read_frames(path, SamplingSettings(frame_count=4))
    assert frames.indices.tolist() == [0, 0, 0, 0]
    assert studio.numbers(frames.pixels) == [0, 0, 0, 0]
    assert frames.info.duration_seconds == pytest.approx(0.04)


def test_more_samples_than_frames_repeat(studio):
    frames = read_frames(studio.write(frame_count=3), SamplingSettings(frame_count=7))
    assert studio.numbers(frames.pixels) == frames.indices.tolist() == [0, 0, 1, 1, 1, 2, 2]


def test_probe_names_the_file_as_the_user_did(studio, monkeypatch):
    studio.write(frame_count=2)
    monkeypatch.chdir(studio.folder)
    assert probe_video("clip.mp4").path == "clip.mp4"


def test_a_range_outside_the_video_is_refused(studio):
    path = studio.write(frame_count=5)
    info = probe_video(path)
    for start, end in ((-1, 2), (0, 5), (3, 2)):
        with pytest.raises(VideoError, match=r"within 0\.\.4"):
            iterate_frames(path, info, start, end)


def test_a_file_that_changed_is_refused(studio):
    path = studio.write(frame_count=5)
    info = probe_video(path)
    studio.write(frame_count=9)
    with pytest.raises(VideoError, match="probe it again"):
        iterate_frames(path, info, 0, 4)


def test_settings_are_followed(studio):
    path = studio.write(frame_count=50)
    wanted = SamplingSettings(mode="fps", frames_per_second=5)
    frames = read_frames(path, wanted)
    assert frames.indices.tolist() == sample_indices(frames.info, wanted).tolist() == list(range(0, 50, 5))
