"""Whatever is given for a video: a picture, or one line that says what to do."""

import os
import resource
import struct

import av
import numpy as np
import pytest
from av.stream import Disposition

from stvg_core.errors import VideoError
from stvg_core.inputs.video import iterate_frames, probe_video, read_frames, reading
from stvg_core.settings import SamplingSettings


def refuse(path, *parts):
    """Both public doors refuse the path with one line that holds the given words; return it."""
    with pytest.raises(VideoError) as probed:
        probe_video(path)
    with pytest.raises(VideoError) as read:
        read_frames(path, SamplingSettings(frame_count=3))
    message = str(probed.value)
    assert message == str(read.value)
    assert message.isprintable()
    assert len(message) < 400
    for part in ("expected", *parts):
        assert part in message
    return message


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:9/a.mp4",
        "https://example.org/a.mp4",
        "concat:a.mp4|b.mp4",
        "pipe:0",
        "file:clip.mp4",
        "subfile,,start,0,end,9,,:clip.mp4",
        "data:text/plain,abc",
        "rtsp://example.org/a",
        "tcp://127.0.0.1:9",
    ],
)
def test_addresses_and_protocols_are_not_opened(studio, monkeypatch, address):
    studio.write(frame_count=2)
    monkeypatch.chdir(studio.folder)
    monkeypatch.setattr(av, "open", lambda *_args, **_options: pytest.fail("opened"))
    refuse(address, "a video file")


def test_a_file_with_a_protocols_name_is_just_a_file(studio, monkeypatch):
    path = studio.write(frame_count=2)
    path.rename(studio.folder / "concat:a.mp4")
    monkeypatch.chdir(studio.folder)
    assert probe_video("concat:a.mp4").frame_count == 2


@pytest.mark.parametrize(
    "name", ["with space.mp4", "ümläut-视频.mp4", "line\nbreak.mp4", "per%cent%03d.mp4", "-dash.mp4"]
)
def test_odd_names_are_read(studio, name):
    assert probe_video(studio.write(name="a.mp4", frame_count=2).rename(studio.folder / name)).frame_count == 2


def test_missing_files_and_folders(studio):
    refuse(studio.folder / "nothing.mp4", "does not exist", "check the path")
    refuse(studio.folder / "no\nthing.mp4", "does not exist")
    refuse(studio.folder, "folder")
    refuse(studio.write(frame_count=1) / "below.mp4", "does not exist")
    refuse("", "folder")


def test_a_name_with_a_null_character():
    with pytest.raises(VideoError, match="check the path") as refused:
        probe_video("a\0b.mp4")
    assert str(refused.value).isprintable()


def test_devices_and_pipes_are_not_read(studio):
    refuse("/dev/zero", "plain file")
    pipe = studio.folder / "pipe.mp4"
    os.mkfifo(pipe)
    refuse(pipe, "plain file")


def test_empty_text_and_noise(studio):
    empty, text, noise = (studio.folder / name for name in ("empty.mp4", "text.mp4", "noise.mp4"))
    empty.touch()
    text.write_text("This is no video.\n" * 100)
    noise.write_bytes(np.random.default_rng(0).bytes(20_000))
    refuse(empty, "empty")
    refuse(text, "cannot be opened")
    refuse(noise)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXT-X-VERSION:3\n#EXTINF:2.4,\nsecret.ts\n#EXT-X-ENDLIST\n"),
        ("list.mp4", "ffconcat version 1.0\nfile secret.ts\n"),
    ],
)
def test_playlists_open_nothing_else(studio, name, text):
    studio.write(name="secret.ts", frame_count=60, options={"bf": "0"})
    playlist = studio.folder / name
    playlist.write_text(text)
    with av.open(str(playlist)) as opened:
        assert opened.streams.video  # Left to itself, libav follows it.
    refuse(playlist, "cannot be opened")


