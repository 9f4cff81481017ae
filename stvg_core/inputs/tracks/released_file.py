"""The JSON of the released code's object tracks (`dino_sam2_proposals`), read and written.

The code that made those files was never published; what reads them is
(github.com/zaiquanyang/LLaVA_Next_STVG, stvg/datasets/hcstvg.py: pack_tracks). It takes a track's seven
entries by their order, whatever their names: number, boxes, masks, class, box format, width, height.
Masks are COCO's compressed run lengths, which pycocotools reads (extra `stvg-core[proposals]`).
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from stvg_core._internal.masks import RunLengthMask
from stvg_core.errors import PluginError, TrackError
from stvg_core.inputs.tracks.stored import StoredTracks, stored_track
from stvg_core.inputs.tracks.track_file import write_bytes
from stvg_core.values import Track, VideoInfo, as_boxes

FRAMES: Final = "sample_frames"
TRACKS: Final = "dino_sam2_proposals"
_ENTRY_COUNT: Final = 7
_KEYS: Final = ("track_id", "bboxes", "rles", "class_name", "box_format", "img_width", "img_height")


def parse_released(content: Mapping[str, Any], path: Path) -> StoredTracks:
    """Return the tracks of a file of the released code.

    A track that is absent everywhere is left out. A box of zeros is an absence.

    Raises:
        TrackError: an entry is missing or malformed, or sizes disagree.
        PluginError: pycocotools is not installed.
    """
    frames = _frame_numbers(content.get(FRAMES), path)
    entries = content.get(TRACKS)
    if not isinstance(entries, list):
        raise TrackError(f"expected a list of tracks as {TRACKS} in {path}, got {type(entries).__name__}")
    sizes: list[tuple[int, int]] = []
    tracks = []
    for number, entry in enumerate(entries):
        try:
            size, track = _track(entry, frames)
        except (TrackError, OverflowError) as error:
            raise TrackError(f"track {number} of {path}: {error}; fix or download the file again") from error
        sizes.append(size)
        tracks.append(track)
    if len(set(sizes)) > 1:
        raise TrackError(f"expected tracks of one video in {path}, got sizes {sorted(set(sizes))}")
    width, height = sizes[0] if sizes else (0, 0)
    return StoredTracks(
        source=str(path),
        width=width,
        height=height,
        frame_count=None,
        sampled_frames=np.asarray(frames, dtype=np.int64),
        tracks=tuple(track for track in tracks if track is not None),
        tracker="dino_sam2_proposals",
    )


def write_released(
    path: Path, info: VideoInfo, tracks: Sequence[Track], sampled_frames: Sequence[int], label: str = "object"
) -> None:
    """Write tracks as the released code reads them.

    Boxes at the sampled frames are interpolated where a track has none there; zeros where it does not exist.
    The format has a mask for every box: that of the nearest key box, else the box itself, filled.

    Args:
        path: the file to write.
        info: the video.
        tracks: best first.
        sampled_frames: source frames, increasing; the released code expects every tenth.
        label: class of a track that has no label.

    Raises:
        OutputError: the file cannot be written.
        PluginError: pycocotools is not installed.
    """
    coco = _coco()
    numbers = np.asarray(sampled_frames, dtype=np.int64)
    entries = []
    for number, track in enumerate(tracks):
        boxes, exists = track.boxes_at(numbers)
        boxes[~exists] = 0.0
        runs = []
        for place, frame in enumerate(numbers):
            pixels = _pixels_at(track, int(frame), boxes[place], info) if exists[place] else _nothing(info)
            packed = coco.encode(np.asfortranarray(pixels.astype(np.uint8)))
            runs.append({"size": [int(side) for side in packed["size"]], "counts": packed["counts"].decode("ascii")})
        values = (
            number + 1,
            [[box] for box in boxes.tolist()],
            runs,
            track.label or label,
            "xyxy",
            info.width,
            info.height,
        )
        entries.append(dict(zip(_KEYS, values, strict=True)))
    content = {FRAMES: [f"{frame:05d}.jpg" for frame in numbers.tolist()], TRACKS: entries}
    write_bytes(path, json.dumps(content).encode())


def _nothing(info: VideoInfo) -> np.ndarray:
    return np.zeros((info.height, info.width), dtype=bool)


def _pixels_at(track: Track, frame: int, box_xyxy: np.ndarray, info: VideoInfo) -> np.ndarray:
    mask = None if track.masks is None else track.masks[int(np.abs(track.frames - frame).argmin())]
    if mask is not None:
        return mask.resized(info.width, info.height).pixels()
    pixels = _nothing(info)
    x0, y0, x1, y1 = np.rint(box_xyxy).astype(np.int64)
    pixels[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)] = True
    return pixels


def _frame_numbers(names: object, path: Path) -> list[int]:
    if not isinstance(names, list) or not names:
        raise TrackError(f"expected names of sampled frames as {FRAMES} in {path}, got {repr(names)[:60]}")
    numbers = []
    for name in names:
        stem = name.split(".")[0] if isinstance(name, str) else ""
        if not (stem.isascii() and stem.isdigit()):
            raise TrackError(f"expected frame names such as 00010.jpg in {path}, got {repr(name)[:60]}")
        numbers.append(int(stem))
    if (np.diff(numbers) <= 0).any():
        raise TrackError(f"expected sampled frames in order in {path}, got {names[:3]} ...")
    return numbers


def _track(entry: object, frames: Sequence[int]) -> tuple[tuple[int, int], Track | None]:
    """Return width and height, and the track; None where it is absent in every frame."""
    if not isinstance(entry, dict) or len(entry) != _ENTRY_COUNT:
        raise TrackError(f"expected {_ENTRY_COUNT} entries by their order, got {repr(entry)[:60]}")
    _, boxes, runs, label, form, width, height = entry.values()
    if form != "xyxy":
        raise TrackError(f"expected boxes as xyxy, got {repr(form)[:20]}")
    if not isinstance(width, int) or not isinstance(height, int) or width < 1 or height < 1:
        raise TrackError(f"expected width and height in pixels, got {repr(width)[:20]} and {repr(height)[:20]}")
    if not isinstance(boxes, list) or not isinstance(runs, list) or {len(boxes), len(runs)} != {len(frames)}:
        raise TrackError(f"expected a box and a mask for each of {len(frames)} sampled frames")
    corners = as_boxes([_corners(box) for box in boxes])
    seen = [place for place in range(len(frames)) if corners[place].any()]
    if not seen:
        return (width, height), None
    masks = [_mask(runs[place], width, height) for place in seen]
    track = stored_track(
        [frames[place] for place in seen],
        corners[seen],
        (width, height),
        label=label if isinstance(label, str) else "",
        masks=masks,
        looked=frames,
    )
    return (width, height), track


def _corners(box: object) -> list[float]:
    inner = box[0] if isinstance(box, list) and len(box) == 1 else box
    if not isinstance(inner, list) or [type(value) in (int, float) for value in inner] != [True] * 4:
        raise TrackError(f"expected a box as [[x0, y0, x1, y1]], got {repr(box)[:60]}")
    return [float(value) for value in inner]


def _mask(runs: object, width: int, height: int) -> RunLengthMask:
    size, counts = (runs.get("size"), runs.get("counts")) if isinstance(runs, dict) else (None, None)
    if size != [height, width]:
        raise TrackError(f"expected masks of [{height}, {width}] (height, width), got {repr(size)[:40]}")
    if not isinstance(counts, str) or not counts.isascii():
        raise TrackError(f"expected a mask's counts as COCO's compressed text, got {repr(counts)[:40]}")
    coco, packed = _coco(), counts.encode("ascii")
    try:
        with warnings.catch_warnings():
            # pycocotools 2.0.11 calls numpy's __array__ in the manner of numpy 1.
            warnings.simplefilter("ignore", DeprecationWarning)
            pixels = coco.decode({"size": size, "counts": packed})
            # Runs that end early are read without a word; written again they are others.
            whole = coco.encode(np.asfortranarray(pixels))["counts"] == packed
    except ValueError:
        whole = False
    if not whole:
        raise TrackError(f"expected a mask's runs to fill {width}x{height} pixels, got {counts[:40]!r}")
    return RunLengthMask.of(np.asarray(pixels, dtype=bool))


def _coco() -> Any:  # noqa: ANN401  # the module has no types
    try:
        from pycocotools import mask
    except ImportError as error:
        raise PluginError(
            f"masks of the released code's track files need pycocotools ({error}); pip install 'stvg-core[proposals]'"
        ) from error
    return mask
