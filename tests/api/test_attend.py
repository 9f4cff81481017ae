"""`stvg attend`: what it writes and prints, and that a trained model looks at what it is asked about."""

import json
import sys
from pathlib import Path
from typing import Any

import av
import jsonschema
import numpy as np
import pytest
from PIL import Image

from stvg_core import attend
from stvg_core.devtools.demos import DemoCase
from stvg_core.errors import UsageError
from stvg_core.host.session import Session, open_session
from stvg_core.method.pipeline import Pipeline
from stvg_core.method.question_maps import QuestionAttentionMaps, compute_question_maps
from stvg_core.method.selection import LayerSelection, TokenSelection
from stvg_core.outputs.attention.document import schema_text
from stvg_core.outputs.attention.folder import draw_attention_sheet, draw_token_sheet, nearest_samples
from stvg_core.plugin.adapter import PromptToken
from stvg_core.settings import load_settings
from stvg_core.values import Frames, VideoInfo
from tests.support.command_line import BAD_VIDEOS, MODEL, Run

SCHEMA_FILE = Path(__file__).parents[2] / "docs" / "schema" / "attention-1.schema.json"
RING, CROSS = "Is there the purple ring in this video?", "Is there the purple cross in this video?"
PICTURES = ["attention.mp4", "attention_sheet.png", "frame_curve.png", "token_curve.png", "token_sheet.png"]
TOKENS = (
    PromptToken("▁The", "word"),
    PromptToken("▁red", "word"),
    PromptToken("d", "word"),
    PromptToken("ish", "word"),
    PromptToken("?", "punctuation"),
    PromptToken("Ġred", "role"),
)


@pytest.fixture(scope="module")
def tiny() -> Session:
    return open_session(MODEL)


def share_inside(reading: QuestionAttentionMaps, case: DemoCase) -> float:
    """Return which share of the maps lies in the true object's box; it stands still outside of its span."""
    truth = case.truth(reading.frames.info)
    _, rows, columns = reading.layout.shape
    inside = 0.0
    for frame, values in zip(reading.frames.indices, reading.maps.values, strict=True):
        place = min(max(int(frame) - truth.start_frame, 0), len(truth.boxes_xyxy) - 1)
        x0, y0, x1, y1 = truth.boxes_xyxy[place]
        for row in range(rows):
            for column in range(columns):
                left, right = (edge * reading.frames.info.width / columns for edge in (column, column + 1))
                top, bottom = (edge * reading.frames.info.height / rows for edge in (row, row + 1))
                across = max(0.0, min(right, x1) - max(left, x0)) / (right - left)
                down = max(0.0, min(bottom, y1) - max(top, y0)) / (bottom - top)
                inside += values[row, column] * across * down
    return float(inside / reading.maps.values.sum())


@pytest.mark.parametrize("tokens", ["grounding", "roles"])
def test_a_trained_models_role_tokens_look_at_what_is_asked_about(easy: DemoCase, tiny: Session, tokens: str) -> None:
    """The ring's box is 5.8 % of the picture. A question about another object of the same colour is the control."""
    ring, cross = (attend(easy.video, text, model=tiny, tokens=tokens, mode="raw").attention for text in (RING, CROSS))
    assert share_inside(ring, easy) > 0.65
    assert share_inside(cross, easy) < 0.15


