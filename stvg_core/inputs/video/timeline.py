"""When every source frame is shown, and which packet of the file carries it.

Reads packets, decodes nothing. A packet has a number in file order, a frame a number in
display order; everything that looks a frame up goes through these two.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream
from jaxtyping import Float64, Int64

from stvg_core.errors import VideoError

if TYPE_CHECKING:
    PicturePacket: TypeAlias = Packet[VideoStream]
else:
    PicturePacket = Packet  # Generic for type checkers alone.

MAXIMUM_PACKETS = 10_000_000
"""More packets than any video has that a user waits for (46 hours at 60 frames a second)."""

NO_TIME = np.iinfo(np.int64).min
"""Presentation time of a packet that has none."""

# Containers that store no presentation times; for reordered frames libavformat's guesses are wrong.
_WITHOUT_PRESENTATION_TIMES = {"avi"}

_FALLBACK_FRAME_SECONDS = 0.04
_VP8_SHOW_FRAME_BIT = 0x10


@dataclass(frozen=True, eq=False)
class Timeline:
    """The frames of one video stream.

    Attributes:
        frame_seconds: presentation time of every source frame; 0 is the container's start.
        duration_seconds: from the first frame's start to the last frame's end.
        packet_of_frame: the packet that carries a source frame.
        frame_of_packet: the source frame that a packet carries; -1: it is never shown.
        packet_ticks: presentation time of every packet in the stream's time base, or NO_TIME.
        keyframe_packets: packets from which decoding can begin.
        timed: every packet says when it is shown. Otherwise only the count of decoded frames
            says which is which, and decoding begins at the file's start.
        seekable: presentation times name packets without doubt.
    """

    frame_seconds: Float64[np.ndarray, " source_frame"]
    duration_seconds: float
    packet_of_frame: Int64[np.ndarray, " source_frame"]
    frame_of_packet: Int64[np.ndarray, " packet"]
    packet_ticks: Int64[np.ndarray, " packet"]
    keyframe_packets: Int64[np.ndarray, " keyframe"]
    timed: bool
    seekable: bool

    def first_packet_for(self, frame: int, *, keyframes_earlier: int = 0) -> int:
        """Return the packet from which decoding must begin to get a source frame right.

        That is the last keyframe which comes before the frame both in the file and on screen: a frame
        that comes after a keyframe in the file but is shown before it (open group of pictures) may need
        images from before the keyframe.

        Args:
            frame: 0-based source frame.
            keyframes_earlier: begin that many keyframes before.
        """
        if not self.timed:
            return 0
        packet = self.packet_of_frame[frame]
        position = int(np.searchsorted(self.keyframe_packets, packet, side="right")) - 1
        while position >= 0 and self.packet_ticks[self.keyframe_packets[position]] > self.packet_ticks[packet]:
            position -= 1
        position -= keyframes_earlier
        return int(self.keyframe_packets[position]) if position >= 0 else 0


def content_packets(container: InputContainer, stream: VideoStream) -> Iterator[PicturePacket]:
    """Yield a stream's packets that carry something, up to where the file breaks off."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.FFmpegError):
            return
        if packet.size:
            yield packet


def scan(container: InputContainer, stream: VideoStream, shown_name: str) -> Timeline:
    """Read every packet of a stream once and return when its frames are shown.

    Raises:
        VideoError: there is no packet that shows an image, or there are too many.
    """
    presented, decoded, lengths = array("q"), array("q"), array("q")
    shown, keys = array("b"), array("b")
    is_vp8 = stream.codec_context.name in {"vp8", "libvpx"}
    for packet in content_packets(container, stream):
        presented.append(NO_TIME if packet.pts is None else packet.pts)
        decoded.append(NO_TIME if packet.dts is None else packet.dts)
        lengths.append(packet.duration or 0)
        hidden = is_vp8 and not memoryview(packet)[0] & _VP8_SHOW_FRAME_BIT
        shown.append(not (packet.is_discard or packet.is_corrupt or hidden))
        keys.append(packet.is_keyframe)
        if len(presented) > MAXIMUM_PACKETS:
            raise VideoError(f"expected at most {MAXIMUM_PACKETS} frames in {shown_name}, got more; cut the video")
    packet_ticks, packet_decode_ticks = np.array(presented, np.int64), np.array(decoded, np.int64)
    shown_packets = np.flatnonzero(np.array(shown, np.bool_)).astype(np.int64)
    if shown_packets.size == 0:
        raise VideoError(
            f"expected images in {shown_name}, got none: it is cut off before its first frame or holds no video; "
            "copy or download it again"
        )
    guessed = container.format.name in _WITHOUT_PRESENTATION_TIMES and stream.codec_context.has_b_frames
    timed = not guessed and bool((packet_ticks[shown_packets] != NO_TIME).all())
    ticks = packet_ticks[shown_packets] if timed else packet_decode_ticks[shown_packets]
    if (ticks == NO_TIME).any():
        ticks = _counted_ticks(stream, len(ticks))
    order = np.argsort(ticks, kind="stable")
    packet_of_frame = shown_packets[order]
    frame_of_packet = np.full(len(packet_ticks), -1, np.int64)
    frame_of_packet[packet_of_frame] = np.arange(len(order))
    frame_seconds, duration = _seconds(container, stream, ticks[order], lengths[int(packet_of_frame[-1])])
    return Timeline(
        frame_seconds=frame_seconds,
        duration_seconds=duration,
        packet_of_frame=packet_of_frame,
        frame_of_packet=frame_of_packet,
        packet_ticks=packet_ticks,
        keyframe_packets=np.flatnonzero(np.array(keys, np.bool_)).astype(np.int64),
        timed=timed,
        seekable=timed and len(np.unique(packet_ticks)) == len(packet_ticks),
    )


def _counted_ticks(stream: VideoStream, count: int) -> Int64[np.ndarray, " source_frame"]:
    """Return times of a stream that has none: its frames one after the other at its stated rate."""
    step = _rate_seconds(stream) / float(stream.time_base or 1)
    return np.round(np.arange(count) * step).astype(np.int64)


def _rate_seconds(stream: VideoStream) -> float:
    rate = stream.average_rate or stream.guessed_rate
    return float(1 / rate) if rate else _FALLBACK_FRAME_SECONDS


def _seconds(
    container: InputContainer, stream: VideoStream, ticks: Int64[np.ndarray, " source_frame"], last_length: int
) -> tuple[Float64[np.ndarray, " source_frame"], float]:
    """Return presentation times relative to the container's start, and the time that the frames fill."""
    base = stream.time_base
    numerator, denominator = (base.numerator, base.denominator) if base else (1, 1)
    first = int(ticks[0])
    # Differences first: a broadcast starts at hours, and small numbers are exact.
    from_first = (ticks - first).astype(np.float64) * numerator / denominator
    span = float(from_first[-1])
    mean_gap = span / (len(ticks) - 1) if span > 0 else _rate_seconds(stream)
    length = last_length * numerator / denominator if last_length > 0 else mean_gap
    # Sound begins some milliseconds before the first image in ordinary files (encoder priming); a start
    # that is late by a frame or more is meant.
    late = 0.0
    if container.start_time is not None:
        late = first * numerator / denominator - container.start_time / av.time_base
    return from_first + (late if late >= mean_gap else 0.0), span + length
