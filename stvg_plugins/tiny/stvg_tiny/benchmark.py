"""Writes the test split as a data set: clips, annotations, and a manifest with hashes of the content.

Everything depends on the seed and the number of clips alone. The files appear together or not at all.
"""

from __future__ import annotations

import hashlib
import json
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np

from stvg_core.errors import OutputError, StvgError
from stvg_core.outputs.report.staging import staged_files
from stvg_tiny.annotations import annotation_files, file_name
from stvg_tiny.clips import (
    CLIP_FRAMES,
    CLIP_FRAMES_PER_SECOND,
    CLIP_PIXELS,
    Clip,
    benchmark_clips,
    clip_pixels,
    write_clip,
)
from stvg_tiny.combinations import HELD_OUT_GRID_CELLS, HELD_OUT_OBJECT_COUNT, HELD_OUT_PAIRS, HELD_OUT_TRIPLES
from stvg_tiny.errors import SceneError
from stvg_tiny.scenes import Difficulty

LEVELS: Final[tuple[Difficulty, ...]] = get_args(Difficulty)
CLIPS_PER_LEVEL: Final = 300
MANIFEST_FILE: Final = "manifest.json"
VIDEO_FOLDER: Final = "video"
FORMAT_VERSION: Final = 1
_REPORT_EVERY: Final = 50

OnClip = Callable[[Clip], None]
"""Called with every clip as it is written."""


@dataclass(frozen=True)
class ContentHash:
    """What a benchmark holds, in three SHA-256 hashes; no encoder has a say in them.

    Attributes:
        annotations: of all annotation files.
        frames: of the rendered frames of all clips.
        content: of the two others.
    """

    annotations: str
    frames: str
    content: str


def content_hash(annotations: Mapping[str, str], frame_hashes: Mapping[str, str]) -> ContentHash:
    """Return the hashes of a benchmark.

    Args:
        annotations: path to text of every annotation file.
        frame_hashes: identifier to `frames_hash` of every clip.
    """
    ours = _hash_lines(f"{path} {_hash(text.encode())}" for path, text in sorted(annotations.items()))
    theirs = _hash_lines(f"{identifier} {digest}" for identifier, digest in sorted(frame_hashes.items()))
    return ContentHash(ours, theirs, _hash_lines([ours, theirs]))


def frames_hash(pixels: np.ndarray) -> str:
    """Return the SHA-256 of raw RGB frames, row by row."""
    return _hash(np.ascontiguousarray(pixels).tobytes())


def benchmark_hash(clips_per_level: int = CLIPS_PER_LEVEL, seed: int = 0) -> ContentHash:
    """Return the hash of a benchmark's content without writing or encoding anything."""
    levels = {level: benchmark_clips(level, clips_per_level, seed) for level in LEVELS}
    hashes = {
        clip.identifier: frames_hash(clip_pixels(clip.scene, CLIP_PIXELS))
        for clips in levels.values()
        for clip in clips
    }
    return content_hash(_annotation_texts(levels), hashes)


def write_benchmark(
    folder: Path, clips_per_level: int = CLIPS_PER_LEVEL, seed: int = 0, on_clip: OnClip | None = None
) -> ContentHash:
    """Write both levels to a folder and return the hash of the content.

    Args:
        folder: new, or empty.
        clips_per_level: how many clips of each level; fewer are the first of more.
        seed: 0 is the test split itself, others are further samples like it.
        on_clip: called with every clip as it is written.

    Raises:
        OutputError: the folder holds something or cannot be written; nothing is left behind.
        SceneError: no clips are asked for, or the seed is negative.
    """
    if clips_per_level < 1 or seed < 0:
        raise SceneError(f"expected at least one clip and a seed of at least 0, got {clips_per_level} and {seed}")
    if folder.is_dir() and any(folder.iterdir()):
        raise OutputError(f"expected a new or empty folder, but {folder} holds files; choose another with --out")
    with staged_files(folder) as stage:
        (stage / VIDEO_FOLDER).mkdir()
        levels = {level: benchmark_clips(level, clips_per_level, seed) for level in LEVELS}
        hashes = dict(
            _write_videos(stage / VIDEO_FOLDER, [clip for level in LEVELS for clip in levels[level]], on_clip)
        )
        texts = _annotation_texts(levels)
        for path, text in texts.items():
            (stage / path).parent.mkdir(exist_ok=True)
            (stage / path).write_text(text, encoding="utf-8")
        content = content_hash(texts, hashes)
        manifest = _manifest(clips_per_level, seed, content, hashes)
        (stage / MANIFEST_FILE).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return content


def _write_videos(folder: Path, clips: Sequence[Clip], on_clip: OnClip | None) -> Iterator[tuple[str, str]]:
    """Write every clip, and yield its identifier with the hash of its frames."""
    for clip in clips:
        pixels = clip_pixels(clip.scene, CLIP_PIXELS)
        write_clip(folder / file_name(clip), pixels)
        if on_clip is not None:
            on_clip(clip)
        yield clip.identifier, frames_hash(pixels)


def _manifest(clips_per_level: int, seed: int, content: ContentHash, frame_hashes: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": "stvg-tiny benchmark",
        "format_version": FORMAT_VERSION,
        "seed": seed,
        "clips_per_level": clips_per_level,
        "levels": list(LEVELS),
        "frame_count": CLIP_FRAMES,
        "frames_per_second": CLIP_FRAMES_PER_SECOND,
        "width": CLIP_PIXELS,
        "height": CLIP_PIXELS,
        "held_out": {
            "pairs": [list(pair) for pair in HELD_OUT_PAIRS],
            "triples": [list(triple) for triple in HELD_OUT_TRIPLES],
            "background_grid_cells": HELD_OUT_GRID_CELLS,
            "object_count": HELD_OUT_OBJECT_COUNT,
        },
        "sha256": asdict(content),
        "frames_sha256": dict(frame_hashes),
    }


def _annotation_texts(levels: Mapping[Difficulty, Sequence[Clip]]) -> dict[str, str]:
    """Return path and text of every annotation file."""
    return {
        path: json.dumps(content, sort_keys=True, separators=(",", ":")) + "\n"
        for level, clips in levels.items()
        for path, content in annotation_files(clips, level, CLIP_PIXELS).items()
    }


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _hash_lines(lines: Iterable[str]) -> str:
    return _hash("".join(f"{line}\n" for line in lines).encode())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command `stvg-tiny`; return its exit code: 0 done, 1 failed, 2 wrong usage."""
    parser = ArgumentParser(prog="stvg-tiny", description="The synthetic clips of stvg-tiny.")
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make-benchmark", help="write the test split as mp4 clips with annotations")
    make.add_argument("--out", type=Path, required=True, help="a new or empty folder")
    make.add_argument("--clips", type=int, default=CLIPS_PER_LEVEL, help="of each level [default: %(default)s]")
    make.add_argument("--seed", type=int, default=0, help="0: the test split itself; others: more clips like it")
    options = parser.parse_args(arguments)
    done = 0

    def report(_clip: Clip) -> None:
        nonlocal done
        done += 1
        if done % _REPORT_EVERY == 0:
            sys.stderr.write(f"{done} of {options.clips * len(LEVELS)} clips\n")

    try:
        content = write_benchmark(options.out, options.clips, options.seed, report)
    except StvgError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"{options.out}\nsha256 of annotations and frames: {content.content}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
