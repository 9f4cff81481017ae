"""What `stvg demo --compare` compares on: samples that can be read, true tracks that are true, rows that can run."""

from pathlib import Path

import numpy as np
import pytest

from stvg_core.devtools.demos import ROWS_FILE, Demo, find_comparison_demo
from stvg_core.evaluation.comparison import LADDER, read_rows
from stvg_core.host.models import named_models
from stvg_core.inputs.datasets import open_dataset
from stvg_core.inputs.tracks.from_file import read_tracks
from stvg_core.inputs.video import probe_video
from stvg_core.settings import load_settings
from stvg_tiny.clips import CLIP_PIXELS, benchmark_clips, query, true_tube
from stvg_tiny.demo import MODELS, TRUE_TRACKS, TinyDemo


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / 'it\'s "data"'
    TinyDemo(clips_per_level=2).write_comparison(folder)
    return folder


def test_it_is_the_demo_that_is_installed() -> None:
    found = find_comparison_demo()
    assert isinstance(found, Demo)
    assert found == TinyDemo()
    assert str(TinyDemo().clips_per_level) in found.note


def test_the_clips_are_the_first_of_the_test_split_with_what_was_held_out() -> None:
    tags = [clip.tags for level in ("easy", "hard") for clip in benchmark_clips(level, TinyDemo().clips_per_level)]
    assert sum("pair" in own for own in tags) == sum("triple" in own for own in tags) == len(tags) / 4
    assert sum(not {"pair", "triple"} & set(own) for own in tags) == len(tags) / 2


def test_samples_are_read_with_their_truth(folder: Path) -> None:
    entries = list(open_dataset("folder", folder).entries(corrections=False))
    assert not any(entry.problems for entry in entries)
    clips = [*benchmark_clips("easy", 2), *benchmark_clips("hard", 2)]
    for number, (entry, clip) in enumerate(zip(entries, clips, strict=True)):
        sample, truth = entry.sample, true_tube(clip.scene, CLIP_PIXELS)
        assert sample is not None
        assert sample.truth is not None
        assert sample.sample_id == clip.identifier
        assert sample.query_type == ("declarative", "interrogative")[number % 2]
        assert sample.query == query(clip.scene, sample.query_type)
        assert sample.truth.start_frame == truth.start_frame
        assert np.allclose(sample.truth.boxes_xyxy, truth.boxes_xyxy, atol=0.01)


def test_true_tracks_are_of_all_objects_and_marked(folder: Path) -> None:
    for clip in benchmark_clips("hard", 2):
        stored = read_tracks(folder / TRUE_TRACKS / f"{clip.identifier}.json.gz")
        stored.check_video(probe_video(folder / f"{clip.identifier}.mp4"))
        assert stored.oracle_categories
        assert len(stored.tracks) == len(clip.scene.objects)
        truth = true_tube(clip.scene, CLIP_PIXELS)
        frames = np.arange(truth.start_frame, truth.end_frame + 1)
        errors = [np.abs(track.boxes_at(frames)[0] - truth.boxes_xyxy).max() for track in stored.tracks]
        assert min(errors) < 0.01


def test_rows_are_the_ladder_and_the_upper_bound_of_each_model(folder: Path) -> None:
    rows = read_rows(folder / ROWS_FILE)
    assert len(rows) == len(MODELS) * (len(LADDER) + 1)
    assert set(MODELS) <= set(named_models())
    own = len(LADDER) + 1
    for number, row in enumerate(rows):
        assert row.spec.model == MODELS[number // own]
        assert (row.spec.tracks == f"file:{folder.resolve() / TRUE_TRACKS}") == (number % own == own - 1)
        assert load_settings("paper", overrides=row.spec.overrides).prompt.steps == 1


def test_a_folder_that_has_it_stays_as_it_is(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    TinyDemo().write_comparison(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
