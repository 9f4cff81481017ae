"""What the model would have said first, and answers that come with attention, against plain transformers."""

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from stvg_core.errors import SettingsError
from stvg_core.method.pipeline import Pipeline
from stvg_core.plugin.adapter import AttentionRequest
from stvg_core.settings import load_settings
from stvg_core.values import Grounding, SubQueries
from tests.support.backends.subjects import ONE_CASE, QUESTIONS, Case, OpenSubject, Subject, frames, random_prompt

one_case_a_family = pytest.mark.parametrize("case", ONE_CASE, ids=str)


def plain_logits(subject: Subject, case: Case, question: str, added: torch.Tensor | None) -> torch.Tensor:
    return subject.plain.forward(subject.prompt(case, question), added).logits[0, -1].detach()


@one_case_a_family
@pytest.mark.parametrize("prompted", [False, True], ids=["bare", "prompted"])
@pytest.mark.parametrize("layers", [(0, 1, 2, 3), (1, 2), (3,)], ids=["all", "some", "last"])
def test_attention_comes_with_the_answer_of_the_same_pass(
    subject: Subject, case: Case, layers: tuple[int, ...], prompted: bool
) -> None:
    clip = subject.encode(case)
    added = random_prompt(clip) if prompted else None
    request = AttentionRequest(clip, QUESTIONS, added, layers, answers=True)
    alone = subject.session.capture_attention(replace(request, answers=False))
    for own, without, question in zip(subject.session.capture_attention(request), alone, QUESTIONS, strict=True):
        assert without.answer is None
        assert own.tokens == without.tokens
        torch.testing.assert_close(own.rows, without.rows, rtol=0, atol=1e-6)
        logits = plain_logits(subject, case, question, added)
        assert own.answer is not None
        for answer, found in (("yes", own.answer.yes), ("no", own.answer.no)):
            assert abs(float(found) - float(logits[subject.plain.answer_id(answer)])) < 2e-5
        assert own.answer.first_ids is not None
        assert own.answer.first_probabilities is not None
        assert int(own.answer.first_ids) == int(logits.argmax())
        assert float(own.answer.first_probabilities) == pytest.approx(float(logits.softmax(dim=0).max()), abs=1e-5)


@one_case_a_family
def test_first_answers_of_several_questions(subject: Subject, case: Case) -> None:
    answers = subject.session.adapter.answer_logits(subject.encode(case), QUESTIONS, None)
    expected = [int(plain_logits(subject, case, question, None).argmax()) for question in QUESTIONS]
    assert answers.first_ids is not None
    assert answers.first_ids.tolist() == expected
    assert answers.select([2, 0]).first_ids.tolist() == [expected[2], expected[0]]


@one_case_a_family
@pytest.mark.parametrize("words", ["sentence_initial", "any_case"])
def test_other_answer_words(subject: Subject, case: Case, words: str) -> None:
    """The tokens are those that the tokenizer makes of the whole answered prompt."""
    settings = case.settings.model_copy(update={"answer_words": words})
    answers = subject.session.adapter.answer_logits(subject.encode(replace(case, settings=settings)), QUESTIONS, None)
    tokenizer = subject.plain.tokenizer
    prompt = subject.plain.text(None, "yes?")
    separator = "" if prompt[-1].isspace() else " "

    def first(word: str) -> int:
        longer, shorter = (tokenizer(prompt + separator + text).input_ids for text in (word, ""))
        return next(token for token, other in zip(longer, [*shorter, None], strict=False) if token != other)

    for number, question in enumerate(QUESTIONS):
        logits = plain_logits(subject, case, question, None)
        for word, own in (("yes", answers.yes), ("no", answers.no)):
            ids = {first(word.capitalize())}
            if words == "any_case":
                ids |= {first(word), subject.plain.answer_id(word)}
            expected = float(logits[sorted(ids)].logsumexp(dim=0))
            assert float(own[number].detach()) == pytest.approx(expected, abs=2e-5)


QUERY = SubQueries("The man in red walks to the car.", "the man in red", "the man walks to the car", "given")


@contextmanager
def shifted_head(subject: Subject, case: Case, margin: float) -> Iterator[None]:
    """Move the logit of yes, as training would, until the attribute question has this margin."""
    head, description = subject.model.get_output_embeddings(), subject.session.adapter.description
    settings = load_settings("paper")
    question = settings.question(QUERY.attribute)
    with torch.no_grad():
        own = float(subject.session.adapter.answer_logits(subject.encode(case), (question,), None).margins)
        bias = torch.zeros(head.weight.shape[0], dtype=head.weight.dtype)
        bias[description.yes_id] = margin - own
    head.bias = torch.nn.Parameter(bias, requires_grad=False)
    try:
        yield
    finally:
        head.bias = None


