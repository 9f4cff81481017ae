import ast
import importlib.machinery
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stvg_core.devtools.scaffold import FAMILIES, MARKER, BackendNames, check_names, render_backend, write_backend
from stvg_core.devtools.testing.suite import CHECKS
from stvg_core.errors import OutputError, UsageError
from stvg_core.plugin.model_reference import HOOK_API
from tests.support.generated import pretend_installed, run_with
from tests.support.scripted import found_backend

ROOT = Path(__file__).parents[2]
NAMES = ("my-model", "x", "a" * 30, "model-7b-2")


def command(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stvg_core", "new-backend", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", NAMES)
def test_every_file_is_well_formed(name: str, family: str) -> None:
    names = BackendNames(name)
    rendered = render_backend(names, family)
    for path, content in rendered.items():
        assert content.endswith("\n") or path.endswith("py.typed"), path
        if path.endswith(".py"):
            ast.parse(content)
        if not path.endswith(".yml"):
            assert not re.search(r"\$[\w{]|PACKAGE", content), path
    project = tomllib.loads(rendered["pyproject.toml"])["project"]
    assert project["name"] == f"stvg-{name}"
    manifest = tomllib.loads(rendered[f"{names.package}/stvg-backend.toml"])
    assert (manifest["name"], manifest["hook_api"]) == (name, HOOK_API)
    for group in ("stvg.backends", "stvg.conformance"):
        ((key, value),) = project["entry-points"][group].items()
        module, _, attribute = value.partition(":")
        assert key == name
        assert re.search(rf"^class {attribute}\b", rendered[f"{module.replace('.', '/')}.py"], re.MULTILINE)
    assert rendered["LICENSE"] == (ROOT / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_place_to_fill_in_is_explained(family: str) -> None:
    known = {check.name for check in CHECKS}
    places = 0
    for path, content in render_backend(BackendNames("my-model"), family).items():
        if path == "README.md":
            continue
        for place in content.split(f"# {MARKER}")[1:]:
            places += 1
            comment = re.match(r"(?:.*\n)(?:\s*#.*\n)*", place).group()  # type: ignore[union-attr]
            text = " ".join(re.sub(r"\n\s*#", " ", comment).split())
            assert re.search(r"Needed for: .{15,} Check: ", text), (path, text)
            named = re.sub(r"\(.*?\)|and all that follow|\.$", "", text.partition(" Check: ")[2].split(";")[0])
            checks = [one.strip() for one in named.split(",")]
            assert checks == ["none"] or set(checks) <= known, (path, checks)
        assert content.count(MARKER) == content.count(f"# {MARKER}")
    assert places >= 12


def test_the_huggingface_family_lists_the_example_behind_the_authors_architecture() -> None:
    for architecture in ("MineForConditionalGeneration", "M" * 100):
        rendered = render_backend(BackendNames("my-model", architecture), "huggingface")
        told = tomllib.loads(rendered["stvg_my_model/stvg-backend.toml"])["architectures"]
        assert told == [architecture, "LlavaForConditionalGeneration"]
        tree = ast.parse(rendered["stvg_my_model/family.py"])
        (read,) = (
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "architectures"
        )
        assert list(ast.literal_eval(read)) == told  # type: ignore[arg-type]


@pytest.mark.skipif(importlib.util.find_spec("ruff") is None, reason="not installed; nox -s scaffold runs it")
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_written_keeps_the_projects_own_rules(tmp_path: Path, family: str) -> None:
    write_backend(BackendNames("my-model"), family, tmp_path / "new")
    own = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
    rules = (
        "--select",
        ",".join(own["select"]),
        "--ignore",
        ",".join(own["ignore"]),
        "--config",
        'lint.pydocstyle.convention="google"',
        "--config",
        'lint.per-file-ignores={"**/tests/**"=["S101"]}',
    )
    for arguments in (("check", *rules), ("format", "--check")):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *arguments, "new"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("My_Model", "use my-model"),
        ("stvg-mine", "use mine"),
        ("7b", "use b"),
        ("a--b", "use a-b"),
        ("", "one such as my-model"),
        ("../../evil", "use evil"),
        ("a" * 31, "use " + "a" * 30),
        ("modèle", "use mod-le"),
        ("\x1b[31m", "use m"),
    ],
)
def test_a_name_that_cannot_be_is_told_with_one_that_can(name: str, cure: str) -> None:
    with pytest.raises(UsageError, match=re.escape(cure)) as error:
        BackendNames(name)
    assert "\x1b" not in str(error.value)


@given(st.text(max_size=40))
def test_whatever_passes_is_a_distribution_and_a_package(name: str) -> None:
    try:
        names = BackendNames(name)
    except UsageError:
        return
    assert re.sub(r"[-_.]+", "-", names.distribution).lower() == names.distribution
    assert names.package.isidentifier()
    assert names.class_name.isidentifier()


@pytest.mark.parametrize("architecture", ["", "a b", "A.B", "../x", 'x"]\n', "A" * 129])
def test_an_architecture_that_cannot_be_is_refused(architecture: str) -> None:
    with pytest.raises(UsageError, match="architecture"):
        BackendNames("mine", architecture)


def test_a_name_that_is_taken_is_told_with_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"by stvg-mine.*pip uninstall stvg-mine"):
        check_names(BackendNames("mine"), (found_backend("mine"),))
    with pytest.raises(UsageError, match="distribution of this project"):
        check_names(BackendNames("huggingface"), ())
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "stvg_taken").mkdir()
    (tmp_path / "stvg_taken" / "__init__.py").write_text("raise RuntimeError", encoding="utf-8")
    with pytest.raises(UsageError, match="stvg_taken is importable"):
        check_names(BackendNames("taken"), ())
    info = tmp_path / "stvg_other-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stvg-other\nVersion: 1.0\n", encoding="utf-8")
    importlib.machinery.PathFinder.invalidate_caches()
    with pytest.raises(UsageError, match="pip uninstall stvg-other"):
        check_names(BackendNames("other"), ())
    assert check_names(BackendNames("free"), ()) == ()
    (note,) = check_names(BackendNames("free", "ScriptedModel"), (found_backend("mine"),))
    assert "'mine'" in note
    assert "--backend free" in note