def test_sound_alone_and_cover_alone(studio):
    refuse(studio.write_sound("sound.m4a"), "video stream", "audio")
    path = studio.folder / "cover.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        container.add_attachment("cover.png", "image/png", _png(studio))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    refuse(path, "cover picture")


def _png(studio):
    context = av.CodecContext.create("png", "w")
    context.width, context.height, context.pix_fmt, context.time_base = 64, 48, "rgb24", 1
    (packet,) = context.encode(av.VideoFrame.from_ndarray(studio.picture(4000), format="rgb24"))
    return bytes(packet)


def _boxes(data):
    """Split the content of an mp4 box into its boxes."""
    while data:
        (size,) = struct.unpack_from(">I", data)
        yield data[:size]
        data = data[size:]


def test_a_cover_picture_before_the_video_is_passed_over(studio):
    path = studio.folder / "covered.mp4"
    source = studio.write(name="plain.mp4", frame_count=5)
    with av.open(str(path), "w") as container, av.open(str(source)) as reader:
        cover = container.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "rgb24"
        cover.disposition = Disposition.attached_pic
        stream = container.add_stream_from_template(reader.streams.video[0])
        container.start_encoding()
        picture = av.Packet(_png(studio))
        picture.stream, picture.pts, picture.dts, picture.is_keyframe = cover, 0, 0, True
        container.mux_one(picture)
        for packet in reader.demux():
            if packet.size:
                packet.stream = stream
                container.mux_one(packet)
    data = path.read_bytes()
    start = data.index(b"moov") - 4
    boxes = sorted(_boxes(data[start + 8 :]), key=lambda box: [b"mvhd", b"udta", b"trak"].index(box[4:8]))
    path.write_bytes(data[: start + 8] + b"".join(boxes))
    with av.open(str(path)) as written:
        assert [bool(s.disposition & Disposition.attached_pic) for s in written.streams.video] == [True, False]
    assert studio.numbers(read_frames(path, SamplingSettings(frame_count=5)).pixels) == list(range(5))


def test_cut_off_before_its_table(studio):
    path = studio.write(frame_count=60)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refuse(path, "cannot be opened", "cut off", "copy it again")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("clip.mp4", {"container_options": {"movflags": "faststart"}}),
        ("clip.mkv", {}),
        ("clip.ts", {}),
        ("clip.webm", {"codec": "libvpx-vp9"}),
    ],
)
@pytest.mark.parametrize("kept", [0.5, 0.7, 0.9])
def test_cut_off_later_gives_the_frames_that_are_there(studio, name, options, kept):
    codec_options = {"deadline": "realtime", "cpu-used": "8"} if name == "clip.webm" else {"bf": "2"}
    path = studio.write(name=name, frame_count=100, options={"g": "10", **codec_options}, **options)
    data = path.read_bytes()
    content = data.index(b"mdat") if name == "clip.mp4" else 0
    path.write_bytes(data[: content + int((len(data) - content) * kept)])
    info = probe_video(path)
    assert 20 < info.frame_count < 100
    frames = read_frames(path, SamplingSettings(frame_count=9))
    # The last frames may refer to one that is gone; libav conceals that, so their number may be off.
    assert studio.numbers(frames.pixels)[:-1] == frames.indices.tolist()[:-1]
    assert [number for number, _ in iterate_frames(path, info, 0, info.frame_count - 1)] == list(
        range(info.frame_count)
    )


def test_a_cut_before_the_first_frame(studio):
    path = studio.write(frame_count=60, container_options={"movflags": "faststart"})
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"mdat") + 8])
    refuse(path, "cut off")