def ground_shifted(subject: Subject, case: Case, margin: float, changes: Mapping[str, object]) -> Grounding:
    settings = load_settings("paper", overrides=dict(changes)).model_copy(update={"input": case.settings})
    with shifted_head(subject, case, margin):
        return Pipeline(subject.session, settings).ground(frames(case), (QUERY,))[0]


@one_case_a_family
def test_a_result_says_what_its_prompts_did(subject: Subject, case: Case) -> None:
    """Preset paper on a sure no and on a sure yes: nothing, and far too much; a margin step does the same on both."""
    idle, harmful = (ground_shifted(subject, case, margin, {}) for margin in (-20.0, 20.0))
    for grounding, told in ((idle, "is negligible"), (harmful, "outweighs the video")):
        assert [warning.split(" prompt ")[0] for warning in grounding.warnings if told in warning] == [
            "the attribute",
            "the action",
            "the attribute's reversed",
        ]
    assert idle.prompts["spatial"].margin_before == pytest.approx(-20.0, abs=1e-4)
    assert idle.prompts["spatial"].margin_after == pytest.approx(-20.0, abs=1e-3)
    sure = {"prompt.step_rule": "margin"}
    same = [ground_shifted(subject, case, margin, sure).prompts for margin in (-12.0, 0.0, 12.0)]
    for one, other in itertools.pairwise(same):
        for branch in ("spatial", "temporal", "spatial_reversed"):
            gain = [effect.margin_after - effect.margin_before for effect in (one[branch], other[branch])]
            assert gain[0] == pytest.approx(gain[1], abs=1e-3)
            assert one[branch].prompt_norm_share == pytest.approx(other[branch].prompt_norm_share, rel=1e-3)


@one_case_a_family
@pytest.mark.parametrize("asked", ["sub_query", "sentence"])
def test_margins_after_are_those_of_the_question_that_was_learned_on(subject: Subject, case: Case, asked: str) -> None:
    """Against plain runs under the prompts that attention was read with, whatever is asked then."""
    settings = load_settings("released", overrides={"temporal.inference_question": asked, "prompt.step_size": 0.05})
    settings = settings.model_copy(update={"input": case.settings})
    prompts: list[torch.Tensor | None] = []
    own = subject.session.capture_attention

    def capture(request: AttentionRequest) -> object:
        prompts.append(request.prompt)
        return own(request)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(subject.session, "capture_attention", capture)
        (found,) = Pipeline(subject.session, settings).ground(frames(case), (QUERY,))
    parts = {"spatial": QUERY.attribute, "temporal": QUERY.action}
    for (branch, part), added in zip(parts.items(), prompts[:2], strict=True):
        for name, prompt in (("margin_before", None), ("margin_after", added)):
            logits = plain_logits(subject, case, settings.question(part), prompt)
            expected = float(logits[subject.plain.answer_id("yes")] - logits[subject.plain.answer_id("no")])
            assert getattr(found.prompts[branch], name) == pytest.approx(expected, abs=5e-5)
        tokens = subject.encode(case).visual_tokens
        assert added is not None
        assert found.prompts[branch].prompt_norm_share == pytest.approx(float(added.norm() / tokens.norm()), rel=1e-5)
        first = plain_logits(subject, case, settings.question(part), None)
        assert found.answers[branch].first_token == subject.plain.tokenizer.decode([int(first.argmax())])


@pytest.mark.parametrize("margin", [12.0, -12.0])
@pytest.mark.parametrize(
    "changes", [{}, {"prompt.step_rule": "normalized", "prompt.step_size": 0.01}], ids=["raw", "normalized"]
)
def test_float16_grounds_at_large_margins_or_says_what_to_do(
    open_once: OpenSubject, margin: float, changes: Mapping[str, object]
) -> None:
    """A raw step at a margin of 12 is past float16's largest number; the cure in the message works."""
    case = next(one for one in ONE_CASE if one.family == "llava-next-video")
    subject = open_once(case.family, "float16")
    if margin > 0 and not changes:
        with pytest.raises(SettingsError, match=r"within torch\.float16.*--set prompt\.step_rule=normalized"):
            ground_shifted(subject, case, margin, changes)
        return
    found = ground_shifted(subject, case, margin, changes)
    assert found.prompts["spatial"].margin_before == pytest.approx(margin, abs=0.05)
    if changes:
        assert found.prompts["spatial"].margin_after > margin
        assert found.prompts["spatial"].prompt_norm_share == pytest.approx(0.01, rel=1e-2)