def test_what_stands_there_is_never_touched(tmp_path: Path) -> None:
    names = BackendNames("mine")
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "README.md").write_text("mine", encoding="utf-8")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for folder in (kept, kept / "README.md", tmp_path / "link"):
        with pytest.raises(OutputError, match="--out"):
            write_backend(names, "custom", folder)
    assert [path.name for path in kept.iterdir()] == ["README.md"]
    assert (kept / "README.md").read_text(encoding="utf-8") == "mine"


def test_a_failure_midway_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []
    write = Path.write_text

    def failing(self: Path, *arguments: object, **keywords: object) -> int:
        written.append(self)
        if len(written) == 5:
            raise OSError(28, "No space left on device")
        return write(self, *arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "write_text", failing)
    with pytest.raises(OSError, match="No space"):
        write_backend(BackendNames("mine"), "custom", tmp_path / "deep" / "mine")
    assert list(tmp_path.iterdir()) == []


def test_the_command_tells_the_next_three_and_imports_no_torch(tmp_path: Path) -> None:
    done = command("my-model", "--family", "custom", "--out", "a \x07\u202e\x1b[31mfolder", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not {"\x07", "\x1b", "\u202e"} & set(done.stdout)
    (folder,) = tmp_path.iterdir()
    assert (folder / "stvg_my_model" / "py.typed").is_file()
    again = command("my-model", "--out", str(folder), folder=tmp_path)
    assert again.returncode == 1
    assert again.stderr.startswith("error: expected nothing at")
    assert command("My Model", folder=tmp_path).returncode == 2
    plain = command("my-model", folder=tmp_path)
    lines = [line.strip() for line in plain.stdout.splitlines() if line.startswith("  ")]
    assert lines == [
        "pip install --editable ./stvg-my-model",
        "stvg conformance my-model",
        "grep -rn 'FILL IN:' stvg-my-model",
    ]
    code = (
        "import sys; from pathlib import Path; from stvg_core.devtools.scaffold import *; "
        "write_backend(BackendNames('light'), 'custom', Path('light')); "
        "heavy = {'torch', 'transformers'} & set(sys.modules); sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def prove(folder: Path, *arguments: str) -> dict[str, str]:
    done = run_with(folder, "-m", "stvg_core", "conformance", "my-model", "--json", *arguments)
    assert done.stdout, done.stderr
    return {check["name"]: check["outcome"] for check in json.loads(done.stdout)["checks"]}


@pytest.mark.parametrize("family", ["custom", pytest.param("huggingface", marks=pytest.mark.slow)])
def test_it_passes_the_kit_as_generated(tmp_path: Path, family: str) -> None:
    folder = tmp_path / "new"
    architecture = "MineForConditionalGeneration"
    write_backend(BackendNames("my-model", architecture), family, folder)
    pretend_installed(folder)
    outcomes = prove(folder)
    assert set(outcomes) == {check.name for check in CHECKS}
    assert set(outcomes.values()) == {"passed"}, outcomes
    tests = run_with(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_smoke.py")
    assert tests.returncode == 0, tests.stdout


MISTAKES = [
    ("adapter.py", "frames.pixels[list(frame_order)]", "frames.pixels", "frame-order"),
    ("adapter.py", "before = past[0][0].shape[1] if past is not None else 0", "before = 0", "answer-logits"),
    ("adapter.py", "shown = tokens if prompt is None else tokens + prompt", "shown = tokens", "prompted-logits"),
    ("adapter.py", "shares[:, :, first : first + cells]", "shares[:, :, :cells]", "attention-rows"),
    ("adapter.py", "tokens + prompt", "tokens + prompt.detach()", "gradient"),
    ("adapter.py", "past is None and not wanted and not self._checkpoint.eager", "False", "memory"),
    ("backend.py", "return reverse_by_flipping(clip)", "return clip", "reversed-view"),
    ("prompts.py", 'PromptToken(ASSISTANT, "role")', 'PromptToken(ASSISTANT, "word")', "prompt-tokens"),
    ("loading.py", "network.requires_grad_(False).eval()", "network.eval()", "untouched-inputs"),
    ("pixels.py", "torch.tensor(picture)", "torch.tensor(picture[:, ::-1].copy())", "token-places"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("file", "right", "wrong", "check"), MISTAKES)
def test_a_wrong_value_fails_the_check_that_its_comment_names(
    tmp_path: Path, file: str, right: str, wrong: str, check: str
) -> None:
    folder = tmp_path / "new"
    write_backend(BackendNames("my-model"), "custom", folder)
    pretend_installed(folder)
    path = folder / "stvg_my_model" / file
    code = path.read_text(encoding="utf-8")
    assert code.count(right) == 1
    comments = " ".join(re.findall(r"# Check: (.*)", code))
    path.write_text(code.replace(right, wrong), encoding="utf-8")
    assert prove(folder, "--only", check) == {check: "failed"}
    assert check in comments


def test_wheels_carry_the_templates() -> None:
    shipped = {path.relative_to(ROOT) for path in (ROOT / "stvg_core/devtools/scaffold/templates").rglob("*.template")}
    assert len(shipped) > 20
    ignored = subprocess.run(
        ["git", "check-ignore", *map(str, shipped)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    # hatchling leaves out what git ignores.
    assert os.linesep not in ignored.stdout
