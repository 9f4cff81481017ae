"""`stvg plugins` and --plugin as their users meet them, with healthy and with bad plugins installed."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stvg_core.cli import main
from stvg_core.devtools.demos import find_demos
from tests.support.fake_distributions import EXPLODING, HOOKS, manifest_text, write_distribution, write_plugin_file

MODEL = "tiny:qwen2-vl"
QUICKLY = ("--preset", "released", "--set", "prompt.steps=0", "--set", "sampling.frame_count=4")
ROW = {"name", "distribution", "version", "status", "reason", "fix", "hook_api", "architectures"}
QWEN_FILE = """
STVG_BACKEND = {
    "name": "mine",
    "display_name": "Qwen from a file",
    "hook_api": 1,
    "architectures": ["Qwen2VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration"],
    "plugin": "Mine",
    "requires": ["stvg-qwen2-vl"],
}


def Mine():
    from stvg_qwen2_vl.family import Qwen2VLBackend

    return Qwen2VLBackend()
"""


def stvg(*arguments: str | Path, path: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, with a folder of distributions on its path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STVG_")}
    return subprocess.run(
        [sys.executable, "-m", "stvg_core", *map(str, arguments)],
        env=kept | {"PYTHONPATH": str(path or "")} | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def stvg_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str | Path
) -> tuple[int, str, str]:
    """Run the command in this process, which has torch already; return code, stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["stvg", *map(str, arguments)])
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        main()
    return int(exit_.value.code or 0), *capsys.readouterr()


def row_of(done: subprocess.CompletedProcess[str], name: str) -> dict[str, object]:
    (row,) = [row for row in json.loads(done.stdout)["plugins"] if row["name"] == name]
    return row


def test_the_json_contract_holds_and_warnings_are_beside_it(tmp_path: Path) -> None:
    write_distribution(tmp_path, "family")
    done = stvg("plugins", "--json", path=tmp_path, STVG_DISABLE_PLUGINS="famly")
    document = json.loads(done.stdout)
    assert done.returncode == 0
    assert all(set(row) == ROW for row in document["plugins"])
    assert row_of(done, "family")["status"] == "ok"
    (warning,) = document["warnings"]
    assert [row["name"] for row in document["decomposers"]] == ["file:PATH", "mllm", "rules"]
    assert {"attention", "file:PATH", "regions"} <= {row["name"] for row in document["trackers"]}
    assert {row["status"] for row in document["trackers"]} == {"ok"}
    assert {"engines", "extensions"} <= set(document)
    assert warning == "STVG_DISABLE_PLUGINS names 'famly', which is no plugin here; did you mean family?"
    assert done.stderr == f"warning: {warning}\n"


def test_other_kinds_are_listed_below_the_backends(tmp_path: Path) -> None:
    write_distribution(tmp_path, "quick", entry_points="[stvg.engines]\nquick = stvg_quick:Engine\n")
    done = stvg("plugins", path=tmp_path, STVG_DISABLE_PLUGINS="stvg-quick")
    assert [line.split() for line in done.stdout.splitlines() if "quick" in line] == [
        ["quick", "stvg-quick", "1.0", "disabled"]
    ]
    assert "\n\ntrackers " in done.stdout


def test_a_check_goes_on_and_exits_1_where_one_is_broken(tmp_path: Path) -> None:
    write_distribution(tmp_path, "broken", code="import sys; sys.exit(0)")
    write_distribution(tmp_path, "whole", code="")
    allowed = {"STVG_LOAD_PLUGINS": "broken,whole"}
    done = stvg("plugins", "--check", "--json", path=tmp_path, **allowed)
    assert done.returncode == 1
    assert row_of(done, "broken")["status"] == "broken"
    assert "sys.exit(0)" in str(row_of(done, "broken")["reason"])
    assert row_of(done, "broken")["fix"]
    assert row_of(done, "whole")["status"] == "ok"
    assert row_of(done, "qwen2-vl")["status"] == "disabled"
    assert done.stderr == (
        "error: expected every backend to be usable, got broken (broken); the fixes are listed above\n"
    )
    assert stvg("plugins", path=tmp_path, **allowed).returncode == 0, "without --check nothing is imported"
    assert stvg("plugins", "--check", path=tmp_path, STVG_LOAD_PLUGINS="whole").returncode == 0


def test_a_check_says_how_long_it_waits(tmp_path: Path) -> None:
    write_distribution(tmp_path, "hangs", code="import time; time.sleep(86_398)")
    done = stvg("plugins", "--check", "--timeout", "2", path=tmp_path, STVG_LOAD_PLUGINS="hangs")
    assert done.returncode == 1
    assert "did not end within 2 seconds" in done.stdout


def test_show_tells_all_that_is_known(tmp_path: Path) -> None:
    info = write_distribution(tmp_path, "family", code="", requires=("numpy>=2", "not-there-at-all>=3"))
    (plugin,) = json.loads(stvg("plugins", "show", "family", "--json", path=tmp_path).stdout)["plugins"]
    assert set(plugin) >= ROW
    assert plugin["status"] == "unmet-deps"
    assert plugin["metadata"] == str(info)
    assert plugin["manifest"] == str(tmp_path / "stvg_family" / "stvg-backend.toml")
    assert plugin["entry_point"] == "stvg_family.hooks:Backend"
    assert len(plugin["hooks"]["static"]) == 5
    assert plugin["hooks"]["imported"] is None
    assert [(need["text"], need["met"]) for need in plugin["requirements"]] == [
        ("numpy>=2", True),
        ("not-there-at-all>=3", False),
    ]
    text = stvg("plugins", "show", "STVG_family", path=tmp_path).stdout
    for part in ("not-there-at-all>=3: not installed, NOT MET", "--backend stvg-family:family", "FamilyModel"):
        assert part in text


