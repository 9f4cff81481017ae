"""Decoded frames of a part of a file, each with its true source frame number.

Knows packets, seeking and decoders; nothing of what the frames are used for.
"""

from collections.abc import Iterator
from types import TracebackType

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from stvg_core.inputs.video.source import FileIdentity, open_container, video_stream
from stvg_core.inputs.video.timeline import NO_TIME, PicturePacket, Timeline, content_packets

NEAR_PACKETS = 48
"""Decoding on is as cheap as seeking up to about this many packets."""

_DELAY_PACKETS = 64
"""A decoder gives a frame back before it has taken this many later packets (reordering and threads)."""

_SEEK_ATTEMPTS = 3


class FrameDecoder:
    """Decodes parts of one stream.

    Every packet is numbered before it is decoded, and the decoder hands the number on to the frame it
    makes of it; so a frame is known by its packet, whatever its time stamps are like. After a seek the
    landing place is known by presentation time, and only where those are unique.
    """

    def __init__(self, file: FileIdentity, timeline: Timeline) -> None:
        """Open the file.

        Raises:
            VideoError: the file is gone or no longer a video.
        """
        self._file = file
        self._timeline = timeline
        self._seekable = timeline.seekable
        self._container: InputContainer
        self._stream: VideoStream
        self._packets: Iterator[PicturePacket]
        self._next_packet = 0
        self._requested: frozenset[int] | None = None
        self._open()

    def __enter__(self) -> "FrameDecoder":
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._container.close()

    def frames(
        self, first_packet: int, last_packet: int, *, requested: frozenset[int] | None = None
    ) -> Iterator[tuple[int, VideoFrame]]:
        """Yield (source frame number, frame) in display order.

        Args:
            first_packet: a keyframe packet, or 0; frames that need images before it are left out.
            last_packet: decoding ends when this packet's frame must have come out.
            requested: source frames that are needed; of the others, those may be left out that no frame
                refers to. None: all are needed.
        """
        self._requested = requested if self._timeline.timed else None
        self._move_to(first_packet)
        floor = self._timeline.packet_ticks[first_packet] if first_packet else NO_TIME
        counted = 0
        for packet_number, frame in self._numbered(last_packet + _DELAY_PACKETS):
            if not self._timeline.timed:
                if counted < len(self._timeline.packet_of_frame):
                    yield counted, frame
                counted += 1
                continue
            source_frame = int(self._timeline.frame_of_packet[packet_number])
            if source_frame >= 0 and self._timeline.packet_ticks[packet_number] >= floor:
                yield source_frame, frame

    def _numbered(self, stop_packet: int) -> Iterator[tuple[int, VideoFrame]]:
        """Decode from here on; yield every frame with the number of its packet."""
        context = self._stream.codec_context
        stop_packet = min(stop_packet + 1, len(self._timeline.frame_of_packet))
        ended = False
        while not ended:
            packet = self._next_numbered() if self._next_packet < stop_packet else None
            ended = packet is None
            if packet is not None and packet.is_corrupt:
                continue
            context.skip_frame = "NONREF" if packet is not None and self._spared(packet) else "DEFAULT"
            try:
                decoded = context.decode(packet)
            except av.FFmpegError:
                continue  # A damaged packet shows nothing; its neighbours may.
            for frame in decoded:
                if frame.pts is not None and 0 <= frame.pts < stop_packet:
                    yield frame.pts, frame

    def _spared(self, packet: PicturePacket) -> bool:
        if self._requested is None or packet.pts is None:
            return False
        return int(self._timeline.frame_of_packet[packet.pts]) not in self._requested

    def _next_numbered(self) -> PicturePacket | None:
        packet = next(self._packets, None)
        if packet is None:
            return None
        if self._seekable and packet.pts != self._timeline.packet_ticks[self._next_packet]:
            # The demuxer cuts packets differently after a seek: count from the file's start from now on.
            self._seekable = False
            self._next_packet = len(self._timeline.frame_of_packet)
            return None
        packet.pts, packet.dts = self._next_packet, None
        self._next_packet += 1
        return packet

    def _open(self) -> None:
        self._container = open_container(self._file)
        self._stream = video_stream(self._container, self._file.shown_name)
        self._packets = content_packets(self._container, self._stream)
        self._next_packet = 0

    def _move_to(self, packet_number: int) -> None:
        """Make `packet_number` the next packet, and the decoder forget what came before."""
        far = not 0 <= packet_number - self._next_packet <= NEAR_PACKETS
        if not (far and packet_number and self._seekable and self._seek(packet_number)):
            if packet_number < self._next_packet:
                self._container.close()
                self._open()
            while self._next_packet < packet_number and next(self._packets, None) is not None:
                self._next_packet += 1
        self._stream.codec_context.flush_buffers()

    def _seek(self, packet_number: int) -> bool:
        """Seek to a keyframe packet; where the file's index misleads, begin earlier or give seeking up."""
        earlier = self._timeline.keyframe_packets[self._timeline.keyframe_packets <= packet_number]
        for target in earlier[::-1][:_SEEK_ATTEMPTS]:
            try:
                self._jump(int(self._timeline.packet_ticks[target]))
            except av.FFmpegError:
                break
            self._packets = content_packets(self._container, self._stream)
            if self._skip_to(packet_number):
                return True
        self._seekable = False
        self._container.close()
        self._open()
        return False

    def _jump(self, ticks: int) -> None:
        self._container.seek(ticks, stream=self._stream)

    def _skip_to(self, packet_number: int) -> bool:
        """Read up to a packet, which stays the next one; return False where it is already past."""
        wanted_ticks = self._timeline.packet_ticks[packet_number]
        for packet in self._packets:
            if packet.pts == wanted_ticks:
                self._packets = _again(packet, self._packets)
                self._next_packet = packet_number
                return True
            if packet.pts is not None and packet.pts > wanted_ticks:
                return False
        return False


def _again(packet: PicturePacket, rest: Iterator[PicturePacket]) -> Iterator[PicturePacket]:
    yield packet
    yield from rest
