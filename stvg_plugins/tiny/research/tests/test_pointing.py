"""Pointing accuracy against a plain loop over what the adapter returns."""

from pathlib import Path

import numpy as np
import pytest

from stvg_core.host.session import open_session
from stvg_core.plugin.adapter import AttentionRequest
from stvg_core.settings import SamplingSettings
from stvg_tiny.clips import CLIP_FRAMES, clip_frames
from stvg_tiny.sampling import Split, held_out_scene
from stvg_tiny.scenes import Scene, SceneObject, Span, Texture, frame_times
from tiny_recipe.architectures import ARCHITECTURES
from tiny_recipe.checkpoint import export_checkpoint
from tiny_recipe.pointing import described_cells, measure
from tiny_recipe.tokenizer import build_tokenizer


@pytest.fixture(scope="module", params=sorted(ARCHITECTURES))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    row = ARCHITECTURES[request.param]
    tokenizer = build_tokenizer(row.chat)
    path = tmp_path_factory.mktemp(request.param)
    export_checkpoint(row, row.build(row.grid, tokenizer, 3), tokenizer, path)
    return path


def test_pointing_equals_a_loop_over_the_adapters_rows(folder: Path) -> None:
    row = next(row for row in ARCHITECTURES.values() if folder.name.startswith(row.name))
    scenes = [held_out_scene(Split.DEVELOPMENT, index, "hard") for index in range(2)]
    with open_session(str(folder)) as session:
        measured = measure(session, row, scenes)
        layers = session.adapter.description.layer_count
        for wanted in ((1,), tuple(range(layers))):
            hits, shares = [], []
            for scene in scenes:
                frames = clip_frames(scene, 96, SamplingSettings(frame_count=row.grid.frame_count))
                clip = session.adapter.encode(frames, row.inputs, tuple(range(len(frames))))
                asked = f"Is there something that {scene.target.action} in this video?"
                (attention,) = session.capture_attention(AttentionRequest(clip, (asked,), None, wanted))
                times = frame_times(CLIP_FRAMES)[frames.indices]
                centers = [item.boxes(times, 96) for item in scene.objects if item.action == scene.target.action]
                shares.append(len(centers) / len(scene.objects))
                for token in range(len(attention.tokens) - 6, len(attention.tokens)):
                    place = int(attention.rows[token].argmax())
                    step, cell_row, cell_column = np.unravel_index(place, clip.layout.shape)
                    covered = []
                    for boxes in centers:
                        box = boxes.reshape(clip.layout.shape[0], -1, 4).mean(axis=1)[step]
                        width = min(box[2], 16 * cell_column + 16) - max(box[0], 16 * cell_column)
                        height = min(box[3], 16 * cell_row + 16) - max(box[1], 16 * cell_row)
                        covered.append(max(width, 0) * max(height, 0) / 256 >= 0.22)
                    hits.append(any(covered))
            expected = np.array(hits, float).reshape(2, 6).mean(axis=0)
            ours = measured["action"].hits[-1 if len(wanted) > 1 else 1]
            np.testing.assert_array_equal(ours, expected)
            assert measured["action"].random_object == pytest.approx(np.mean(shares))
    assert len(measured["full"].tokens) == 6


def test_described_cells_are_those_of_all_objects_that_are_meant() -> None:
    def item(color: str, action: str, x: float) -> SceneObject:
        return SceneObject(color, "ring", action, Span(0.0, 1.0), (x, 0.25), (0.0, 0.0), 0.1, 0.1)

    scene = Scene((item("red", "grows", 0.25), item("red", "blinks", 0.75)), Texture(0, 4, 0.0, 0.0))
    grid = ARCHITECTURES["llava-next"].grid
    for asked, columns, share in (
        ("attribute", {1, 4}, 1.0),
        ("action", {1}, 0.5),
        ("subject_action", {1}, 0.5),
        ("full", {1}, 0.5),
    ):
        cells, chance = described_cells(scene, asked, frame_times(8), grid)
        assert {int(column) % 6 for column in np.flatnonzero(cells)} == columns
        assert chance == share
