"""Selects frames of a file with as little decoding as possible.

Knows which frames are requested and which frame replaces a lost one; nothing of files and images.
"""

from collections import deque
from collections.abc import Iterator, Sequence

from av.video.frame import VideoFrame

from stvg_core.inputs.video.decoding import NEAR_PACKETS, FrameDecoder
from stvg_core.inputs.video.timeline import Timeline

_EARLIER_KEYFRAMES_ON_RETRY = 2


def select_frames(
    decoder: FrameDecoder, timeline: Timeline, requested: Sequence[int]
) -> Iterator[tuple[int, int, VideoFrame]]:
    """Yield (requested frame, frame that stands for it, decoded frame); a frame without a replacement is left out.

    A requested frame stands for itself where it decodes, else the decoded frame before it does.

    Args:
        decoder: the open file.
        timeline: of the same file.
        requested: source frames, each once, ascending.
    """
    for group in _groups(requested, timeline):
        yield from _decode_group(decoder, timeline, group)


def frames_from(
    decoder: FrameDecoder, timeline: Timeline, start_frame: int, last_packet: int
) -> Iterator[tuple[int, VideoFrame]]:
    """Yield (source frame, decoded frame) in display order, from `start_frame` or some frames before it.

    Where nothing as early as `start_frame` decodes, decoding begins some keyframes earlier.
    """
    for keyframes_earlier in (0, _EARLIER_KEYFRAMES_ON_RETRY):
        first_packet = timeline.first_packet_for(start_frame, keyframes_earlier=keyframes_earlier)
        decoded = decoder.frames(first_packet, last_packet)
        first = next(decoded, None)
        if first is not None and (first[0] <= start_frame or keyframes_earlier):
            yield first
            yield from decoded
            return


def _groups(requested: Sequence[int], timeline: Timeline) -> Iterator[list[int]]:
    """Split requested frames where a later keyframe makes it worth leaving packets out."""
    group: list[int] = []
    last_packet = 0
    for frame_number in requested:
        if group and timeline.first_packet_for(frame_number) > last_packet + NEAR_PACKETS:
            yield group
            group, last_packet = [], 0
        group.append(frame_number)
        last_packet = max(last_packet, int(timeline.packet_of_frame[frame_number]))
    if group:
        yield group


def _decode_group(
    decoder: FrameDecoder, timeline: Timeline, group: Sequence[int]
) -> Iterator[tuple[int, int, VideoFrame]]:
    """Do as select_frames for frames that are decoded in one go.

    Where a frame is missing, all is decoded once more from some keyframes earlier: a stream that refreshes
    its image bit by bit needs a run-up, and the frame before the missing one may have been left out.
    """
    last_packet = int(timeline.packet_of_frame[group].max())
    first_packet = timeline.first_packet_for(group[0])
    missing: list[int] = []
    decoded = decoder.frames(first_packet, last_packet, requested=frozenset(group))
    for frame_number, match in _matched(decoded, group):
        if match is not None and match[0] == frame_number:
            yield frame_number, *match
        else:
            missing.append(frame_number)
    if not missing:
        return
    earlier_packet = timeline.first_packet_for(missing[0], keyframes_earlier=_EARLIER_KEYFRAMES_ON_RETRY)
    for frame_number, match in _matched(decoder.frames(earlier_packet, last_packet), missing):
        if match is not None:
            yield frame_number, *match


def _matched(
    decoded: Iterator[tuple[int, VideoFrame]], requested: Sequence[int]
) -> Iterator[tuple[int, tuple[int, VideoFrame] | None]]:
    """Pair every requested frame with itself where it is decoded, else with the frame before it, if any."""
    waiting = deque(requested)
    before: tuple[int, VideoFrame] | None = None
    for source_frame, frame in decoded:
        while waiting and waiting[0] < source_frame:
            yield waiting.popleft(), before
        before = source_frame, frame
        if waiting and waiting[0] == source_frame:
            yield waiting.popleft(), before
        if not waiting:
            return
    for frame_number in waiting:
        yield frame_number, before
