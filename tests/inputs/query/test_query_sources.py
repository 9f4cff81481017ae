"""Sub-queries from a file and from a model, and opening a decomposer by name."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stvg_core.errors import PluginError, QueryError, UsageError
from stvg_core.inputs.query import catalog, from_file, lexicon
from stvg_core.inputs.query.from_file import FileDecomposer
from stvg_core.inputs.query.from_model import ModelDecomposer, instruction_for, read_answer
from stvg_core.plugin.decomposer import Decomposer
from stvg_core.values import SubQueries
from tests.support.fake_distributions import write_distribution

SENTENCE = "The man in blue clothes walks to the sofa."
GOOD = {"attribute": "The man in blue clothes.", "action": "The man walks to the sofa."}


def _file(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "sub_queries.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_authors_file_by_video_last_wins(tmp_path: Path) -> None:
    entry = {
        "decompose_attribute": ["first", "The man in Blue clothes."],
        "decompose_action": ["the man walks."],
        "caption": 1,
    }
    path = _file(tmp_path, {"12_abc.mp4": entry, "13_abc.mp4": {**entry, "decompose_action": ["other"]}})
    for name in ("12_abc.mp4", "videos/12_abc.mp4", "12_abc.mkv"):
        found = FileDecomposer(path, video_name=name).decompose(SENTENCE)
        assert (found.attribute, found.action) == ("the man in blue clothes", "the man walks")
        assert (found.decomposer, found.text, found.warnings) == ("file", SENTENCE, ())


@pytest.mark.parametrize("failed", [["Please describe this video."], [], [""], ["good", "please describe this video"]])
def test_authors_failure_becomes_whole_sentence(tmp_path: Path, failed: list[str]) -> None:
    path = _file(tmp_path, {"a.mp4": {"decompose_attribute": failed, "decompose_action": ["the man walks"]}})
    found = FileDecomposer(path, video_name="a.mp4").decompose(SENTENCE)
    assert (found.attribute, found.action) == ("the man in blue clothes walks to the sofa", "the man walks")
    assert "holds no attribute" in found.warnings[0]


def test_own_file_by_sentence_wins_over_video(tmp_path: Path) -> None:
    by_video = {"decompose_attribute": ["x"], "decompose_action": ["y"]}
    path = _file(tmp_path, {"the man in BLUE clothes  walks to the sofa": GOOD, "a.mp4": by_video})
    for name in (None, "a.mp4"):
        found = FileDecomposer(path, video_name=name).decompose(SENTENCE)
        assert (found.attribute, found.action) == ("the man in blue clothes", "the man walks to the sofa")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "expected JSON in .*sub_queries.json"),
        ("[]", "keyed by video or sentence in .*, got list"),
        ("[" * 10_000, "expected JSON"),
        ({"a": 3}, "'a' in .*sub_queries.json, got entry = 3"),
        ({"a": {"attribute": "x"}}, "'a' in .*, got action = "),
        ({"a": {"attribute": "x", "action": 7}}, "got action = 7"),
        ({"a": {**GOOD, "extra": 1}}, "got extra = 1"),
        ({"a.mp4": {"decompose_attribute": "x", "decompose_action": ["y"]}}, "got decompose_attribute = 'x'"),
        ({"a.mp4": {"decompose_attribute": ["x", 5], "decompose_action": ["y"]}}, "decompose_attribute.1 = 5"),
        ({"a.mp4": {"decompose_attribute": ["x"]}}, "got decompose_action"),
    ],
)
def test_malformed_file_names_file_key_and_value(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(QueryError, match=message) as caught:
        FileDecomposer(_file(tmp_path, content))
    assert "\n" not in str(caught.value)


def test_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(QueryError, match="No such file"):
        FileDecomposer(tmp_path / "none.json")
    monkeypatch.setattr(from_file, "MAXIMUM_BYTES", 4)
    with pytest.raises(QueryError, match="at most 0 MiB"):
        FileDecomposer(_file(tmp_path, {"a": GOOD}))


def test_query_that_is_not_in_the_file(tmp_path: Path) -> None:
    entry = {"decompose_attribute": ["x"], "decompose_action": ["y"]}
    path = _file(
        tmp_path, {"one/a.mp4": entry, "two/a.mp4": entry, "b.mp4": {**entry, "decompose_action": ["y" * 5000]}}
    )
    with pytest.raises(QueryError, match="name the video"):
        FileDecomposer(path).decompose(SENTENCE)
    with pytest.raises(QueryError, match=r"video 'c.mp4'.*use decomposer rules"):
        FileDecomposer(path, video_name="c.mp4").decompose(SENTENCE)
    with pytest.raises(QueryError, match="got 2; name the video with its folder"):
        FileDecomposer(path, video_name="a.mp4").decompose(SENTENCE)
    assert FileDecomposer(path, video_name="two/a.mp4").decompose(SENTENCE).attribute == "x"
    with pytest.raises(QueryError, match=r"action of .*4,000 characters"):
        FileDecomposer(path, video_name="b.mp4").decompose(SENTENCE)
    with pytest.raises(QueryError, match="no word"):
        FileDecomposer(path, video_name="two/a.mp4").decompose(" ")


def _model(answer: str) -> ModelDecomposer:
    return ModelDecomposer(lambda _instruction, _maximum_tokens: answer)


@pytest.mark.parametrize(
    "answer",
    [
        json.dumps(GOOD),
        f"Sure! Here it is:\n```json\n{json.dumps(GOOD, indent=2)}\n```\nHope {{this}} helps.",
        '{"thought": {"attribute": 1}} {broken ' + json.dumps({**GOOD, "note": "x"}),
    ],
)
def test_model_answer_is_found_in_its_text(answer: str) -> None:
    found = _model(answer).decompose(SENTENCE)
    assert (found.attribute, found.action) == ("the man in blue clothes", "the man walks to the sofa")
    assert (found.decomposer, found.warnings) == ("mllm", ())


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "no JSON object"),
        ("I cannot do that.", "'I cannot do that.', no JSON object"),
        ('{"attribute": "the man in blue clothes"}', "no JSON object"),
        ('{"attribute": ["a"], "action": "b"}', "no JSON object"),
        ('{"a":' * 5_000, "no JSON object"),
        (json.dumps({**GOOD, "attribute": " ... "}), "attribute is empty"),
        (json.dumps({**GOOD, "action": "the man walks " * 40}), "action is far longer"),
        (json.dumps({**GOOD, "attribute": "a purple elephant"}), "attribute shares no word"),
        (json.dumps({**GOOD, "action": "the of and is"}), "action shares no word"),
    ],
)
def test_model_nonsense_falls_back_to_rules(answer: str, reason: str) -> None:
    found = _model(answer).decompose(SENTENCE)
    assert (found.attribute, found.action) == ("the man in blue clothes", "the man walks to the sofa")
    assert found.decomposer == "rules"
    assert reason in found.warnings[0]
    assert "\n" not in found.warnings[0]


def test_model_may_use_generic_subject_and_other_scripts() -> None:
    answer = json.dumps({"attribute": "the person", "action": "the person touches the baby"})
    assert _model(answer).decompose("who touches the baby?").decomposer == "mllm"
    answer = json.dumps({"attribute": "穿红衣服的男人", "action": "男人走向门口"})
    assert _model(answer).decompose("穿红衣服的男人走向门口。").decomposer == "mllm"


def test_instruction_quotes_the_sentence_and_bounds_the_answer() -> None:
    asked: list[tuple[str, int]] = []

    def generate(instruction: str, maximum_tokens: int) -> str:
        asked.append((instruction, maximum_tokens))
        return json.dumps(GOOD)

    ModelDecomposer(generate).decompose('The man says "stop"\nand walks.')
    assert asked[0][0].endswith('Sentence: "The man says \\"stop\\" and walks."\nAnswer:')
    assert asked[0][1] == 160
    assert instruction_for(SENTENCE).count("\nSentence: ") == 5
    with pytest.raises(QueryError):
        ModelDecomposer(generate).decompose("  ")
    assert len(asked) == 1


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=120) | st.text(alphabet='{}":,abtricuoen [] \n', max_size=120))
def test_any_answer_is_read_or_refused(answer: str) -> None:
    read_answer(answer)
    assert _model(answer).decompose(SENTENCE).action


def test_open_by_name(tmp_path: Path) -> None:
    assert catalog.open_decomposer("rules", generate=None, video_name=None).name == "rules"
    assert catalog.open_decomposer("mllm", generate=lambda _i, _m: "", video_name=None).name == "mllm"
    opened = catalog.open_decomposer(f"file:{_file(tmp_path, {SENTENCE: GOOD})}", generate=None, video_name=None)
    assert opened.decompose(SENTENCE).decomposer == "file"
    for decomposer in (opened, catalog.open_decomposer("rules", generate=None, video_name=None)):
        assert isinstance(decomposer, Decomposer)


def test_mllm_needs_a_model() -> None:
    with pytest.raises(UsageError, match="got none; name a model, or use rules"):
        catalog.open_decomposer("mllm", generate=None, video_name=None)


@pytest.mark.parametrize(("name", "hint"), [("ruels", "did you mean rules?"), ("MLLM!", "got 'MLLM!'"), ("", "got ''")])
def test_unknown_name_lists_names(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match="file:PATH, mllm, rules") as caught:
        catalog.open_decomposer(name, generate=None, video_name=None)
    assert hint in str(caught.value)


class EchoDecomposer(Decomposer):
    """A plugin's decomposer."""

    name = "echo"

    def decompose(self, text: str) -> SubQueries:
        return SubQueries(text, text, text, self.name)