def _spoil(path, packets):
    """Overwrite the content of some packets; the container stays whole."""
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        for number, packet in enumerate(p for p in container.demux(video=0) if p.size):
            if number in packets:
                data[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    path.write_bytes(data)


def test_a_lost_frame_is_replaced_by_the_one_before_it_and_named(studio, caplog):
    path = studio.write(name="clip.mov", codec="png", pixel_format="rgb24", frame_count=100)
    _spoil(path, {0, 49, 50})
    frames = read_frames(path, SamplingSettings(frame_count=5))
    assert probe_video(path).frame_count == 100
    assert sorted({0, 25, 50, 74, 99}) == [0, 25, 50, 74, 99]
    assert frames.indices.tolist() == [25, 25, 48, 74, 99]
    assert studio.numbers(frames.pixels) == frames.indices.tolist()
    assert "2 of 5 frames" in caplog.text
    streamed = dict(iterate_frames(path, frames.info, 47, 52))
    assert studio.numbers(streamed.values()) == [47, 48, 48, 48, 51, 52]
    streamed = dict(iterate_frames(path, frames.info, 0, 2))
    assert studio.numbers(streamed.values()) == [1, 1, 2]


def test_most_frames_lost_is_an_error(studio):
    path = studio.write(name="clip.mov", codec="png", pixel_format="rgb24", frame_count=20)
    _spoil(path, set(range(3, 20)))
    with pytest.raises(VideoError, match=r"expected 10 frames .* got 2: .* damaged"):
        read_frames(path, SamplingSettings(frame_count=10))
    _spoil(path, set(range(20)))
    refuse(path, "damaged")


def test_a_range_without_a_picture_is_an_error(studio):
    path = studio.write(name="clip.mov", codec="png", pixel_format="rgb24", frame_count=100)
    _spoil(path, set(range(60, 100)))
    with pytest.raises(VideoError, match="none that decodes"):
        list(iterate_frames(path, probe_video(path), 90, 95))


def test_a_claim_of_a_giant_picture_is_refused(studio):
    path = studio.write(name="clip.gif", codec="gif", pixel_format="rgb8", frame_count=2)
    data = bytearray(path.read_bytes())
    data[6:10] = struct.pack("<HH", 20000, 20000)
    path.write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refuse(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_too_many_pictures_for_memory_are_refused(studio, monkeypatch):
    path = studio.write(frame_count=5)
    monkeypatch.setattr(reading, "MAXIMUM_SAMPLE_BYTES", 64 * 48 * 3 * 5 - 1)
    with pytest.raises(VideoError, match="maximum_side_pixels"):
        read_frames(path, SamplingSettings(frame_count=5))
    assert len(read_frames(path, SamplingSettings(frame_count=5), maximum_side_pixels=48)) == 5


def test_metadata_that_is_no_text_is_no_obstacle(studio):
    path = studio.write(name="clip.mkv", frame_count=2)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"Lavf", b"\xff\xfe\xfd\xfc"))
    assert probe_video(path).frame_count == 2


def test_nothing_reaches_stderr(studio, capfd):
    path = studio.write(frame_count=60, container_options={"movflags": "faststart"}, options={"bf": "2"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4])
    noise = studio.folder / "noise.mp4"
    noise.write_bytes(data[:200] + b"\xaa" * 1000)
    capfd.readouterr()
    read_frames(path, SamplingSettings(frame_count=3))
    with pytest.raises(VideoError):
        probe_video(noise)
    assert capfd.readouterr() == ("", "")


def test_random_damage_gives_pictures_or_one_line(studio):
    path = studio.write(frame_count=40, options={"bf": "2", "g": "10"}, container_options={"movflags": "faststart"})
    whole, random = path.read_bytes(), np.random.default_rng(1)
    for attempt in range(40):
        data = bytearray(whole)
        for position in random.integers(0, len(data), 12):
            data[position] = random.integers(0, 256)
        damaged = studio.folder / f"damaged-{attempt}.mp4"
        damaged.write_bytes(data)
        try:
            frames = read_frames(damaged, SamplingSettings(frame_count=4))
        except VideoError as error:
            seen = str(error)
        else:
            seen = str(frames.pixels.shape)
        assert seen.isprintable()
