"""Scenes as clips with truth."""

import numpy as np
import pytest

from stvg_core.inputs.query.rules import RulesDecomposer
from stvg_core.method.tube import assemble_tube
from stvg_core.metrics import tube_overlap
from stvg_core.settings import SamplingSettings, Settings
from stvg_tiny.clips import CLIP_FRAMES, clip_frames, clip_info, query, true_track, true_tube
from stvg_tiny.rendering import render
from stvg_tiny.sampling import Split, held_out_scene
from stvg_tiny.scenes import Difficulty, Scene, frame_times

SIZE = 96


ALWAYS_SHOWN = [
    scene
    for scene in (held_out_scene(Split.DEVELOPMENT, index, "easy") for index in range(8))
    if scene.target.action != "blinks"
]


@pytest.mark.parametrize("scene", ALWAYS_SHOWN, ids=query)
def test_the_true_tube_follows_the_target_in_pixels(scene: Scene) -> None:
    # Independent of the boxes' own arithmetic: where the pictures with and without the target differ.
    without = type(scene)(scene.objects[1:], scene.texture)
    tube = true_tube(scene, SIZE)
    frame = (tube.start_frame + tube.end_frame) // 2
    times = frame_times(CLIP_FRAMES)[frame : frame + 1]
    changed = np.abs(render(scene, times, SIZE)[0].astype(int) - render(without, times, SIZE)[0]).sum(axis=2) > 40
    rows, columns = np.nonzero(changed)
    box = tube.boxes_xyxy[frame - tube.start_frame]
    painted = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert np.abs(box - painted).max() <= 2.0


def test_a_clip_shows_the_frames_it_says() -> None:
    scene = held_out_scene(Split.DEVELOPMENT, 0, "easy")
    frames = clip_frames(scene, SIZE, SamplingSettings(frame_count=5))
    assert frames.indices.tolist() == [0, 32, 64, 95, 127]
    whole = render(scene, frame_times(CLIP_FRAMES)[[64]], SIZE)
    # Noise is drawn per call; everything else is the same picture.
    assert np.abs(frames.pixels[2].astype(int) - whole[0]).mean() < 3 * scene.texture.noise_level + 1


def test_a_perfect_prediction_scores_one() -> None:
    scene = held_out_scene(Split.DEVELOPMENT, 1, "easy")
    truth = true_tube(scene, SIZE)
    assert tube_overlap(truth, truth).video_iou == pytest.approx(1.0)
    frames = clip_frames(scene, SIZE, SamplingSettings(frame_count=CLIP_FRAMES))
    span = (truth.start_frame, truth.end_frame)
    tube = assemble_tube(true_track(scene.target, SIZE), span, frames, Settings().joint)
    assert tube_overlap(tube, truth).video_iou == pytest.approx(1.0)


@pytest.mark.parametrize("difficulty", ["easy", "hard"])
def test_queries_decompose_into_what_the_model_was_asked_in_training(difficulty: Difficulty) -> None:
    for index in range(20):
        scene = held_out_scene(Split.DEVELOPMENT, index, difficulty)
        parts = RulesDecomposer().decompose(query(scene))
        assert parts.attribute == f"the {scene.target.color} {scene.target.shape}"
        assert parts.action == f"the {scene.target.shape} {scene.target.action}"


def test_clip_info_lasts_as_long_as_its_frames() -> None:
    info = clip_info(SIZE)
    assert info.frame_count == CLIP_FRAMES
    assert info.frame_end_seconds(CLIP_FRAMES - 1) == pytest.approx(info.duration_seconds)