class RaisingDecomposer(EchoDecomposer):
    def __init__(self) -> None:
        raise ImportError("no module named parser_of_the_future")


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    def add(**values: tuple[str, ...]) -> None:
        monkeypatch.setitem(sys.modules, "decomposer_plugin", sys.modules[__name__])
        monkeypatch.syspath_prepend(str(tmp_path))
        for name, targets in values.items():
            for number, target in enumerate(targets):
                points = f"[{catalog.GROUP}]\n{name} = {target}\n"
                write_distribution(tmp_path, name, distribution=f"{name}-{number}", entry_points=points)

    return add


def test_plugin_is_opened_by_its_name(install: Callable[..., None]) -> None:
    install(echo=("decomposer_plugin:EchoDecomposer",))
    assert catalog.open_decomposer("echo", generate=None, video_name=None).decompose("x").action == "x"
    assert catalog.decomposer_names() == ("echo", "file:PATH", "mllm", "rules")


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (("decomposer_plugin:RaisingDecomposer",), "ImportError: no module named .*uninstall it"),
        (("decomposer_plugin:absent",), "AttributeError"),
        (("package_that_is_absent:X",), "ModuleNotFoundError"),
        (("builtins:dict",), "to be a subclass of Decomposer, got dict"),
        (("a:X", "b:X"), "expected one decomposer named 'broken'"),
    ],
)
def test_broken_plugin_says_whose_and_what_to_do(
    install: Callable[..., None], targets: tuple[str, ...], message: str
) -> None:
    install(broken=targets, echo=("decomposer_plugin:EchoDecomposer",))
    with pytest.raises(PluginError, match=message):
        catalog.open_decomposer("broken", generate=None, video_name=None)
    assert catalog.open_decomposer("echo", generate=None, video_name=None).name == "echo"


def test_missing_word_list_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lexicon, "_LEXICON", "textblob/en/absent.txt")
    lexicon._tags.cache_clear()
    try:
        with pytest.raises(PluginError, match="pip install textblob"):
            lexicon.tag_of("walk")
    finally:
        lexicon._tags.cache_clear()


def test_import_loads_neither_words_nor_model() -> None:
    code = (
        "import sys, stvg_core.inputs.query, stvg_core.inputs.query.catalog as c; c.decomposer_names();"
        "heavy = {'torch', 'numpy', 'textblob', 'nltk', 'transformers', 'stvg_core.inputs.query.words'};"
        "heavy &= set(sys.modules);"
        "sys.exit(', '.join(sorted(heavy)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
