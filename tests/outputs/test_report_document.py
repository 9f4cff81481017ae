"""The JSON document: its schema, its numbers, and that no text harms it."""

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stvg_core.errors import OutputError
from stvg_core.outputs.report.document import (
    ErrorDocument,
    GroundingDocument,
    ModelIdentity,
    build_document,
    build_error_document,
    dump_document,
    schema_text,
    write_document,
)
from stvg_core.settings import load_settings
from stvg_core.values import FirstAnswer, FrameMaps, Frames, Grounding, PromptEffect, SubQueries, Track, Tube, VideoInfo

SCHEMA_FILE = Path(__file__).parents[2] / "docs" / "schema" / "grounding-1.schema.json"
MODEL = ModelIdentity(id="tiny:qwen2-vl", backend="qwen2-vl", distribution="stvg-qwen2-vl", version="0.1.0", hook_api=1)


def a_grounding(
    *,
    text: str = "the man runs",
    path: str = "clip.mp4",
    frame_score: float = 0.5,
    diagnostics: dict[str, float] | None = None,
    warnings: tuple[str, ...] = (),
) -> Grounding:
    info = VideoInfo(path, 64, 48, 25.0, 0.4, np.arange(10) / 25)
    tracks = (
        Track(np.array([0, 9]), np.array([[0.0, 0, 10, 10], [9.0, 0, 19, 10]]), "circle"),
        Track(np.array([2, 5]), np.array([[20.0, 20, 30, 30]] * 2)),
    )
    boxes = np.array([[3.0 + step / 3, 0, 13 + step / 3, 10] for step in range(4)])
    return Grounding(
        frames=Frames(info, np.array([0, 3, 6, 9]), np.zeros((4, 48, 64, 3), np.uint8)),
        sub_queries=SubQueries(text, "the man", "the man runs", "rules", ("first",)),
        tracks=tracks,
        chosen_track=0,
        track_scores=np.array([0.9, 0.2]),
        frame_scores=np.array([0.1, frame_score, 0.7, 0.2]),
        span_frames=(1, 2),
        spatial_maps=FrameMaps(np.ones((4, 2, 3))),
        temporal_maps=FrameMaps(np.ones((4, 2, 3))),
        tube=Tube(3, boxes, info.frame_seconds[3:7].copy(), info.frame_end_seconds(6)),
        diagnostics={"margin": 1.5} if diagnostics is None else diagnostics,
        timings_seconds={"encode": 0.25},
        warnings=warnings,
    )


@cache
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def validate(text: str) -> None:
    validator().validate(json.loads(text))


def test_the_document_says_what_the_grounding_found():
    document = json.loads(dump_document(build_document(a_grounding(), MODEL, {"preset": "paper"}, {"python": "3.11"})))
    assert document["schema_version"] == 1
    assert document["status"] == "ok"
    assert document["video"] == {
        "path": "clip.mp4",
        "width": 64,
        "height": 48,
        "frame_count": 10,
        "fps": 25.0,
        "duration_seconds": 0.4,
    }
    assert document["query"] == {
        "text": "the man runs",
        "attribute": "the man",
        "action": "the man runs",
        "decomposer": "rules",
    }
    assert document["model"]["hook_api"] == 1
    tube = document["tube"]
    assert (tube["start_frame"], tube["end_frame"]) == (3, 6)
    assert (tube["start_seconds"], tube["end_seconds"]) == (0.12, 0.28)
    assert [box["frame"] for box in tube["boxes"]] == [3, 4, 5, 6]
    assert [box["seconds"] for box in tube["boxes"]] == [0.12, 0.16, 0.2, 0.24]
    assert tube["boxes"][1]["xyxy"] == [3.333, 0.0, 13.333, 10.0]
    assert document["scores"]["tracks"] == [0.9, 0.2]
    assert document["scores"]["chosen_track"] == 0
    assert document["scores"]["frames"][1] == {"frame": 3, "score": 0.5}
    assert document["tracks"][1] == {"label": "", "start_frame": 2, "end_frame": 5}
    assert document["settings"] == {"decomposer": "rules", "preset": "paper"}
    assert document["timings_seconds"] == {"encode": 0.25}
    assert document["versions"] == {"python": "3.11"}
    assert document["warnings"] == ["first"]


def test_the_committed_schema_is_the_models_schema():
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(), (
        "the models have changed: write stvg_core.outputs.report.document.schema_text() to docs/schema"
    )


def test_documents_validate_and_come_back_equal():
    settings = load_settings("released").model_dump() | {"tracker": "regions"}
    document = build_document(a_grounding(), MODEL, settings, {})
    for compact in (True, False):
        text = dump_document(document, compact=compact)
        validate(text)
        assert GroundingDocument.model_validate_json(text) == document
    assert dump_document(document).count("\n") == 0
    failure = build_error_document(OutputError("no video"))
    validate(dump_document(failure))
    assert ErrorDocument.model_validate_json(dump_document(failure)) == failure


