"""Documents that are a reference are held against the source that they describe."""

import ast
import inspect
import pkgutil
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import typer

from stvg_core.cli import app
from stvg_core.evaluation.ablation import TABLE_NAMES
from stvg_core.host.extensions import HookExtension
from stvg_core.host.session import REQUIRED_HOOKS
from stvg_core.host.tracing import LONGEST_LINE
from stvg_core.plugin import hookspecs

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SOURCES = sorted(
    [
        *ROOT.glob("stvg_core/**/*.py"),
        *ROOT.glob("stvg_plugins/*/stvg_*/**/*.py"),
        *ROOT.glob("stvg_plugins/*/research/tiny_recipe/*.py"),
    ]
)
HOOKS = (DOCS / "hooks.md").read_text(encoding="utf-8")


def spaceless(text: str) -> str:
    return re.sub(r"\s+", "", text).replace("'", '"').replace(",)", ")")


def signature(hook: str) -> str:
    """Return a hook as Python writes it, with its types' short names."""
    written = str(inspect.signature(getattr(hookspecs, hook)))
    return hook + re.sub(r"\b(?:[A-Za-z_]\w*\.)+(?=[A-Z])", "", written)


@pytest.mark.parametrize("hook", REQUIRED_HOOKS)
def test_every_hook_is_documented_with_its_exact_signature(hook: str) -> None:
    assert "->" in signature(hook)
    assert spaceless(signature(hook)) in spaceless(HOOKS), signature(hook)


def test_every_call_in_the_table_has_its_arguments() -> None:
    rows = dict(re.findall(r"^\| `(stvg_\w+)\(([^)]*)\)` \|", HOOKS, re.MULTILINE))
    assert rows == {hook: ", ".join(inspect.signature(getattr(hookspecs, hook)).parameters) for hook in REQUIRED_HOOKS}


def test_no_document_names_a_hook_that_is_none() -> None:
    packages = {"stvg_core", "stvg_plugins"}
    for folder in ("stvg_plugins", "examples"):
        packages |= {path.name for path in ROOT.glob(f"{folder}/*/stvg_*")}
    named: dict[str, str] = {}
    for page in (*DOCS.glob("*.md"), ROOT / "README.md"):
        # In the reference every such word counts, elsewhere those that are written as calls.
        call = "" if page.name == "hooks.md" else r"(?=\()"
        for word in re.findall(rf"\bstvg_[a-z0-9_]*[a-z0-9]\b{call}", page.read_text(encoding="utf-8")):
            named[word] = page.name
    unknown = {word: page for word, page in named.items() if word not in packages and word not in REQUIRED_HOOKS}
    # A package that a page writes as an example of one's own is followed by a file, module or folder.
    own = {word for page in DOCS.glob("*.md") for word in re.findall(r"\b(stvg_\w+)[/.:]", page.read_text("utf-8"))}
    assert {word: page for word, page in unknown.items() if word not in own} == {}


def test_the_extension_in_the_document_is_one() -> None:
    (source,) = re.findall(r"```python\n(from collections.*?)```", HOOKS, re.DOTALL)
    namespace: dict[str, object] = {}
    exec(compile(source, "docs/hooks.md", "exec"), namespace)
    extension = HookExtension("log", "their-log", "1.0", namespace["AttentionLog"]())  # type: ignore[operator]
    assert extension.hooks == ("stvg_capture_attention",)


def test_the_longest_line_of_a_trace_is_documented() -> None:
    assert f"at most {LONGEST_LINE} characters" in HOOKS


def documented_commands() -> Iterator[tuple[str, str]]:
    """Yield whole commands: those in blocks, and those of docs/reproduce.md between the lines."""
    for page in (*sorted(DOCS.glob("*.md")), ROOT / "README.md", *sorted(ROOT.glob("stvg_plugins/*/README.md"))):
        text = page.read_text(encoding="utf-8")
        lines = [
            re.split(r" [>&#]|\s#", line.strip().removeprefix("$ "))[0]
            for block in re.findall(r"```(?:console|bash|sh)\n(.*?)```", text, re.DOTALL)
            for line in block.replace("\\\n", " ").splitlines()
        ]
        if page.name == "reproduce.md":
            lines += re.findall(r"`(stvg [^`]* --[^`]*)`", text.replace("\n", " "))
        for name, value in re.findall(r'export (\w+)="([^"]*)"', text):
            lines = [line.replace(f"${name}", value) for line in lines]
        yield from ((page.name, line) for line in lines if line.startswith("stvg ") and "..." not in line)


def parse(line: str) -> None:
    """Read a command as `stvg` does, and run nothing."""
    command: Any = typer.main.get_command(app)
    words = shlex.split(line)[1:]
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        command = command.commands[words.pop(0)]
    command.make_context(command.name, words)


def test_every_documented_command_has_arguments_that_it_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_backend.py").touch()
    found = list(documented_commands())
    assert len(found) > 60
    wrong = {}
    for page, line in found:
        try:
            parse(line)
        except (typer.Exit, SystemExit):
            continue
        except Exception as error:  # noqa: BLE001  # typer's own errors have no public base class
            wrong[line] = f"{page}: {type(error).__name__} {error}"
    assert wrong == {}
    with pytest.raises(Exception, match="no-such-option"):
        parse("stvg models --no-such-option")


def test_every_documented_table_of_an_ablation_is_one() -> None:
    text = " ".join(line for _, line in documented_commands())
    named = set(re.findall(r"--table ([\w-]+)", text))
    assert named
    assert named <= set(TABLE_NAMES)
    rows = re.findall(r"^\| `([\w-]+)` \|", (DOCS / "ablate.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(rows) - {"--table"} == set(TABLE_NAMES)


def axis_words(path: Path) -> Iterator[str]:
    """Return the axis words of every jaxtyping annotation in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Subscript) or not isinstance(node.slice, ast.Tuple):
            continue
        name = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
        axes = node.slice.elts[-1]
        if hasattr(jaxtyping, name) and isinstance(axes, ast.Constant) and isinstance(axes.value, str):
            for axis in axes.value.split():
                word = axis.partition("=")[0].lstrip("*#?_")
                if word != "..." and not word.isdigit():
                    yield word


def test_every_axis_word_is_documented() -> None:
    text = (DOCS / "shapes.md").read_text(encoding="utf-8")
    documented = {
        word
        for line in text.splitlines()
        if line.startswith("| `")
        for word in re.findall(r"`(\w+)`", line.split("|")[1])
    } | {"xy", "xyxy", "rgb"}
    used: dict[str, str] = {word: str(path.relative_to(ROOT)) for path in SOURCES for word in axis_words(path)}
    assert len(used) > 20
    assert {word: place for word, place in used.items() if word not in documented} == {}
    assert documented - set(used) - {"xy", "xyxy", "rgb"} == set(), "nobody uses these words"


DOTTED = sorted(
    {
        name
        for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
        for name in re.findall(r"\bstvg_(?:core|huggingface)(?:\.[A-Za-z_]+)+", page.read_text(encoding="utf-8"))
    }
)


@pytest.mark.parametrize("name", DOTTED)
def test_names_of_the_pages_exist(name: str) -> None:
    pkgutil.resolve_name(name)
