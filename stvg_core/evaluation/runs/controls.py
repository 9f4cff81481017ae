"""What a run stores for controls beside attention maps: every proposed track, and choices that need no truth.

A rising score can be the repair of a harmful part, so results are read beside controls that share their attention
maps and proposed tracks. Scores are computed later, where the truth is known (evaluation/comparison/controls.py).
"""

import json
from typing import Any, Final
from zlib import crc32

import numpy as np

from stvg_core.evaluation.runs.tasks import ACTION_ONLY, ATTRIBUTE_ONLY, CONTROLS_KEY, RANDOM
from stvg_core.inputs.tracks.cells import cell_coverage
from stvg_core.method.pipeline import join_branches, score_track_frames
from stvg_core.method.tube import choose_span, source_bounds
from stvg_core.outputs.report.kept_maps import dump_maps
from stvg_core.settings import JointSettings
from stvg_core.values import Grounding

_DRAWS: Final = 20
_RANDOM_KEY: Final = 11


def dump_maps_and_controls(grounding: Grounding, settings: JointSettings, sample_id: str) -> str:
    """Return attention maps, proposed tracks and the controls' choices as JSON text; needs no truth.

    Of a long video that was searched in windows there are maps alone: its windows decide the span as well.

    Args:
        grounding: of one sample.
        settings: how maps choose a track and a span.
        sample_id: seeds the random choices.
    """
    if grounding.windows:
        return dump_maps(grounding)
    return json.dumps(json.loads(dump_maps(grounding)) | {CONTROLS_KEY: _choices(grounding, settings, sample_id)})


def _choices(grounding: Grounding, settings: JointSettings, sample_id: str) -> dict[str, Any]:
    frames, tracks = grounding.frames, grounding.tracks
    rows, columns = grounding.spatial_maps.values.shape[1:]
    coverage = cell_coverage(tracks, frames.indices, frames.info, rows, columns, settings.track_cells)
    choices = {}
    for name, maps in ((ATTRIBUTE_ONLY, grounding.spatial_maps), (ACTION_ONLY, grounding.temporal_maps)):
        joined = join_branches(frames, tracks, coverage, maps, maps, settings)
        choices[name] = [[joined.chosen_track, *source_bounds(joined.span_frames, frames, settings)]]
    generator = np.random.default_rng([_RANDOM_KEY, crc32(sample_id.encode())])
    first, last = grounding.span_frames
    starts = generator.integers(len(frames) - (last - first), size=_DRAWS).tolist()
    drawn = generator.integers(len(tracks), size=_DRAWS).tolist()
    choices[RANDOM] = [
        [track, *source_bounds((start, start + last - first), frames, settings)]
        for track, start in zip(drawn, starts, strict=True)
    ]
    spans = [
        choose_span(score_track_frames(frames, track, cells, grounding.temporal_maps, settings), settings)
        for track, cells in zip(tracks, coverage, strict=True)
    ]
    return {
        "tracks": [
            {
                "frames": track.frames.tolist(),
                "boxes_xyxy": track.boxes_xyxy.tolist(),
                "span": source_bounds(span, frames, settings),
            }
            for track, span in zip(tracks, spans, strict=True)
        ],
        "choices": choices,
    }