def test_show_with_check_tells_the_hooks_of_the_imported_object(tmp_path: Path) -> None:
    hidden = HOOKS.replace("class Backend", "class Hidden") + "\n\ndef Backend():\n    return Hidden()\n"
    write_distribution(tmp_path, "family", code="", hooks=hidden)
    done = stvg("plugins", "show", "family", "--check", "--json", path=tmp_path)
    (plugin,) = json.loads(done.stdout)["plugins"]
    assert (plugin["hooks"]["static"], plugin["hooks"]["static_is_complete"]) == ([], False)
    assert len(plugin["hooks"]["imported"]) == 5
    assert done.returncode == 0


def test_show_of_an_unknown_name_is_one_line(tmp_path: Path) -> None:
    done = stvg("plugins", "show", "famly", path=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "stvg plugins lists them" in done.stderr


def test_what_is_no_action_is_wrong_usage() -> None:
    for arguments in (("show",), ("list",), ("shew", "x")):
        done = stvg("plugins", *arguments)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "stvg plugins show NAME" in done.stderr


def test_duplicates_can_be_shown_and_chosen(tmp_path: Path) -> None:
    for distribution in ("stvg-family", "other-family"):
        write_distribution(tmp_path, "family", distribution=distribution)
    shown = json.loads(stvg("plugins", "show", "family", "--json", path=tmp_path).stdout)["plugins"]
    assert [row["status"] for row in shown] == ["duplicate", "duplicate"]
    (one,) = json.loads(stvg("plugins", "show", "other-family:family", "--json", path=tmp_path).stdout)["plugins"]
    assert one["distribution"] == "other-family"


def test_bad_plugins_leave_every_other_command_whole(tmp_path: Path) -> None:
    case = next(case for case in find_demos() if case.name == "easy")
    write_distribution(tmp_path, "exploding", code=EXPLODING)
    write_distribution(tmp_path, "hanging", code="import time; time.sleep(86_397)")
    write_distribution(tmp_path, "exits", code="import sys; sys.exit(9)")
    write_distribution(tmp_path, "unread", manifest=b"\xff\x00")
    write_distribution(tmp_path, "newer", manifest=manifest_text("newer", api=99))
    write_distribution(tmp_path, "nameless", metadata="Version: 1.0\n")
    write_distribution(tmp_path, "moduleless", entry_points="[stvg.backends]\nmoduleless = :x\n")
    write_distribution(tmp_path, "qwen2-vl", distribution="a-fork", requires=("not-there-at-all",))
    assert stvg("plugins", path=tmp_path).returncode == 0
    assert stvg("--help", path=tmp_path).returncode == 0
    assert stvg("models", path=tmp_path).returncode == 0
    assert stvg("decompose", "The man in blue walks.", path=tmp_path).returncode == 0
    done = stvg("ground", case.video, case.query, "--model", MODEL, "--json", *QUICKLY, path=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"]["distribution"] == "stvg-qwen2-vl"


def test_a_backend_in_a_file_grounds_and_is_told_in_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case = next(case for case in find_demos() if case.name == "easy")
    file = tmp_path / "mine.py"
    file.write_text(QWEN_FILE, encoding="utf-8")
    arguments = ("ground", case.video, case.query, "--model", MODEL, "--backend", "mine", "--json", *QUICKLY)
    code, out, error = stvg_here(monkeypatch, capsys, *arguments, "--plugin", file)
    assert (code, error) == (0, "")
    assert "STVG_PLUGIN_FILES" not in os.environ, "the command leaves the environment as it was"
    assert json.loads(out)["model"] == {
        "id": MODEL,
        "backend": "mine",
        "distribution": "mine.py",
        "version": f"sha256:{hashlib.sha256(QWEN_FILE.encode()).hexdigest()}",
        "hook_api": 1,
    }


def test_a_tie_with_a_file_is_an_error_that_says_how_to_choose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case = next(case for case in find_demos() if case.name == "easy")
    file = tmp_path / "mine.py"
    file.write_text(QWEN_FILE, encoding="utf-8")
    arguments = ("--plugin", file, "ground", case.video, case.query, "--model", MODEL)
    code, _, error = stvg_here(monkeypatch, capsys, *arguments)
    assert (code, error.count("\n")) == (1, 1)
    assert "choose with --backend mine.py:mine or --backend stvg-qwen2-vl:qwen2-vl" in error


def test_a_file_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    for arguments in (("--plugin", tmp_path / "absent.py", "plugins"), ("plugins", "--plugin", tmp_path)):
        done = stvg(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert "expected --plugin to name a Python file" in done.stderr


def test_a_file_on_the_command_line_is_listed(tmp_path: Path) -> None:
    file = write_plugin_file(tmp_path / "mine.py")
    other = write_plugin_file(tmp_path / "other.py", "other")
    third = write_plugin_file(tmp_path / "third.py", "third")
    done = stvg("--plugin", file, "plugins", "--plugin", other, "--json", STVG_PLUGIN_FILES=str(third))
    for name, owner in (("single", "mine.py"), ("other", "other.py"), ("third", "third.py")):
        assert (row_of(done, name)["distribution"], row_of(done, name)["status"]) == (owner, "ok")
