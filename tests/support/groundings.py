"""Results of the method, made up."""

import numpy as np

from stvg_core.outputs.report.document import ModelIdentity
from stvg_core.values import FrameMaps, Frames, Grounding, SubQueries, Track, Tube, VideoInfo

GREY = 128
MODEL = ModelIdentity(id="m", backend="b", distribution="d", version="1", hook_api=1)
IRREGULAR = np.array([0.08, 0.12, 0.2, 0.21, 0.3, 0.5, 0.9, 1.3, 1.31, 1.4])


def an_info(width: int = 96, height: int = 96, seconds: np.ndarray = IRREGULAR) -> VideoInfo:
    return VideoInfo("clip.mp4", width, height, seconds.size / 1.4, float(seconds[-1] - seconds[0]) + 0.1, seconds)


def a_tube(info: VideoInfo, first: int, last: int, box: tuple[float, float, float, float]) -> Tube:
    boxes = np.repeat(np.array([box], np.float64), last - first + 1, axis=0)
    return Tube(first, boxes, info.frame_seconds[first : last + 1].copy(), info.frame_end_seconds(last))


def a_grounding(
    sample_count: int = 6, width: int = 160, height: int = 90, text: str = "the man runs to the sofa"
) -> Grounding:
    info = VideoInfo("clip.mp4", width, height, 10.0, 4.0, np.arange(40) / 10)
    indices = np.linspace(0, 39, sample_count).round().astype(np.int64)
    box = (0.25 * width, 0.2 * height, 0.5 * width, 0.8 * height)
    maps = np.zeros((sample_count, 8, 8))
    maps[:, 3:5, 6:] = 1.0
    return Grounding(
        frames=Frames(info, indices, np.full((sample_count, height, width, 3), GREY, np.uint8)),
        sub_queries=SubQueries(text, "the man", "the man runs to the sofa", "rules"),
        tracks=(Track(np.array([0, 39]), np.array([box, box])),),
        chosen_track=0,
        track_scores=np.array([0.9]),
        frame_scores=np.linspace(-0.5, 1, sample_count),
        span_frames=(2, 3),
        spatial_maps=FrameMaps(maps),
        temporal_maps=FrameMaps(np.zeros_like(maps)),
        tube=a_tube(info, 10, 25, box),
        diagnostics={},
        timings_seconds={},
    )
