"""Yes and no at the first answer position, and the prompt around the question."""

import torch
from jaxtyping import Float
from torch import Tensor

from stvg_core.devtools.testing.check import Findings, check
from stvg_core.devtools.testing.context import QUESTIONS, ConformanceContext
from stvg_core.devtools.testing.subject import ShownClip
from stvg_core.plugin.adapter import PromptToken

_TEMPLATE = ("role", "thinking")


@check("answer-logits", "yes and no logits are those of one plain forward pass per question")
def answer_logits(context: ConformanceContext, findings: Findings) -> None:
    """Ask all questions at once, and each of the plain model."""
    for settings in context.ways:
        clip = context.clip(settings=settings)
        _compare(context, clip, None, findings, "the answer's logits are not the plain model's")


@check(
    "prompted-logits",
    "a visual prompt is added to the visual tokens, once, and reaches the logits",
)
def prompted_logits(context: ConformanceContext, findings: Findings) -> None:
    """The same under a random prompt; and the prompt must make a difference."""
    for settings in context.ways:
        clip = context.clip(settings=settings)
        prompt = context.prompt(clip)
        moved = context.logits(clip, QUESTIONS, prompt) - context.logits(clip, QUESTIONS)
        findings.at_least(
            "effect of the prompt on a logit",
            float(moved.abs().max()),
            context.tolerances.effect,
            "the visual prompt never reaches the model",
        )
        _compare(context, clip, prompt, findings, "logits under a prompt are not the plain model's under that prompt")


def _compare(
    context: ConformanceContext, clip: ShownClip, prompt: Tensor | None, findings: Findings, wrong: str
) -> None:
    own = context.logits(clip, QUESTIONS, prompt)
    plain = _plain(context, clip, prompt)
    bound = context.tolerances.logits
    far = _largest(own, plain)
    hint = ""
    if not far <= bound:
        if _largest(own, plain.flip(1)) <= bound:
            hint = "; yes and no are swapped"
        elif prompt is not None and _largest(own, _plain(context, clip, 2 * prompt)) <= bound:
            hint = "; the prompt is added twice"
        elif _largest(own[:, :1], plain[:, :1]) <= bound:
            hint = "; yes is right, no is not: another token's logit is read"
        elif _largest(own[:, 1:], plain[:, 1:]) <= bound:
            hint = "; no is right, yes is not: another token's logit is read"
    findings.at_most("largest difference of a logit", far, bound, wrong + hint)
    beside = [rows.answer for rows in context.rows(clip, QUESTIONS, prompt, answers=True)]
    # A backend may leave them out.
    answered = [(number, answer) for number, answer in enumerate(beside) if answer is not None]
    if answered:
        given = torch.stack([torch.cat([answer.yes, answer.no]) for _, answer in answered]).double().cpu()
        findings.at_most(
            "largest difference of a logit beside attention",
            _largest(given, plain[[number for number, _ in answered]]),
            bound,
            f"answers that come with attention: {wrong}",
        )


def _plain(context: ConformanceContext, clip: ShownClip, prompt: Tensor | None) -> Float[Tensor, "question answer=2"]:
    answers = [context.plain(clip, question, prompt) for question in QUESTIONS]
    return torch.tensor([[answer.yes, answer.no] for answer in answers], dtype=torch.float64)


def _largest(first: Tensor, second: Tensor) -> float:
    return float((first - second).abs().max())


@check(
    "prompt-tokens",
    "the tokens told are the question's first to the prompt's last, and each is told for what it is",
)
def prompt_tokens(context: ConformanceContext, findings: Findings) -> None:
    """Compare texts with the plain prompt, and kinds with the question's own letters and signs."""
    clip = context.clip()
    tails = set()
    for question in QUESTIONS:
        (attention,) = context.rows(clip, [question])
        own = attention.tokens
        plain = context.plain(clip, question).tokens
        findings.expect(
            attention.question == question, f"asked {question!r}, the answer is about {attention.question!r}"
        )
        findings.expect(
            tuple(token.text for token in own) == plain[-len(own) :],
            f"the prompt of {question!r} ends in {' '.join(plain[-len(own) :])!r}, told is "
            f"{' '.join(token.text for token in own)!r}",
        )
        _look_at_kinds(question, own, findings, spelled=context.tiny)
        tails.add(tuple(token.text for token in own if token.kind in _TEMPLATE))
    findings.expect(
        len(tails) == 1,
        f"the template's tokens after a question differ from question to question: {sorted(tails)}; kind role is for "
        "what the chat template puts behind the question, whatever that is",
    )


def _look_at_kinds(question: str, tokens: tuple[PromptToken, ...], findings: Findings, *, spelled: bool) -> None:
    kinds = [token.kind for token in tokens]
    if kinds != sorted(kinds, key=("word", "punctuation", *_TEMPLATE).index) or "role" not in kinds:
        findings.expect(False, f"expected words, then the final punctuation, then template tokens (role), got {kinds}")
        return
    asked = "".join(token.text for token in tokens if token.kind not in _TEMPLATE)
    # A real tokenizer may lack a word altogether.
    findings.expect(
        not spelled or _letters(asked) == _letters(question),
        f"the tokens of kind word and punctuation spell {_letters(asked)!r}, the question {_letters(question)!r}",
    )
    signs = [token.text for token in tokens if token.kind == "punctuation"]
    findings.expect(not any(_letters(sign) for sign in signs), f"{signs} is told as the question's final punctuation")
    wanted = int(not question[-1].isalnum())
    # A tokenizer may write the last word and its sign as one token: then there is none of that kind.
    findings.expect(
        len(signs) <= wanted or not question[-1].isalnum(), f"{question!r} ends in no punctuation, told is {signs}"
    )


def _letters(text: str) -> str:
    """Return letters and digits of a text, without a tokenizer's marks for spaces.

    >>> _letters("\u0120Is \u2581there?")
    'isthere'
    """
    return "".join(sign for sign in text.lower() if sign.isascii() and sign.isalnum())
