"""Documents that are a reference are held against the source that they describe."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest

from stvg_core import hookspecs
from stvg_core.hook_extensions import HookExtension
from stvg_core.session import REQUIRED_HOOKS
from stvg_core.tracing import LONGEST_LINE

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SOURCES = sorted([*ROOT.glob("stvg_core/**/*.py"), *ROOT.glob("stvg_plugins/*/stvg_*/**/*.py")])
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
