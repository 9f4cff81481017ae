"""A recording of Rerun (.rrd) per sample: video, boxes, frame scores and attention on one time line.

Needs rerun-sdk: pip install 'stvg-core[rerun]'. Nothing is sent anywhere.
"""

from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from jaxtyping import Float64

from stvg_core.errors import OutputError, PluginError
from stvg_core.evaluation.exports.samples import ExportedSample, ExportedTube, FileNames
from stvg_core.evaluation.exports.sources import ExportSource
from stvg_core.outputs.report.drawing import PREDICTION, TRUTH, heat_colors, heat_scale

INSTALL: Final = "pip install 'stvg-core[rerun]'"
TIME_LINE: Final = "video_time"
FRAME_LINE: Final = "frame"
_VIDEO_ENDING: Final = ".mp4"
_COLORS: Final = {"prediction": PREDICTION, "truth": TRUTH}
_NANOSECONDS: Final = 1e9
_OPACITY: Final = 0.75
_MOST_CELLS: Final = 2**24


def write_rerun(folder: Path, source: ExportSource) -> None:
    """Write a recording per sample.

    Entities: `video` (the file itself, where it is an MP4 that the user has named), `video/prediction` and
    `video/truth` (boxes, cleared behind the span), `video/attention` (maps of `stvg attend` that lie beside the
    result), `frame_score`, `query`. Time lines: `video_time`, presentation seconds, and `frame`, from 0.

    Raises:
        PluginError: rerun-sdk is not installed.
    """
    try:
        import rerun
    except ImportError as error:
        raise PluginError(f"expected rerun-sdk for recordings, got none; {INSTALL}") from error
    names = FileNames()
    for sample in source.samples():
        name = names.of(sample.sample_id)
        with rerun.RecordingStream("stvg", recording_id=name) as stream:
            stream.save(folder / f"{name}.rrd")
            _log(rerun, stream, sample, source.model)


def _log(rerun: Any, stream: Any, sample: ExportedSample, model: str) -> None:  # noqa: ANN401  # foreign
    text = f"{sample.query}\n\nsample {sample.sample_id}, video {sample.video.path}, model {model or 'unknown'}"
    stream.log("query", rerun.TextDocument(text, media_type=rerun.MediaType.TEXT), static=True)
    _log_video(rerun, stream, sample)
    for tube in sample.tubes:
        _log_tube(rerun, stream, sample, tube)
    if sample.frame_scores:
        frames = sorted(sample.frame_scores)
        scores = rerun.Scalars.columns(scalars=[sample.frame_scores[frame] for frame in frames])
        stream.send_columns("frame_score", _lines(rerun, sample, frames), scores)
    if sample.attention_file is not None:
        _log_attention(rerun, stream, sample, sample.attention_file)


def _lines(rerun: Any, sample: ExportedSample, frames: list[int]) -> list[Any]:  # noqa: ANN401  # foreign
    return [
        rerun.TimeColumn(TIME_LINE, duration=[sample.seconds(frame) for frame in frames]),
        rerun.TimeColumn(FRAME_LINE, sequence=frames),
    ]


def _log_video(rerun: Any, stream: Any, sample: ExportedSample) -> None:  # noqa: ANN401  # foreign
    """Put the file itself in, where the user has said where it is; Rerun plays MP4 alone."""
    file, frames = sample.video.file, list(range(sample.video.frame_count))
    if file is None or file.suffix.lower() != _VIDEO_ENDING:
        return
    video = rerun.AssetVideo(path=file)
    times = np.asarray(video.read_frame_timestamps_nanos())
    if len(times) != len(frames):
        # Rerun counts frames by the file's index, and so differently from a decoder that drops some.
        frames = frames[: len(times)]
        times = times[: len(frames)]
    stream.log("video", video, static=True)
    stream.send_columns("video", _lines(rerun, sample, frames), rerun.VideoFrameReference.columns_nanos(times))


def _log_tube(rerun: Any, stream: Any, sample: ExportedSample, tube: ExportedTube) -> None:  # noqa: ANN401  # foreign
    frames, entity = tube.frames.tolist(), f"video/{tube.role}"
    sides = tube.boxes_xyxy[:, 2:] - tube.boxes_xyxy[:, :2]
    columns = rerun.Boxes2D.columns(
        centers=tube.boxes_xyxy[:, :2] + sides / 2,
        half_sizes=sides / 2,
        colors=[_COLORS[tube.role]] * len(frames),
        labels=[tube.role] * len(frames),
    )
    stream.send_columns(entity, _lines(rerun, sample, frames), columns)
    if tube.end_frame + 1 < sample.video.frame_count:
        stream.send_columns(
            entity,
            _lines(rerun, sample, [tube.end_frame + 1]),
            rerun.Clear.columns(is_recursive=[False]),
        )


def _log_attention(rerun: Any, stream: Any, sample: ExportedSample, file: Path) -> None:  # noqa: ANN401  # foreign
    frames, seconds, maps = read_attention(file, sample)
    low, high = heat_scale(maps)
    size = (sample.video.width, sample.video.height)
    for frame, second, heat in zip(frames, seconds, maps, strict=True):
        level = np.clip((heat - low) / (high - low), 0.0, 1.0).astype(np.float32)
        level = np.clip(cv2.resize(level, size, interpolation=cv2.INTER_NEAREST), 0.0, 1.0)
        colored = np.dstack([heat_colors(level)[..., ::-1], 255 * _OPACITY * level])
        encoded = cv2.imencode(".png", np.rint(colored).astype(np.uint8))[1].tobytes()
        stream.set_time(TIME_LINE, duration=second)
        stream.set_time(FRAME_LINE, sequence=frame)
        stream.log("video/attention", rerun.EncodedImage(contents=encoded, media_type="image/png", draw_order=10.0))


def read_attention(
    file: Path, sample: ExportedSample
) -> tuple[list[int], list[float], Float64[np.ndarray, "frame row column"]]:
    """Return source frames, seconds and maps of an attention.npz; no pickle in it is read.

    Raises:
        OutputError: it is none of `stvg attend`, or of another video.
    """
    try:
        with np.load(file, allow_pickle=False) as arrays:
            width, height = (int(side) for side in arrays["video_size"])
            frames, seconds, maps = arrays["frame_index"], arrays["frame_seconds"], arrays["maps"]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise OutputError(f"expected arrays of stvg attend in {file}, got others ({error}); remove the file") from error
    fits = maps.ndim == 3 and 0 < maps.size <= _MOST_CELLS and frames.shape == seconds.shape == maps.shape[:1]  # noqa: PLR2004
    if not fits or not np.isfinite(maps).all() or (width, height) != (sample.video.width, sample.video.height):
        raise OutputError(
            f"expected the attention on {sample.video.path} in {file}, got another video's; remove the file"
        )
    return [int(frame) for frame in frames], [float(second) for second in seconds], maps.astype(np.float64)
