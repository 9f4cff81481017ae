"""What the Python API says to arguments of another kind: an error that names it, before any work."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import jaxtyping
import numpy as np
import pytest
import torch

import stvg_core as stvg
from stvg_core.api.grounder import Grounder
from stvg_core.api.run_spec import RunSpec
from stvg_core.errors import ModelError, QueryError, SettingsError, StvgError, TrackError, UsageError, VideoError
from stvg_core.plugin.model_reference import LoadOptions

MODEL = "tiny:qwen2-vl"
QUERY = "The red square stands still."
FRAMES = np.zeros((20, 64, 64, 3), np.uint8)
FRAMES[:, 10:30, 10:30] = (200, 30, 30)
BOX = np.array([[10.0, 10, 30, 30]])


@pytest.fixture(autouse=True, scope="module")
def as_users_run_it() -> Iterator[None]:
    """Switch the tests' own checks of types off: users have none."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@dataclass
class Boxes:
    """What is used of supervision.Detections."""

    xyxy: Any
    tracker_id: Any
    data: Any = field(default_factory=dict)


@pytest.fixture(scope="module")
def grounder() -> Iterator[Grounder]:
    with stvg.load(MODEL, device="cpu", overrides={"prompt.steps": 0}) as opened:
        yield opened


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"extensions": 5}, UsageError),
        ({"extensions": "abc"}, UsageError),
        ({"overrides": [1]}, UsageError),
        ({"overrides": {1: 2}}, SettingsError),
        ({"settings": {"prompt.steps": 0}}, UsageError),
        ({"decomposer": "nope"}, UsageError),
        ({"decomposer": ""}, UsageError),
        ({"decomposer": 5}, UsageError),
        ({"deterministic": "no"}, UsageError),
        ({"tracks": 5}, UsageError),
        ({"tracks": []}, TrackError),
    ],
)
def test_options_of_another_kind_are_errors_before_a_model_is_opened(
    options: Mapping[str, Any], kind: type[StvgError]
) -> None:
    with pytest.raises(kind, match="expected"):
        stvg.load(MODEL, **cast("Any", options))


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(TypeError, match="unexpected option 'devise'"):
        stvg.load(MODEL, **cast("Any", {"devise": "cpu"}))


def test_a_path_is_a_model() -> None:
    with pytest.raises(ModelError, match="unknown model"):
        stvg.load(Path("/no/such/folder"))
    assert RunSpec.of(Path("/a")) == RunSpec("/a")
    with pytest.raises(UsageError, match="model"):
        stvg.load(cast("Any", 5))


def test_a_spec_can_be_a_key() -> None:
    spec = RunSpec(MODEL, overrides={"prompt.steps": 0})
    assert {spec: 1}[RunSpec(MODEL, overrides={"prompt.steps": 0})] == 1


def test_torchs_own_device_and_dtype_are_taken() -> None:
    options = LoadOptions(device=cast("Any", torch.device("cpu")), dtype=cast("Any", torch.bfloat16))
    assert (options.device, options.dtype) == ("cpu", "bfloat16")


@pytest.mark.parametrize("query", [None, 5, [5], b"the man"])
def test_queries_are_texts(grounder: Grounder, query: object) -> None:
    with pytest.raises(QueryError, match="text"):
        grounder.ground(FRAMES, cast("Any", query), fps=10.0)


def test_parts_and_settings_are_checked(grounder: Grounder) -> None:
    with pytest.raises(QueryError, match="texts"):
        grounder.ground(FRAMES, QUERY, fps=10.0, attribute=cast("Any", 5))
    with pytest.raises(UsageError, match="Settings"):
        grounder.ground(FRAMES, QUERY, fps=10.0, settings=cast("Any", {"prompt.steps": 0}))


@pytest.mark.parametrize("video", [None, 5, [1]])
def test_videos_are_paths_arrays_or_frames(grounder: Grounder, video: object) -> None:
    with pytest.raises(VideoError, match="expected"):
        grounder.ground(cast("Any", video), QUERY)
    with pytest.raises(VideoError, match="expected"):
        stvg.attend(cast("Any", video), "What is it?", model=grounder.session)


@pytest.mark.parametrize("fps", ["ten", float("nan"), 1e-9, -1, 2000])
def test_rates_that_no_file_can_hold_are_errors(grounder: Grounder, fps: object) -> None:
    with pytest.raises(VideoError, match="fps"):
        grounder.ground(FRAMES, QUERY, fps=cast("Any", fps))


def test_numpys_own_numbers_are_rates(grounder: Grounder) -> None:
    result = grounder.ground(FRAMES, QUERY, fps=cast("Any", np.float32(10)))
    assert result.tube.span.end_seconds <= 2.0


@pytest.mark.parametrize(
    "boxes",
    [
        Boxes(BOX, np.array([None])),
        Boxes(BOX, np.array([np.nan])),
        Boxes(BOX, np.array(["a"])),
        Boxes(np.repeat(BOX, 2, 0), np.array([1])),
        Boxes(BOX, np.array([1]), {"class_name": []}),
    ],
)
def test_detections_with_holes_are_errors(grounder: Grounder, boxes: Boxes) -> None:
    with pytest.raises(TrackError, match="expected"):
        grounder.ground(FRAMES, QUERY, fps=10.0, tracks=[boxes] * 20)


def test_detections_without_data_and_from_a_generator_are_taken(grounder: Grounder) -> None:
    boxes = Boxes(BOX, np.array([1]), None)
    result = grounder.ground(FRAMES, QUERY, fps=10.0, tracks=cast("Any", (boxes for _ in range(20))))
    assert next(iter(result.tube))[1] == (10.0, 10.0, 30.0, 30.0)


def test_tracks_of_another_video_are_refused(grounder: Grounder) -> None:
    with pytest.raises(TrackError, match="detections of the 20 frames"):
        grounder.ground(FRAMES, QUERY, fps=10.0, tracks=[Boxes(BOX, np.array([1]))] * 40)
    for frames in ([0, 99], [-1, 3]):
        with pytest.raises(TrackError, match="frames 0 to 19"):
            grounder.ground(FRAMES, QUERY, fps=10.0, tracks=[stvg.Track(np.array(frames), np.repeat(BOX, 2, 0))])
    with pytest.raises(UsageError, match="expected tracks"):
        grounder.ground(FRAMES, QUERY, fps=10.0, tracks=cast("Any", stvg.Track(np.array([0]), BOX)))


def test_tracks_may_be_lists(grounder: Grounder) -> None:
    track = stvg.Track(cast("Any", [0, 19]), cast("Any", [[10, 10, 30, 30]] * 2))
    assert grounder.ground(FRAMES, QUERY, fps=10.0, tracks=[track]).tube


def test_a_closed_model_says_so_everywhere() -> None:
    opened = stvg.load(MODEL, device="cpu")
    opened.close()
    opened.close()
    for call in (
        lambda: opened.ground(FRAMES, QUERY, fps=10.0),
        lambda: stvg.ground(FRAMES, QUERY, fps=10.0, model=opened.session),
        opened.recorded_settings,
    ):
        with pytest.raises(UsageError, match="closed"):
            call()