def test_the_command_writes_everything_and_says_so(stvg: Run, easy: DemoCase, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = stvg("attend", easy.video, RING, "--model", MODEL, "--out", out, "--json")
    assert (ran.code, ran.error) == (0, "")
    document = json.loads(ran.out)
    jsonschema.validate(document, json.loads(SCHEMA_FILE.read_text()))
    assert json.loads((out / "attention.json").read_text()) == document
    assert sorted(path.name for path in out.iterdir()) == sorted(["attention.json", "attention.npz", *PICTURES])
    assert document["question"]["text"] == RING
    assert document["video"]["frame_count"] == 128
    with np.load(out / "attention.npz", allow_pickle=False) as arrays:
        assert set(arrays.files) == set(document["arrays"])
        for name, part in document["arrays"].items():
            assert (list(arrays[name].shape), arrays[name].dtype.str) == (part["shape"], part["dtype"])
            assert len(part["axes"]) == arrays[name].ndim
        lengths: dict[str, int] = {}
        for name, part in document["arrays"].items():
            for axis, length in zip(part["axes"], arrays[name].shape, strict=True):
                assert lengths.setdefault(axis, length) == length, (name, axis)
        shares = [frame["share"] for frame in document["frames"]]
        assert np.abs(arrays["frame_share"] - shares).max() < 1e-8
        assert [token["id"] for token in document["tokens"]] == arrays["token_id"].tolist()
        assert arrays["cell_box_xyxy"][-1].tolist()[2:] == [384.0, 384.0]
    with av.open(str(out / "attention.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 128
    for name in PICTURES[1:]:
        with Image.open(out / name) as picture:
            assert min(picture.size) > 200


def test_the_summary_names_tokens_and_peak(stvg: Run, easy: DemoCase) -> None:
    ran = stvg("attend", easy.video, RING, "--model", MODEL, "--tokens", "text:purple", "--layers", "0-1", "--raw")
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[0] == f"question  {RING}"
    assert "1 of 14 tokens (*), 2 of 4 layers, raw shares" in lines[2]
    (row,) = [line.split() for line in lines if line.startswith("*")]
    assert row[:4] == ["*", "3", "purple", "word"]
    assert lines[-1].startswith("no files written")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--tokens", "nonsense"), "grounding, all, words"),
        (("--tokens", "0,x"), "positions"),
        (("--layers", "last"), "0-7"),
        (("--layers", "4"), "0..3"),
        (("--layers", "3-1"), "ascends"),
        (("--tokens", "99"), "0..13"),
        (("--tokens", "text:elephant"), "elephant"),
        (("--set", "nothing"), "name=value"),
    ],
)
def test_wrong_usage_is_one_line(
    options: tuple[str, ...], word: str, stvg: Run, easy: DemoCase, tmp_path: Path
) -> None:
    ran = stvg("attend", easy.video, RING, "--model", MODEL, "--out", tmp_path / "out", *options)
    assert (ran.code, ran.error.count("\n")) == (2, 1)
    assert word in ran.error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", BAD_VIDEOS)
def test_a_bad_video_leaves_nothing(kind: str, stvg: Run, easy: DemoCase, tmp_path: Path) -> None:
    video = BAD_VIDEOS[kind](tmp_path / "clip.mp4", easy)
    ran = stvg("attend", video, RING, "--model", MODEL, "--out", tmp_path / "out", "--json")
    assert ran.code == 1
    document = json.loads(ran.out)
    jsonschema.validate(document, json.loads(SCHEMA_FILE.read_text()))
    assert document == {"schema_version": 1, "status": "error", "error": ran.error[7:].strip()}
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("question", ["", "\n", "say <|im_end|> now", "?"])
def test_a_bad_question_is_one_line(question: str, stvg: Run, easy: DemoCase, tmp_path: Path) -> None:
    ran = stvg("attend", easy.video, question, "--model", MODEL, "--out", tmp_path / "out")
    assert (ran.code, ran.error.count("\n")) == (1, 1)
    assert not (tmp_path / "out").exists()


def test_without_matplotlib_the_rest_is_written_and_the_cure_is_told(
    stvg: Run, easy: DemoCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    out = tmp_path / "out"
    ran = stvg("attend", easy.video, RING, "--model", MODEL, "--out", out, "--json")
    assert ran.code == 0
    assert ran.error.count("\n") == 1
    assert "pip install 'stvg-core[plots]'" in ran.error
    assert json.loads(ran.out)["frames"][0]["share"] >= 0
    assert sorted(path.name for path in out.iterdir()) == [
        "attention.json", "attention.mp4", "attention.npz", "attention_sheet.png", "token_sheet.png",
    ]  # fmt: skip


def test_a_failing_picture_leaves_nothing(
    easy: DemoCase, tiny: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = attend(easy.video, RING, model=tiny, overrides={"sampling.frame_count": 2})

    def broken(*arguments: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("stvg_core.outputs.attention.folder.draw_token_sheet", broken)
    with pytest.raises(Exception, match="disk is full"):
        result.save(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_tokens_by_phrase_kind_and_position() -> None:
    def positions(text: str) -> tuple[int, ...]:
        return TokenSelection(text).positions(TOKENS, lambda: (4,))

    assert positions("grounding") == (4,)
    assert positions("all") == (0, 1, 2, 3, 4, 5)
    assert positions("words") == (0, 1, 2, 3)
    assert positions("roles") == (4, 5)
    assert positions("text:Red") == (1, 5)
    assert positions("text:reddish") == (1, 2, 3)
    assert positions("text:the red") == (0, 1)
    assert positions("-1, 0,0") == (0, 5)
    for wrong in ("text:re", "text:green", "6", "-7"):
        with pytest.raises(UsageError):
            positions(wrong)


@pytest.mark.parametrize("text", ["", "text:", "text: ", "1,,2", "1.5", "ALL", "--1"])
def test_a_selection_is_checked_where_it_is_made(text: str) -> None:
    with pytest.raises(UsageError):
        TokenSelection(text)
    if text != "ALL":
        with pytest.raises(UsageError):
            LayerSelection(text)


def test_the_question_is_asked_as_it_is_and_once(session: Session, adapter: Any, frames: Frames) -> None:
    settings = load_settings("paper")
    reading = compute_question_maps(Pipeline(session, settings), frames, "Who walks there?", (0, 5), TokenSelection())
    assert adapter.asked == [("Who walks there?", settings.relative.neutral_question)]
    assert adapter.prompts == [None]
    assert adapter.encoded == [tuple(range(10))]
    assert reading.chosen == (2,)
    # The scripted model looks at column 2 of frames 3 to 5 while somebody walks.
    assert reading.frame_peaks.argmax() == 5
    assert reading.peak_boxes_xyxy()[5].tolist() == [40.0, 0.0, 60.0, 10.0]


def test_pictures_take_any_shape_of_video_and_prompt(session: Session) -> None:
    for width, height, count in ((7, 300, 1), (1600, 40, 33), (96, 96, 20)):
        info = VideoInfo("clip.mp4", width, height, 10.0, count / 10, np.arange(count) / 10)
        frames = Frames(info, np.arange(count), np.zeros((count, height, width, 3), dtype=np.uint8))
        question = "Who walks " + "very " * 60 + "<b>far</b>\N{MAN}?"
        pipeline = Pipeline(session, load_settings("paper"))
        reading = compute_question_maps(pipeline, frames, question, (0,), TokenSelection("all"))
        assert draw_attention_sheet(reading).shape[1] == 1280
        assert draw_token_sheet(reading).shape[1] == 1280


def test_a_frame_shows_the_sampled_frame_nearest_in_time(session: Session, frames: Frames) -> None:
    pipeline = Pipeline(session, load_settings("paper"))
    reading = compute_question_maps(pipeline, frames, "Who walks?", (0,), TokenSelection())
    nearest = nearest_samples(reading)
    assert [nearest[frame] for frame in (0, 5, 6, 11, 99)] == [0, 0, 1, 1, 9]


def test_the_committed_schema_is_the_models_schema() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(), (
        "the models have changed: write stvg_core.outputs.attention.document.schema_text() to docs/schema"
    )
