"""Painted clips, a detector that knows the paint, and a segmenter that follows it: truth to compare with."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from stvg_core.plugin import FrameMaps, Frames, SubQueries, TrackRequest, VideoInfo
from stvg_huggingface.pixels import PixelStatistics
from stvg_sam.detector import FoundBoxes
from stvg_sam.frame_reader import FrameReader
from stvg_sam.sam2 import Sweep

GROUND = 90
COLORS = ((220, 20, 20), (20, 220, 20), (20, 20, 220), (220, 220, 20))
STATISTICS = PixelStatistics((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
CPU = torch.device("cpu")
_OFF_COLOR = 0.5
_SURE = 0.2
Route = list[tuple[int, int, int, int] | None]
Paths = list[Route]


def clip(paths: Paths, width: int = 160, height: int = 96) -> Frames:
    """Paint one rectangle per path and frame; None: out of sight."""
    count = len(paths[0])
    pixels = np.full((count, height, width, 3), GROUND, dtype=np.uint8)
    for color, boxes in zip(COLORS, paths, strict=False):
        for picture, box in zip(pixels, boxes, strict=True):
            if box is not None:
                picture[box[1] : box[3], box[0] : box[2]] = color
    info = VideoInfo("painted", width, height, 10.0, count / 10, np.arange(count) / 10)
    return Frames(info, np.arange(count), pixels)


def moving(count: int, start: tuple[int, int], step: tuple[int, int], size: tuple[int, int] = (30, 20)) -> Route:
    """Return one rectangle per frame, moving evenly."""
    return [
        (
            start[0] + t * step[0],
            start[1] + t * step[1],
            start[0] + t * step[0] + size[0],
            start[1] + t * step[1] + size[1],
        )
        for t in range(count)
    ]


def request(frames: Frames, attribute: str = "the man") -> TrackRequest:
    """Return what a tracker is asked, with flat maps."""
    flat = FrameMaps(np.zeros((len(frames), 1, 1)))
    return TrackRequest(frames, SubQueries("a man walks", attribute, "a man walks", "test"), flat, flat)


class PaintDetector:
    """Finds the rectangles; `blind` frames show it nothing."""

    def __init__(self, frames: Frames, paths: Paths, blind: frozenset[int] = frozenset()) -> None:
        """Remember the truth; `looks` counts the pictures that were asked about."""
        self.looks = 0
        self._frames, self._paths, self._blind = frames, paths, blind

    def detect(self, picture: UInt8[np.ndarray, "height width rgb=3"]) -> FoundBoxes:
        """Return the rectangles of the frame that the picture is."""
        self.looks += 1
        position = next(t for t, pixels in enumerate(self._frames.pixels) if np.array_equal(pixels, picture))
        boxes = [path[position] for path in self._paths if path[position] is not None and position not in self._blind]
        scores = np.linspace(0.9, 0.6, len(boxes))
        return FoundBoxes(np.array(boxes, dtype=np.float64).reshape(-1, 4), scores, ("paint",) * len(boxes))


class PaintSegmenter:
    """Stands for SAM 2: keeps the colour at the middle of an object's box and finds it in every frame.

    It sees the model's own square input and answers at that size, so whatever it finds has gone through
    resizing, normalisation and back.
    """

    def __init__(self, size_pixels: int = 128) -> None:
        """Know nothing yet; `steps` tells which frames were seen, and whether backwards."""
        self.config = SimpleNamespace(
            prompt_encoder_config=SimpleNamespace(image_size=size_pixels),
            num_maskmem=3,
            max_object_pointers_in_encoder=4,
        )
        self.dtype = torch.float32
        self.steps: list[tuple[int, bool]] = []
        self._colors: dict[tuple[int, int], torch.Tensor] = {}

    def __call__(self, session: Any, *, frame_idx: int, reverse: bool) -> SimpleNamespace:  # untyped there
        """Return masks and scores of a frame, as `Sam2VideoModel` does."""
        self.steps.append((frame_idx, reverse))
        shown = session.get_frame(frame_idx)
        ground = (torch.full((3,), GROUND / 255.0) - torch.tensor(STATISTICS.mean)) / torch.tensor(STATISTICS.deviation)
        masks, scores = [], []
        for number in session.obj_ids:
            index = session.obj_id_to_idx(number)
            points = session.point_inputs_per_obj[index].get(frame_idx)
            key = (id(session), index)
            if points is not None:
                (x0, y0), (x1, y1) = points["point_coords"][0, 0].tolist()
                self._colors[key] = shown[:, int((y0 + y1) / 2), int((x0 + x1) / 2)].clone()
            color = self._colors[key]
            # How far each pixel is from the ground (0) to the colour (1); half-way is the edge.
            share = torch.einsum("chw,c->hw", shown - ground[:, None, None], color - ground)
            share = share / (color - ground).square().sum()
            off = (shown - ground[:, None, None] - share * (color - ground)[:, None, None]).norm(dim=0)
            masks.append(torch.where(off < _OFF_COLOR, share - 0.5, torch.tensor(-0.5)))
            scores.append(1.0 if (masks[-1] > _SURE).any() else -1.0)
        return SimpleNamespace(
            object_ids=list(session.obj_ids),
            pred_masks=torch.stack(masks)[:, None],
            object_score_logits=torch.tensor(scores)[:, None],
        )


def sweeps(pictures: FrameReader, model: PaintSegmenter) -> Callable[..., Sweep]:
    """Return what begins a sweep with the segmenter."""

    def start(*, backwards: bool) -> Sweep:
        return Sweep(model, pictures, STATISTICS, CPU, CPU, backwards=backwards)

    return start


def write_video(path: Path, frames: Frames) -> VideoInfo:
    """Write a clip as H.264 and return what the file says of itself."""
    from stvg_core.inputs.video import probe_video
    from stvg_core.outputs.report.encoding import TimedFrame, encode_video

    pictures = (TimedFrame(picture, t / 10, (t + 1) / 10) for t, picture in enumerate(frames.pixels))
    encode_video(path, pictures, width=frames.info.width, height=frames.info.height, fps=10.0)
    return probe_video(path)
