"""The Python API: settings chosen from what the checkpoint carries, and facts that must reach the result."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import stvg_core
from stvg_core.api.grounder import ground, installed_versions, lost_frames
from stvg_core.devtools.demos import find_demos
from stvg_core.errors import SettingsError
from stvg_core.host.session import Session, open_session
from stvg_core.settings import CALIBRATED_FILE, choose_settings, load_settings
from stvg_core.values import Frames
from tests.support.clips import Clip, write_clip


def test_a_checkpoint_with_calibration_uses_it_unless_told_otherwise(tmp_path: Path) -> None:
    assert choose_settings(None).preset == "paper"
    assert choose_settings(tmp_path).preset == "paper"
    (tmp_path / CALIBRATED_FILE).write_text('{"prompt": {"steps": 3}}', encoding="utf-8")
    assert choose_settings(tmp_path).preset == "calibrated"
    assert choose_settings(tmp_path, "released").preset == "released"
    with pytest.raises(SettingsError):
        choose_settings(None, "calibrated")


def test_frames_that_stand_in_are_told(frames: Frames) -> None:
    settings = load_settings("paper", overrides={"sampling.frame_count": 10})
    assert lost_frames(frames, settings) == ()
    shifted = replace(frames, indices=np.array([0, 11, 22, 32, 44, 55, 66, 77, 88, 99]))
    assert lost_frames(shifted, settings) == ("1 of 10 sampled frames do not decode; neighbours stand in",)


def test_a_damaged_clip_says_so_in_its_document(tmp_path: Path) -> None:
    case = next(case for case in find_demos() if case.name == "hard")
    whole = bytearray(case.video.read_bytes())
    # Zeros over a part of the picture data: the index at the file's end stays whole, some frames do not decode.
    start = len(whole) // 3
    whole[start : start + len(whole) // 10] = bytes(len(whole) // 10)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(whole)
    with open_session(case.model) as session:
        result = ground(path, case.query, model=session)
    assert len(result.document.tube.boxes) == result.tube.end_frame - result.tube.start_frame + 1
    assert any("sampled frames do not decode" in warning for warning in result.document.warnings)


def test_public_names_are_there_and_no_others() -> None:
    for name in stvg_core.__all__:
        assert getattr(stvg_core, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'grund'"):
        _ = stvg_core.grund


def test_versions_name_python_and_what_is_installed() -> None:
    versions = installed_versions("stvg-qwen2-vl", "not-there")
    assert {"python", "stvg-core", "torch", "stvg-qwen2-vl"} <= set(versions)
    assert "not-there" not in versions


def test_a_video_that_fits_into_a_window_gives_what_it_gives_without(session: Session, tmp_path: Path) -> None:
    path = write_clip(tmp_path, Clip())
    documents = []
    for length_seconds in (None, 1.2, 500.0):
        overrides = {"sampling.frame_count": 6, "windows.length_seconds": length_seconds}
        result = ground(path, "The man walks.", model=session, overrides=overrides)
        documents.append(result.document.model_dump(mode="json"))
        del documents[-1]["timings_seconds"], documents[-1]["settings"]["windows"]
    assert documents[0] == documents[1] == documents[2]
    assert documents[0]["windows"] == []


def test_a_long_video_is_searched_and_saved(session: Session, tmp_path: Path) -> None:
    path = write_clip(tmp_path, Clip(frame_count=100))
    told: list[str] = []
    result = ground(
        path,
        "The man walks.",
        model=session,
        overrides={"sampling.frame_count": 6, "windows.length_seconds": 1.0},
        on_stage=told.append,
    )
    windows = result.document.windows
    assert (len(windows), windows[0].start_frame, windows[-1].end_frame) == (7, 0, 99)
    assert any(window.joined for window in windows)
    # Of one window, whatever number of windows joined.
    (said,) = [warning for warning in result.document.warnings if "the span is" in warning]
    assert said.startswith("the span is 2 of 6 sampled frames of a window: preset paper's 7 of 20, scaled")
    assert "window 7 of 7: search" in told
    folder = result.save(tmp_path / "out")
    assert sorted(file.name for file in folder.iterdir()) == [
        "contact_sheet.png",
        "overlay.mp4",
        "report.html",
        "tube.json",
        "video.mp4",
    ]
