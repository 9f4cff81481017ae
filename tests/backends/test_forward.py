"""Visual tokens, logits, attention rows and text of every backend against plain transformers."""

import pytest

from stvg_core.plugin.adapter import AttentionRequest
from tests.support.backends.measure import logit_difference, row_difference, visual_token_difference
from tests.support.backends.plain_method import plain_rows
from tests.support.backends.subjects import CASES, ONE_CASE, QUESTIONS, Case, Subject, random_prompt

every_case = pytest.mark.parametrize("case", CASES, ids=str)
one_case_a_family = pytest.mark.parametrize("case", ONE_CASE, ids=str)

CHATML_TAIL = ("<|im_end|>", "Ċ", "<|im_start|>", "assistant", "Ċ")
VICUNA_TAIL = ("▁A", "SS", "IST", "ANT", ":")


@every_case
def test_visual_tokens(subject: Subject, case: Case) -> None:
    assert visual_token_difference(subject, case) < 4e-6
    assert visual_token_difference(subject, case, (2, 0, 4, 1, 3)) < 4e-6


@every_case
@pytest.mark.parametrize("prompted", [False, True], ids=["bare", "prompted"])
def test_logits(subject: Subject, case: Case, prompted: bool) -> None:
    assert logit_difference(subject, case, prompted=prompted) < 2e-5


@one_case_a_family
def test_logits_are_large_enough_to_tell(subject: Subject, case: Case) -> None:
    clip = subject.encode(case)
    bare, prompted = (
        subject.session.adapter.answer_logits(clip, QUESTIONS, added) for added in (None, random_prompt(clip))
    )
    assert max(bare.yes.abs().max(), bare.no.abs().max()) > 1
    assert (bare.margins - prompted.margins).abs().max() > 0.1


@every_case
@pytest.mark.parametrize("layers", [(0, 1, 2, 3), (1, 2)], ids=["all", "some"])
def test_attention_rows(subject: Subject, case: Case, layers: tuple[int, ...]) -> None:
    assert row_difference(subject, case, layers) < 1.5e-6


@one_case_a_family
def test_attention_is_uneven_enough_to_tell(subject: Subject, case: Case) -> None:
    rows = plain_rows(subject, case, QUESTIONS[0], subject.layers(), random_prompt(subject.encode(case)))[-10:]
    assert rows.max() > 3 * rows.mean()
    one, other = (plain_rows(subject, case, QUESTIONS[0], (layer,), None)[-10:] for layer in (0, 3))
    assert (one - other).abs().max() > 0.3 * rows.mean()


@one_case_a_family
def test_text_is_plain_greedy_text(subject: Subject, case: Case) -> None:
    for instruction in ("please describe the man\nin red", "yes"):
        ids, expected = subject.plain.generate(instruction, 12)
        assert len(ids) == 12
        assert subject.session.adapter.generate_text(instruction, 12) == expected


@one_case_a_family
def test_text_ends_where_plain_text_does(subject: Subject, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random models do not end their text by themselves: a token in the middle of it is made the end."""
    instruction = "please describe the man in red"
    whole, _ = subject.plain.generate(instruction, 12)
    stops = sorted({whole[5], whole[8]})
    monkeypatch.setattr(subject.model.generation_config, "eos_token_id", stops)
    ended, expected = subject.plain.generate(instruction, 12, stops)
    assert 0 < len(ended) < len(whole)
    assert subject.session.adapter.generate_text(instruction, 12) == expected


@one_case_a_family
def test_tokens_of_a_question(subject: Subject, case: Case) -> None:
    request = AttentionRequest(subject.encode(case), QUESTIONS[:2], None, (0,))
    asked, told = subject.session.capture_attention(request)
    tail = VICUNA_TAIL if case.family == "llava-next-video" else CHATML_TAIL
    assert tuple(token.text for token in asked.tokens[-6:]) == ("?", *tail)
    assert tuple(token.text for token in told.tokens[-5:]) == tail
    assert asked.tokens[0].text == "Is"
    assert asked.tokens[2].text.lstrip("▁Ġ") == "a"
    for attention, ending in ((asked, ["punctuation"] + ["role"] * 5), (told, ["role"] * 5)):
        words = len(attention.tokens) - len(ending)
        assert [token.kind for token in attention.tokens] == ["word"] * words + ending
