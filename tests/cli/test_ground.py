"""The command line as its users meet it: results, exit codes, and one line for every failure."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from stvg_core.cli import main
from stvg_core.devtools.demos import DemoCase
from stvg_core.evaluation.comparison import LADDER, ComparisonRow, RowRun, Source, build_comparison
from stvg_core.metrics import Bootstrap, find_protocol
from tests.support.command_line import BAD_VIDEOS, MODEL, QUERY, Run, write_video


@pytest.mark.parametrize("kind", BAD_VIDEOS)
def test_a_bad_video_is_one_line_and_leaves_nothing(kind: str, stvg: Run, easy: DemoCase, tmp_path: Path) -> None:
    video = BAD_VIDEOS[kind](tmp_path / "clip.mp4", easy)
    ran = stvg("ground", video, QUERY, "--model", MODEL, "--out", tmp_path / "out", "--json")
    assert ran.code == 1
    assert json.loads(ran.out) == {"schema_version": 1, "status": "error", "error": ran.error[7:].strip()}
    assert ran.error.startswith("error: ")
    assert ran.error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("query", "message"),
    [("", "expected"), ("   \n", "expected"), ("the man walks " * 1700, "word|character"), ("\x00\x1b", "expected")],
)
def test_a_bad_query_is_one_line(query: str, message: str, stvg: Run, easy: DemoCase, tmp_path: Path) -> None:
    ran = stvg("ground", easy.video, query, "--model", MODEL, "--out", tmp_path / "out")
    assert ran.code == 1
    assert ran.error.count("\n") == 1
    assert any(part in ran.error for part in message.split("|"))
    assert len(ran.error) < 500
    assert "\x1b" not in ran.error
    assert not (tmp_path / "out").exists()


def test_a_bad_model_is_one_line(stvg: Run, easy: DemoCase, tmp_path: Path) -> None:
    for model, message in [
        ("tiny:qwen3", "did you mean 'tiny:qwen2-vl'"),
        (str(tmp_path), "config.json"),
        ("nobody/nothing", "hf download nobody/nothing"),
        (str(tmp_path / "absent"), "unknown model"),
    ]:
        ran = stvg("ground", easy.video, QUERY, "--model", model, "--out", tmp_path / "out")
        assert (ran.code, ran.error.count("\n")) == (1, 1)
        assert message in ran.error
        assert not (tmp_path / "out").exists()


def test_an_architecture_without_backend_is_named(stvg: Run, easy: DemoCase, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["OtherModel"]}', encoding="utf-8")
    ran = stvg("ground", easy.video, QUERY, "--model", tmp_path)
    assert ran.code == 1
    for part in ("OtherModel", "InternVLForConditionalGeneration (stvg-internvl)", "docs/write_an_adapter.md"):
        assert part in ran.error


def test_damaged_weights_are_one_line(stvg: Run, easy: DemoCase, tmp_path: Path) -> None:
    from stvg_core.host.models import resolve_model

    source = resolve_model(MODEL).reference.folder
    assert source is not None
    folder = tmp_path / "checkpoint"
    shutil.copytree(source, folder)
    (folder / "model.safetensors").write_bytes(b"\xff" * 64)
    ran = stvg("ground", easy.video, QUERY, "--model", folder, "--out", tmp_path / "out")
    assert (ran.code, ran.error.count("\n")) == (1, 1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("ground",),
        ("nonsense",),
        ("ground", "clip.mp4", QUERY),
        ("ground", "clip.mp4", QUERY, "--model", MODEL, "--set", "prompt.steps"),
        ("ground", "clip.mp4", QUERY, "--model", MODEL, "--tracks", "region"),
        ("ground", "clip.mp4", QUERY, "--model", MODEL, "--attn-implementation", "sideways"),
        ("ground", "clip.mp4", QUERY, "--model", MODEL, "--quantization", "3bit"),
        ("ground", "clip.mp4", QUERY, "--model", MODEL, "--device", "cpu", "--device-map", "auto"),
    ],
)
def test_wrong_usage_is_code_two(arguments: tuple[str, ...], stvg: Run) -> None:
    assert stvg(*arguments).code == 2


def test_an_unknown_preset_or_setting_says_so(stvg: Run, easy: DemoCase) -> None:
    for extra in (("--preset", "papre"), ("--set", "prompt.stepz=1"), ("--set", "prompt.steps=-1")):
        ran = stvg("ground", easy.video, QUERY, "--model", MODEL, *extra)
        assert ran.code in (1, 2)
        assert ran.error.count("\n") == 1
        assert extra[1].split("=")[0] in ran.error


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["stvg", "decompose", "", "--debug"])
    with pytest.raises(Exception, match="expected"):
        main()


def test_the_demo_query_gives_a_tube_and_its_files(stvg: Run, easy: DemoCase, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    ran = stvg("ground", easy.video, easy.query, "--model", MODEL, "--out", out, "--json")
    assert (ran.code, ran.error) == (0, "")
    document = json.loads(ran.out)
    assert document["schema_version"] == 1
    assert document["status"] == "ok"
    assert document["model"] == {
        "id": MODEL,
        "backend": "qwen2-vl",
        "distribution": "stvg-qwen2-vl",
        "version": document["versions"]["stvg-qwen2-vl"],
        "hook_api": 1,
    }
    tube = document["tube"]
    assert [box["frame"] for box in tube["boxes"]] == list(range(tube["start_frame"], tube["end_frame"] + 1))
    assert document["settings"]["preset"] == "calibrated"
    assert json.loads((out / "tube.json").read_text(encoding="utf-8")) == document
    assert sorted(path.name for path in out.iterdir()) == [
        "contact_sheet.png",
        "overlay.mp4",
        "report.html",
        "tube.json",
        "video.mp4",
    ]


def test_a_one_frame_video_gives_a_one_frame_tube(stvg: Run, tmp_path: Path) -> None:
    video = write_video(tmp_path / "one.mp4", 1)
    ran = stvg("ground", video, QUERY, "--model", MODEL, "--tracks", "attention", "--json")
    assert ran.code == 0, ran.error
    tube = json.loads(ran.out)["tube"]
    assert (tube["start_frame"], tube["end_frame"], len(tube["boxes"])) == (0, 0, 1)


def test_a_chinese_query_is_grounded_as_a_whole_with_a_warning(stvg: Run, easy: DemoCase, tmp_path: Path) -> None:
    ran = stvg("ground", easy.video, "红色的圆圈向左移动。", "--model", MODEL, "--out", tmp_path, "--json")
    assert ran.code == 0, ran.error
    document = json.loads(ran.out)
    assert document["query"]["attribute"] == document["query"]["action"]
    assert document["warnings"]


def test_every_preset_runs(stvg: Run, easy: DemoCase) -> None:
    for preset in ("paper", "released"):
        ran = stvg("ground", easy.video, easy.query, "--model", MODEL, "--preset", preset, "--json")
        assert ran.code == 0, ran.error
        assert json.loads(ran.out)["settings"]["preset"] == preset


def test_how_the_model_was_loaded_is_told_in_the_result(stvg: Run, easy: DemoCase) -> None:
    ran = stvg(
        "ground", easy.video, QUERY, "--model", MODEL, "--attn-implementation", "eager", "--deterministic",
        "--dtype", "bfloat16", "--device", "cpu", "--json",
    )  # fmt: skip
    load = json.loads(ran.out)["settings"]["load"]
    assert load == {
        "device": "cpu", "dtype": "bfloat16", "device_map": None, "quantization": None, "attention": "eager",
        "deterministic": True, "recompute": "auto", "cuda_graphs": "auto", "revision": None,
    }  # fmt: skip
    automatic = json.loads(stvg("ground", easy.video, QUERY, "--model", MODEL, "--json").out)["settings"]["load"]
    assert automatic["dtype"] in {"float32", "float16"}, "what was used, not the word auto"
    assert automatic["device"].split(":")[0] in {"cpu", "cuda"}


def test_more_frames_than_the_model_s_context_holds_are_refused(stvg: Run, easy: DemoCase) -> None:
    ran = stvg("ground", easy.video, QUERY, "--model", MODEL, "--set", "sampling.frame_count=2000", "--json")
    assert ran.code == 1
    assert "the model's context" in ran.error
    assert "sampling.frame_count" in ran.error


def test_an_output_that_is_a_file_is_refused_before_any_work(stvg: Run, easy: DemoCase, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine", encoding="utf-8")
    ran = stvg("ground", easy.video, easy.query, "--model", MODEL, "--out", taken)
    assert ran.code in (1, 2)
    assert taken.read_text(encoding="utf-8") == "mine"


def test_decompose_prints_the_contract(stvg: Run) -> None:
    ran = stvg("decompose", "The man in blue clothes walks to the sofa.", "--json")
    assert json.loads(ran.out) == {
        "text": "The man in blue clothes walks to the sofa.",
        "attribute": "the man in blue clothes",
        "action": "the man walks to the sofa",
        "decomposer": "rules",
        "warnings": [],
    }


def test_listings_print_the_contract(stvg: Run) -> None:
    (row,) = [row for row in json.loads(stvg("plugins", "--json").out)["plugins"] if row["name"] == "qwen2-vl"]
    assert set(row) == {"name", "distribution", "version", "status", "reason", "fix", "hook_api", "architectures"}
    assert row["status"] == "ok"
    assert MODEL in {row["name"] for row in json.loads(stvg("models", "--json").out)["models"]}
    assert "qwen2-vl" in stvg("plugins").out
    assert MODEL in stvg("models").out


@pytest.mark.slow
def test_the_demo_meets_its_promise(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stvg_core", "demo", "--out", str(tmp_path / "demo"), "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = {row["name"]: row for row in json.loads(ran.stdout)["demos"]}
    assert rows["easy"]["vIoU"] > 0.4
    assert rows["hard"]["vIoU"] < rows["easy"]["vIoU"]
    for row in rows.values():
        assert sorted(path.name for path in Path(row["folder"]).iterdir()) == [
            "contact_sheet.png",
            "overlay.mp4",
            "report.html",
            "tube.json",
            "video.mp4",
        ]


class SmallDemo:
    """A demo that is shipped, with a comparison without models."""

    note = "nothing\ton nothing"

    def write_comparison(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "rows.toml").write_text('[[run]]\nmodel = "a"\nladder = true\n')


@pytest.mark.parametrize("quiet", [True, False])
def test_the_demo_compares_where_it_is_asked_to(
    quiet: bool, stvg: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compared(rows: Sequence[ComparisonRow], source: Source, out: Path, *_: object, **__: object) -> object:
        runs = [RowRun(row, out / "runs" / row.folder, None, "it has no model") for row in rows]
        return build_comparison(runs, source, find_protocol("stcat"), Bootstrap(10))

    monkeypatch.setattr("stvg_core.devtools.demos.find_demos", lambda: ())
    monkeypatch.setattr("stvg_core.devtools.demos.find_comparison_demo", SmallDemo)
    monkeypatch.setattr("stvg_core.evaluation.comparison.compare", compared)
    folder = tmp_path / "demo"
    ran = stvg("demo", "--out", folder, "--compare", *(["--json"] if quiet else []))
    assert ran.code == 1
    assert ran.error.count("it has no model") == len(LADDER)
    if quiet:
        told = json.loads(ran.out)
        assert told["demos"] == []
        assert told["comparison"]["folder"] == str(folder / "comparison")
        assert [(row["status"], row["score"]) for row in told["comparison"]["rows"]] == [("failed", None)] * len(LADDER)
    else:
        assert "comparison: nothing on nothing" in ran.out
        assert "written   " in ran.out
    alone = stvg("demo", "--out", tmp_path / "alone", "--json", "--compare", "--no-compare")
    assert (alone.code, json.loads(alone.out)) == (0, {"demos": []})


@pytest.mark.slow
def test_the_demo_compares_the_tiny_models(stvg: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stvg_tiny.demo import TinyDemo

    monkeypatch.setattr("stvg_core.devtools.demos.find_comparison_demo", lambda: TinyDemo(clips_per_level=1))
    ran = stvg("demo", "--out", tmp_path, "--compare", "--json")
    assert ran.code == 0, ran.error
    rows = json.loads(ran.out)["comparison"]["rows"]
    assert len(rows) == 3 * (len(LADDER) + 1)
    assert all(0 <= row["score"]["m_vIoU"] <= 1 for row in rows)
    names = {path.name for path in (tmp_path / "comparison").iterdir()}
    assert {"comparison.json", "comparison.md", "comparison.csv", "data", "runs", "tracks"} <= names
    # Tracks depend on clip and sampled frames alone: Qwen2-VL sees 16 frames of a clip, the others 8.
    assert len(list((tmp_path / "comparison" / "tracks").iterdir())) == 2 * 2
