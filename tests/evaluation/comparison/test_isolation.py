"""Rows in environments of their own: what is installed, from where, what fails, and that pins may conflict."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from stvg_core.errors import EnvironmentMakingError, PluginError, UsageError
from stvg_core.evaluation.comparison import ComparisonRow, Source, compare, read_rows
from stvg_core.evaluation.comparison import comparing as comparing_module
from stvg_core.evaluation.comparison.environments import FOLDER_VARIABLE, environment_key, open_environment
from stvg_core.evaluation.comparison.requirements import check_isolation, row_requirements
from stvg_core.metrics import Bootstrap, find_protocol
from tests.support.fake_distributions import manifest_text, write_distribution
from tests.support.runs import write_dataset

STCAT = find_protocol("stcat")
SPEAKER = """
import importlib.metadata, json, sys


def main():
    print(json.dumps({{"protocol": 1, "stvg_core": {version!r}, "python": "3"}}), flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        versions = {{name: importlib.metadata.version(name) for name in ("pinned",)}}
        print(json.dumps({{"summary": {{
            "configuration": None, "score": None, "samples": None, "failures": [],
            "sessions": [{{"versions": versions}}],
        }}}}), flush=True)
"""


def write_wheel(
    folder: Path, name: str, number: str, *, requires: str = "", files: dict[str, str] | None = None
) -> str:
    """A wheel as a package index would have it; its sources, where it has any, lie in it."""
    folder.mkdir(exist_ok=True)
    base = f"{name.replace('-', '_')}-{number}"
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    content = {
        **(files or {f"{name.replace('-', '_')}.py": ""}),
        f"{base}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n{needs}",
        f"{base}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, text in content.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text.encode())}\n"
    content[f"{base}.dist-info/RECORD"] = f"{record}{base}.dist-info/RECORD,,\n"
    with zipfile.ZipFile(folder / f"{base}-py3-none-any.whl", "w") as wheel:
        for path, text in content.items():
            wheel.writestr(path, text)
    return f"{name}=={number}"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, and no other place that any installer may ask."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    for name, value in (("NO_INDEX", "1"), ("FIND_LINKS", str(tmp_path / "index")), ("CONFIG_FILE", os.devnull)):
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "environments"))
    write_wheel(tmp_path / "index", "pinned", "1.0")
    write_wheel(tmp_path / "index", "pinned", "2.0")
    write_wheel(tmp_path / "index", "backend-a", "1.0", requires="pinned==1.0")
    write_wheel(tmp_path / "index", "backend-b", "1.0", requires="pinned==2.0")
    return tmp_path / "index"


def pinned(python: str) -> str:
    command = [python, "-c", "import importlib.metadata; print(importlib.metadata.version('pinned'))"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.usefixtures("index")
def test_environments_with_pins_that_conflict_stand_side_by_side(tmp_path: Path) -> None:
    made: list[Path] = []
    first = open_environment(["backend-a"], on_make=made.append)
    second = open_environment(["backend-b"], on_make=made.append)
    assert (pinned(first.python), pinned(second.python)) == ("1.0", "2.0")
    assert open_environment(["backend-a"], on_make=made.append) == first
    assert len(set(made)) == len(made) == 2
    assert {path.parent for path in made} == {tmp_path / "environments"}
    with pytest.raises(EnvironmentMakingError) as failed:
        open_environment(["backend-a", "backend-b"])
    assert "Cannot install" in str(failed.value)
    assert "\n" not in str(failed.value)
    (log,) = [part for part in str(failed.value).split() if part.endswith(".log")]
    assert "conflict" in Path(log).read_text()


@pytest.mark.usefixtures("index")
def test_a_half_made_environment_is_never_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "environments" / environment_key(["pinned==1.0"])
    with monkeypatch.context() as broken:
        broken.setattr(
            "stvg_core.evaluation.comparison.environments._install", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            open_environment(["pinned==1.0"])
    assert not home.exists()
    # What a process that was killed leaves: everything but the last file.
    made = open_environment(["pinned==1.0"])
    (home / "stvg-environment.json").unlink()
    (home / "half").touch()
    again: list[Path] = []
    assert open_environment(["pinned==1.0"], on_make=again.append) == made
    assert again == [home]
    assert not (home / "half").exists()


def test_the_key_of_an_environment_is_what_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "a project"
    project.mkdir()
    (project / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    line = f"-e {project.as_uri()}"
    keys = [environment_key([line]), environment_key([line, "b"])]
    (project / "module.py").touch()
    assert environment_key([line]) == keys[0]
    (project / "pyproject.toml").write_text("[project]\nname = 'x'\ndependencies = ['y']\n")
    keys.append(environment_key([line]))
    monkeypatch.setenv("PIP_INDEX_URL", "https://user:secret@index.invalid")
    keys.append(environment_key([line]))
    assert len(set(keys)) == 4


@pytest.mark.usefixtures("index")
def test_what_is_missing_from_the_index_is_named() -> None:
    with pytest.raises(EnvironmentMakingError, match=r"expected pip to make an environment, it failed: .*gone"):
        open_environment(["gone==1.0"])


@pytest.mark.parametrize("works", [True, False])
def test_uv_is_asked_first_and_pip_where_it_fails(
    works: bool, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://user:secret@index.invalid/simple")
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        f"json.dump([sys.argv[1:], os.environ.get('UV_INDEX_URL')], open({str(tmp_path / 'asked')!r}, 'w'))\n"
        f"sys.exit({0 if works else 2})\n"
    )
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", f"{uv.parent}{os.pathsep}{os.environ['PATH']}")
    python = open_environment(["pinned==1.0"]).python
    asked, address = json.loads((tmp_path / "asked").read_text())
    wanted = str(Path(python).parents[1] / "requirements.txt")
    assert asked == [
        *("pip", "install", "--python", python, "--no-index", "--find-links", str(index), "-r", wanted),
    ]
    assert address == "https://user:secret@index.invalid/simple"
    assert "secret" not in "".join(path.read_text() for path in (tmp_path / "environments").glob("*/*.*"))
    if not works:
        assert pinned(python) == "1.0"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path / "site")
    return tmp_path / "site"


def test_distributions_come_from_where_they_are_from_here(installed: Path, tmp_path: Path) -> None:
    told = {
        "part": {"url": "file:///src/part%20one", "dir_info": {"editable": True}},
        "fork": {
            "url": "https://git.invalid/fork",
            "vcs_info": {"vcs": "git", "commit_id": "abc"},
            "subdirectory": "py",
        },
        "archive": {"url": "file:///wheels/archive-1.0-py3-none-any.whl", "archive_info": {}},
        "folder": {"url": "file:///src/folder", "dir_info": {}},
        "damaged": None,
        "plain": None,
    }
    requires = ("stvg-part", "fork[more]", "stvg-plain", "plain; extra == 'x'", "damaged")
    write_distribution(
        installed, "fam", manifest=manifest_text("fam", architecture="NewModel"), requires=requires, code=""
    )
    for name, place in told.items():
        needs = {"fork": ("archive; extra == 'more'", "never; extra == 'other'"), "part": ("folder",)}.get(name, ())
        info = write_distribution(
            installed,
            name,
            distribution=f"stvg-{name}" if name in {"part", "plain"} else name,
            manifest=None,
            entry_points="",
            requires=needs,
        )
        if place is not None:
            (info / "direct_url.json").write_text(json.dumps(place))
    (installed / "damaged-1.0.dist-info" / "direct_url.json").write_text("{")
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"architectures": ["NewModel"]}))
    lines = row_requirements(ComparisonRow("a", str(model), requirements=("Transformers==5.17.*", "stvg-plain<9")))
    assert f"torch=={version('torch').partition('+')[0]}" in lines
    lines = tuple(line for line in lines if not line.startswith("torch"))
    core = [line for line in lines if "stvg-core" in line or (line.startswith("-e") and "part" not in line)]
    assert len(core) == 1
    assert sorted(set(lines) - set(core)) == [
        "-e file:///src/part%20one",
        "Transformers==5.17.*",
        "archive @ file:///wheels/archive-1.0-py3-none-any.whl",
        "folder @ file:///src/folder",
        "fork @ git+https://git.invalid/fork@abc#subdirectory=py",
        "stvg-fam==1.0",
        "stvg-plain<9",
    ]


def test_a_model_nobody_handles_needs_its_distribution_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["NobodysModel"]}))
    with pytest.raises(PluginError, match="expected to know which distribution has a backend for 'NobodysModel'"):
        row_requirements(ComparisonRow("a", str(tmp_path)))
    lines = row_requirements(ComparisonRow("a", str(tmp_path), requirements=("somebodys", "torch<3")))
    assert {"somebodys", "torch<3"} <= set(lines)
    assert not any(line.startswith("torch==") for line in lines)


def test_requirements_need_isolation_and_no_interpreter(tmp_path: Path) -> None:
    row = ComparisonRow("a", "m", requirements=("x==1",))
    with pytest.raises(UsageError, match="add --isolate"):
        check_isolation([row], isolate=False)
    with pytest.raises(UsageError, match="got both"):
        check_isolation([ComparisonRow("a", "m", python="p", requirements=("x",))], isolate=True)
    for line in ("--index-url=https://evil.invalid", "-r other.txt", "a b"):
        with pytest.raises(UsageError, match="expected a requirement such as"):
            check_isolation([ComparisonRow("a", "m", requirements=(line,))], isolate=True)
    check_isolation([row, ComparisonRow("b", "m", python="p")], isolate=True)
    path = tmp_path / "rows.toml"
    path.write_text('[[row]]\nmodel = "a"\nrequirements = ["transformers==5.17.*"]\nladder = true\n')
    rows = read_rows(path)
    assert len(rows) == 6
    assert {row.requirements for row in rows} == {("transformers==5.17.*",)}


def test_rows_run_in_environments_that_conflict_and_one_that_cannot_be_made_stops_no_other(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for the core that speaks the row protocol: the real one would need an index."""
    for number in (version("stvg-core"), "9.9"):
        files = {
            "stvg_core/__init__.py": "",
            "stvg_core/evaluation/comparison/__init__.py": "",
            "stvg_core/evaluation/comparison/row_process.py": SPEAKER.format(version=number),
        }
        write_wheel(index, "stvg-core", number, files=files)
    write_dataset(tmp_path / "data")
    own, other = f"stvg-core=={version('stvg-core')}", "stvg-core==9.9"
    wanted = {
        "one": (own, "backend-a"),
        "bad": (own, "backend-a", "backend-b"),
        "newer": (other, "backend-a"),
        "silent": ("backend-a",),
        "two": (own, "backend-b"),
    }
    monkeypatch.setattr(comparing_module, "row_requirements", lambda row: wanted[row.name])
    # What leads Python elsewhere must not lead rows out of their environments.
    (tmp_path / "stvg_core").mkdir()
    (tmp_path / "stvg_core" / "__init__.py").write_text("raise SystemExit('the wrong core')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    rows = [ComparisonRow(name, "m") for name in wanted]
    document = compare(rows, Source("folder", tmp_path / "data"), tmp_path / "out", STCAT, Bootstrap(10), isolate=True)
    one, bad, newer, silent, two = document.rows
    assert [row.status for row in document.rows] == ["ok", "failed", "failed", "failed", "ok"]
    assert (one.versions, two.versions) == ({"pinned": "1.0"}, {"pinned": "2.0"})
    assert one.environment == list(wanted["one"])
    assert "expected pip to make an environment" in bad.error
    assert f"expected stvg-core {version('stvg-core')} in the environment of" in newer.error
    assert "got 9.9" in newer.error
    assert "found none or an older one" in silent.error
    assert bad.environment is None
    assert newer.environment == list(wanted["newer"])


@pytest.mark.slow
def test_two_versions_of_transformers_in_one_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the real core and backends from this checkout; needs an index."""
    reached = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "-d", str(tmp_path), "transformers==5.17.*"],
        capture_output=True,
        check=False,
    )
    if reached.returncode:
        pytest.skip("no package index")
    from tests.support.runs import write_demo_data

    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "environments"))
    data = write_demo_data(tmp_path / "data", 1, 1)
    rows = [
        ComparisonRow("old", "tiny:qwen2-vl", requirements=("transformers==5.17.*",)),
        ComparisonRow("new", "tiny:qwen2-vl"),
    ]
    document = compare(rows, Source("folder", data), tmp_path / "out", STCAT, Bootstrap(10), isolate=True)
    old, new = document.rows
    assert (old.error, new.error) == ("", "")
    assert old.versions is not None
    assert new.versions is not None
    assert old.versions["transformers"].startswith("5.17.")
    assert not new.versions["transformers"].startswith("5.17.")
    assert any(warning.startswith("rows ran under transformers 5.17.") for warning in document.warnings)
