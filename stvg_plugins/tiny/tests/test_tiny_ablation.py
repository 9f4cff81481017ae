"""Synthetic clips as samples of an ablation."""

import pickle
from itertools import islice

import numpy as np
import pytest

from stvg_core.metrics import score_sample, tube_overlap
from stvg_core.metrics.sample_tube import SampleTube
from stvg_core.settings import SamplingSettings
from stvg_core.values import Tube
from stvg_tiny.ablation import EXACT, LEVELS, SceneSource, attribute_decides
from stvg_tiny.clips import CLIP_FRAMES, CLIP_PIXELS, benchmark_clips, clip_info, query, true_tube
from stvg_tiny.errors import SceneError


def test_scores_are_the_cards() -> None:
    (clip,) = benchmark_clips("easy", 1)
    truth, info = true_tube(clip.scene, CLIP_PIXELS), clip_info(CLIP_PIXELS)
    (sample, *_) = SceneSource("test", 1).samples()
    for start, end in ((truth.start_frame, truth.end_frame), (0, CLIP_FRAMES - 1), (0, 1), (truth.end_frame, 127)):
        boxes = np.tile([20.0, 20, 120, 120], (end - start + 1, 1))
        tube = Tube(start, boxes, info.frame_seconds[start : end + 1], info.frame_end_seconds(end))
        wanted = tube_overlap(tube, truth)
        whole = SampleTube(start, end, np.arange(CLIP_FRAMES), np.tile([20.0, 20, 120, 120], (CLIP_FRAMES, 1)))
        found = score_sample(whole, sample.truth, EXACT.rules)
        assert found.temporal_iou == pytest.approx(wanted.temporal_iou)
        assert found.video_iou == pytest.approx(wanted.video_iou)


def test_levels_and_seeds_take_turns_and_more_clips_go_on_from_fewer() -> None:
    few = [sample.task.sample_id for sample in SceneSource("test", 2, (0, 3)).samples()]
    more = [sample.task.sample_id for sample in SceneSource("test", 3, (0, 3)).samples()]
    assert few == more[:12]
    assert len(set(more)) == 18
    levels = [sample.groups[:2] for sample in islice(SceneSource("test", 2, (0, 3)).samples(), 6)]
    assert levels == [(level, f"seed {seed}") for seed in (0, 3) for level in LEVELS]


@pytest.mark.parametrize("split", ["test", "development"])
def test_at_level_attribute_looks_decide_and_actions_do_not(split: str) -> None:
    samples = [sample for sample in SceneSource(split, 4).samples() if sample.groups[0] == "attribute"]
    assert len(samples) == 4
    by_name = {clip.identifier: clip.scene for clip in benchmark_clips("easy", 100)}
    for sample in samples if split == "test" else ():
        scene = by_name[sample.task.video.removesuffix(".mp4").replace("attribute", "easy")]
        assert query(scene) == sample.task.query
        target, *others = scene.objects
        assert not any((item.color, item.shape) == (target.color, target.shape) for item in others)
        assert any(item.action == target.action for item in others)
    assert not any(attribute_decides(clip.scene) for clip in benchmark_clips("hard", 20))


def test_a_source_travels_and_samples_hold_all_true_tracks() -> None:
    source = pickle.loads(pickle.dumps(SceneSource("test", 1)))  # our own bytes
    (sample, *_) = source.samples()
    frames = sample.read(SamplingSettings(frame_count=5))
    assert frames.pixels.shape == (5, CLIP_PIXELS, CLIP_PIXELS, 3)
    (clip,) = benchmark_clips("easy", 1)
    assert len(sample.true_tracks) == len(clip.scene.objects)
    numbers = sample.truth.tube.frames
    fits = [np.abs(track.boxes_at(numbers)[0] - sample.truth.tube.boxes_xyxy).max() for track in sample.true_tracks]
    assert min(fits) == 0.0
    assert source.describe() == SceneSource("test", 9, (0, 1)).describe(), "more clips are no other ones"
    assert source.describe() != SceneSource("development", 1).describe()


def test_no_clips_are_refused() -> None:
    with pytest.raises(SceneError):
        next(SceneSource("test", 0).samples())
