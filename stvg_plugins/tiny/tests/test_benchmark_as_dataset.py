"""The synthetic benchmark is a data set like any other: the core's readers find the scenes' own tubes in it."""

import io
import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from stvg_core.inputs.datasets import check_dataset, open_dataset, write_annotations
from stvg_tiny.annotations import annotation_files
from stvg_tiny.benchmark import write_benchmark
from stvg_tiny.clips import CLIP_FRAMES, CLIP_PIXELS, benchmark_clips, query, true_tube

CLIPS = 6
SETTINGS = list(product(("hcstvg-v1", "hcstvg-v2"), ("easy", "hard"), ("declarative", "interrogative")))


@pytest.fixture(scope="module")
def annotations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The annotation files alone: no clip is rendered."""
    root = tmp_path_factory.mktemp("annotations")
    for level in ("easy", "hard"):
        for name, content in annotation_files(benchmark_clips(level, CLIPS), level, CLIP_PIXELS).items():
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_text(json.dumps(content), encoding="utf-8")
    return root


@pytest.mark.parametrize(("dataset", "level", "form"), SETTINGS)
def test_the_readers_find_the_tubes_of_the_scenes(dataset: str, level: str, form: str, annotations: Path) -> None:
    entries = list(open_dataset(dataset, annotations, split=f"{level}_{form}").entries())
    clips = benchmark_clips(level, CLIPS)
    assert len(entries) == len(clips)
    for entry, clip in zip(entries, clips, strict=True):
        assert entry.problems == ()
        sample, wanted = entry.sample, true_tube(clip.scene, CLIP_PIXELS)
        assert sample is not None
        assert sample.truth is not None
        assert (sample.sample_id, sample.query) == (clip.identifier, query(clip.scene, form))
        assert (sample.frame_count, sample.width, sample.height) == (CLIP_FRAMES, CLIP_PIXELS, CLIP_PIXELS)
        assert (sample.truth.start_frame, sample.truth.end_frame) == (wanted.start_frame, wanted.end_frame)
        # Files hold hundredths of a pixel, and width and height are rounded once more.
        inside = np.clip(wanted.boxes_xyxy, 0, CLIP_PIXELS)
        np.testing.assert_allclose(sample.truth.boxes_xyxy, inside, rtol=0, atol=0.011)


@pytest.mark.parametrize(("dataset", "level", "form"), SETTINGS)
def test_what_is_exported_is_the_benchmarks_own_file(dataset: str, level: str, form: str, annotations: Path) -> None:
    stream = io.StringIO()
    samples = open_dataset(dataset, annotations, split=f"{level}_{form}").samples(corrections=False)
    assert write_annotations(samples, stream) == CLIPS
    found = json.loads(stream.getvalue())
    wanted = json.loads((annotations / f"score/{level}.json").read_text(encoding="utf-8"))
    assert found.keys() == wanted.keys()
    for name, record in wanted.items():
        boxes, own = found[name].pop("boxes"), record.pop("boxes")
        assert found[name] == record
        assert boxes.keys() == own.keys()
        np.testing.assert_allclose(list(boxes.values()), list(own.values()), rtol=0, atol=1e-9)


def test_a_written_benchmark_is_healthy_with_its_videos_opened(tmp_path: Path) -> None:
    write_benchmark(tmp_path / "benchmark", 2)
    for dataset in ("hcstvg-v1", "hcstvg-v2"):
        report = check_dataset(open_dataset(dataset, tmp_path / "benchmark", split="hard_declarative"), videos="open")
        assert report.healthy
        assert report.layout == "ours"
        assert (report.usable, report.videos["there"], report.problems, report.corrections) == (2, 2, (), ())
