"""The rules: known splits, bounds, and that no text at all can make them crash."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.decomposition import Outcome, evaluate, load_sentences, main, share, table, token_f1
from stvg_core.errors import QueryError
from stvg_core.inputs.query.rules import RulesDecomposer
from stvg_core.inputs.query.sentence import MAXIMUM_CHARACTERS, MAXIMUM_WORDS, as_sub_query, clean_sentence

SENTENCES = Path(__file__).parents[2] / "data" / "decomposition" / "sentences.json"
RULES = RulesDecomposer()
ENGLISH = """
the a man woman dog red in on with who that what which is does there are and , . ' 's -ing wearing holding walks
steps left hold running kicked by to of his he 3 two then opposite not - \u201c \u201d being than whose where find & /
"""
VOCABULARY = ENGLISH.split()


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    return evaluate(RULES, load_sentences(SENTENCES))


@pytest.mark.parametrize(
    ("text", "attribute", "action"),
    [
        ("there is a toy behind a child in blue.", "a toy", "the toy is behind a child in blue"),
        ("who touches the baby at home?", "the person", "the person touches the baby at home"),
        ("what does the adult hold?", "the object", "the adult holds the object"),
        ("what did the man throw?", "the object", "the man threw the object"),
        ("what does the man look at on stage?", "the object", "the man looks at the object on stage"),
        ("what does the dog chase outside?", "the object", "the dog chases the object outside"),
        ("what is the child in front of?", "the object", "the child is in front of the object"),
        ("who is taller than the adult?", "the person", "the person is taller than the adult"),
        ("what has the man thrown?", "the object", "the man has thrown the object"),
        ("which dog is the child holding?", "the dog", "the child is holding the dog"),
        ("where does the dog jump?", "the dog", "the dog jumps"),
        ("Is the man walking to the door?", "the man", "the man is walking to the door"),
        ("Who's sitting on the sofa", "the person", "the person is sitting on the sofa"),
        ("Please find the man who is running.", "the man", "the man is running"),
        ("The man and the woman dance together.", "the man and the woman", "the man and the woman dance together"),
        ("A group of people dance.", "a group of people", "the group of people dance"),
        ("In the room, a man in a suit sits.", "a man in a suit", "in the room, the man sits"),
        ("the green lights turn red", "the green lights", "the lights turn red"),
        ("the ball that the boy kicks", "the ball", "the boy kicks the ball"),
        ("a ball kicked by a boy", "a ball", "the ball is kicked by a boy"),
        ("a woman wearing a hat", "a woman wearing a hat", "the woman is wearing a hat"),
        ("a man with his arms crossed stares at her", "a man with his arms crossed", "the man stares at her"),
        ("the man wlaks to the door", "the man", "the man wlaks to the door"),
        ("the man walk to the door", "the man", "the man walk to the door"),
        ("SHE WALKS AWAY!!!", "the woman", "the woman walks away"),
        ("“the man stands up.”", "the man", "the man stands up"),
        ("John waves.", "john", "john waves"),
        ("there is a man in white and he walks away", "a man in white", "the man walks away"),
    ],
)  # fmt: skip
def test_splits(text: str, attribute: str, action: str) -> None:
    found = RULES.decompose(text)
    assert (found.attribute, found.action) == (attribute, action)
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("text", "same", "word"),
    [
        ("穿红衣服的男人走向门口。", "穿红衣服的男人走向门口", "English"),
        ("Мужчина в синем идёт к двери.", "мужчина в синем идёт к двери", "English"),
        ("The man on the left.", "the man on the left", "verb"),
        ("there is a dog", "a dog", "verb"),
        ("🐕", "🐕", "English|verb"),
    ],
)
def test_says_when_it_cannot_split(text: str, same: str, word: str) -> None:
    found = RULES.decompose(text)
    assert (found.attribute, found.action) == (same, same)
    assert any(part in found.warnings[0] for part in word.split("|"))


@pytest.mark.parametrize("text", ["", "   \n\t", "...", "\u200b\ufeff", " ?! ", "\x00", "\udc80"])
def test_nothing_to_split(text: str) -> None:
    with pytest.raises(QueryError, match="got no word"):
        RULES.decompose(text)


@pytest.mark.parametrize(
    ("text", "limit"),
    [("man " * 513, "512 words, got 513"), ("word " * 5_000, "4,000 characters, got 25,000"), ("男" * 4_001, "4,000")],
)
def test_too_long_says_limit_and_cure(text: str, limit: str) -> None:
    with pytest.raises(QueryError, match=limit) as caught:
        RULES.decompose(text)
    assert "\n" not in str(caught.value)
    assert "in one sentence" in str(caught.value)


def test_limits_themselves_are_accepted() -> None:
    assert RULES.decompose("man " * MAXIMUM_WORDS).attribute
    assert RULES.decompose("x" * MAXIMUM_CHARACTERS).attribute


def test_text_is_kept_as_given() -> None:
    found = RULES.decompose("  The Man\n walks. ")
    assert (found.text, found.decomposer) == ("The Man walks.", "rules")


def _assert_well_formed(text: str) -> None:
    try:
        found = RULES.decompose(text)
    except QueryError:
        with pytest.raises(QueryError):
            clean_sentence(text)
        return
    for sub_query in (found.attribute, found.action):
        assert sub_query.strip()
        assert sub_query == sub_query.lower()
        assert sub_query == as_sub_query(sub_query)
        assert not sub_query.endswith((".", "?", "!", ","))
        sub_query.encode("utf-8")


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_split_or_refused(text: str) -> None:
    _assert_well_formed(text)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=14).map(" ".join))
def test_any_order_of_english_words_is_split_or_refused(text: str) -> None:
    _assert_well_formed(text)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=14).map(" ".join))
def test_case_and_spaces_change_nothing(text: str) -> None:
    try:
        plain = RULES.decompose(text)
    except QueryError:
        return
    shouted = RULES.decompose("  " + text.upper().replace(" ", "  ") + "  ")
    assert (shouted.attribute, shouted.action) == (plain.attribute, plain.action)


def test_held_out_accuracy_does_not_fall(outcomes: list[Outcome]) -> None:
    """Floors lie a little below what docs/decomposition.md reports."""
    for split, floor in (("development", 0.97), ("held-out", 0.95), ("hard", 0.85)):
        chosen = [item for item in outcomes if item.sentence.split == split]
        assert share(chosen, lambda item: item.attribute_is_exact and item.action_is_exact) >= floor, table(outcomes)
        assert share(chosen, lambda item: item.f1) >= floor


def test_sentences_cover_each_style() -> None:
    sentences = load_sentences(SENTENCES)
    assert len({item.text for item in sentences}) == len(sentences) >= 75
    for style in ("hcstvg", "vidstg-declarative", "vidstg-interrogative"):
        assert sum(item.style == style for item in sentences) >= 25


def test_each_sentence_is_quick(outcomes: list[Outcome]) -> None:
    started = time.process_time()
    for item in outcomes:
        RULES.decompose(item.sentence.text)
    assert (time.process_time() - started) / len(outcomes) < 0.02


def test_longest_sentence_is_quick() -> None:
    for text in ("who the man and " * 128, "the man that " * 170, "in the red and " * 128, "wearing by who " * 170):
        started = time.process_time()
        RULES.decompose(text)
        assert time.process_time() - started < 1.0


def test_token_f1_against_counting() -> None:
    assert token_f1("the red circle", "The red circle.") == 1.0
    assert token_f1("a b", "c d") == 0.0
    assert token_f1("a a b", "a b b") == pytest.approx(2 * (2 / 3) * (2 / 3) / (2 / 3 + 2 / 3))


def test_command_prints_table_and_misses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(SENTENCES), "--misses", "hard"]) == 0
    shown = capsys.readouterr().out
    assert "| held-out | all | 45 |" in shown
    assert "expected:" in shown


@pytest.mark.parametrize("content", [None, "{", '{"sentences": [{"id": "x"}]}'])
def test_command_refuses_other_files(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None) -> None:
    path = tmp_path / "sentences.json"
    if content is not None:
        path.write_text(content)
    assert main([str(path)]) == 1
    assert capsys.readouterr().err.startswith("error: expected ")