@pytest.mark.parametrize("breakage", [{"status": "maybe"}, {"extra": 1}, {"schema_version": 2}])
def test_the_schema_refuses_other_documents(breakage: dict[str, object]):
    document = build_document(a_grounding(), MODEL, {}, {}).model_dump(mode="json") | breakage
    with pytest.raises(jsonschema.ValidationError):
        validate(json.dumps(document))


def test_the_laid_out_document_has_one_box_per_line(tmp_path: Path):
    write_document(tmp_path / "tube.json", build_document(a_grounding(), MODEL, {}, {}))
    text = (tmp_path / "tube.json").read_text(encoding="utf-8")
    assert sum('"xyxy"' in line for line in text.splitlines()) >= 4
    assert text.endswith("}\n")
    assert max(map(len, text.splitlines())) <= 130


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_refused(bad: float):
    with pytest.raises(OutputError, match="finite number"):
        build_document(a_grounding(frame_score=bad), MODEL, {}, {})
    with pytest.raises(OutputError, match=r"settings\.epsilon"):
        build_document(a_grounding(), MODEL, {"epsilon": bad}, {})


def test_a_side_number_that_is_no_number_costs_a_warning_only():
    document = build_document(a_grounding(diagnostics={"margin": math.nan, "gain": 2.0}), MODEL, {}, {})
    assert document.diagnostics.model_dump() == {"prompts": {}, "answers": {}, "gain": 2.0}
    assert "margin was not a finite number and is left out" in document.warnings


def test_what_prompts_did_and_what_would_have_been_said_is_told():
    grounding = replace(
        a_grounding(),
        prompts={"spatial": PromptEffect(-0.5, 0.75, 0.03125), "temporal": PromptEffect(0.5, math.nan, 0.25)},
        answers={"spatial": FirstAnswer("Y\x1bes", 0.75)},
    )
    document = build_document(grounding, MODEL, {}, {})
    told = json.loads(dump_document(document))["diagnostics"]
    assert told["prompts"] == {
        "spatial": {"margin_before": -0.5, "margin_after": 0.75, "prompt_norm_share": 0.03125},
    }
    assert list(told["answers"]) == ["spatial"]
    assert told["answers"]["spatial"]["first_token"] == "Y\x1bes"
    assert "\x1b" not in dump_document(document)
    assert "temporal margin_after was not a finite number and is left out" in document.warnings
    assert GroundingDocument.model_validate_json(dump_document(document)) == document


def test_settings_may_hold_paths_and_numpy_and_nothing_odd():
    settings = {"path": Path("a") / "b", "layers": (1, np.int64(2)), "step": np.float32(0.5), "map": np.eye(2)}
    document = build_document(a_grounding(), MODEL, settings, {})
    assert document.settings["layers"] == [1, 2]
    assert document.settings["map"] == [[1.0, 0.0], [0.0, 1.0]]
    with pytest.raises(OutputError, match=r"settings\.tracker.*got object"):
        build_document(a_grounding(), MODEL, {"tracker": object()}, {})


def test_an_unwritable_file_is_an_own_error(tmp_path: Path):
    with pytest.raises(OutputError, match="cannot write"):
        write_document(tmp_path / "missing" / "tube.json", build_document(a_grounding(), MODEL, {}, {}))


harmful = st.sampled_from("\x00\x1b\x7f\x9b\n\u2028\u202e\u2066\ud800\udfff\uffff\u0301\u200d")
any_text = st.lists(harmful | st.characters(exclude_categories=()), max_size=60).map("".join)


@settings(max_examples=40, deadline=None)
@given(any_text.filter(str.strip), any_text, any_text)
def test_any_text_makes_valid_harmless_json(text: str, path: str, warning: str):
    grounding = a_grounding(text=text, path=path, warnings=(warning,))
    document = build_document(grounding, MODEL.model_copy(update={}), {"note": text, warning: path}, {"x": warning})
    for compact in (True, False):
        dumped = dump_document(document, compact=compact)
        dumped.encode("utf-8")
        validate(dumped)
        harmful = [c for c in dumped if c != "\n" and (ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u202e\u2066\u2028")]
        assert harmful == []


@settings(max_examples=40, deadline=None)
@given(any_text)
def test_any_error_makes_a_valid_document(text: str):
    validate(dump_document(build_error_document(text)))
    assert ModelIdentity(id=text, backend="b", distribution="d", version="1", hook_api=1)


def test_texts_are_bounded():
    document = build_document(a_grounding(text="a" * 1_000_000), MODEL, {}, {})
    assert len(document.query.text) == 10_000
    assert document.query.text.endswith("...")
