"""Several questions about one clip in one sequence: a shared prefix, then every rest.

Each rest sees the prefix and itself, at the positions it would have alone, so that one pass
equals one pass per question. This module knows token ids, not models.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from stvg_core.errors import TokenLayoutError
from stvg_huggingface.questions import TokenizedPrompt
from stvg_huggingface.transfer import send


@dataclass(frozen=True)
class PackedQuestions:
    """Prompts that share a prefix, laid behind one another.

    Attributes:
        prompts: the prompts, each in full.
        prefix_length: tokens that all prompts have in common and that come before any question.
        filler_length: tokens behind the last rest that belong to no prompt: they bring sequences to common lengths.
    """

    prompts: tuple[TokenizedPrompt, ...]
    prefix_length: int
    filler_length: int = 0

    @property
    def suffix_lengths(self) -> tuple[int, ...]:
        """Tokens of each prompt behind the prefix."""
        return tuple(len(prompt.ids) - self.prefix_length for prompt in self.prompts)

    @property
    def rest_lengths(self) -> tuple[int, ...]:
        """Tokens of everything behind the prefix: each prompt's rest, and the filler as one more where there is any."""
        return (*self.suffix_lengths, self.filler_length) if self.filler_length else self.suffix_lengths

    @property
    def suffix_starts(self) -> tuple[int, ...]:
        """Where each rest begins in the packed sequence."""
        starts, start = [], self.prefix_length
        for length in self.suffix_lengths:
            starts.append(start)
            start += length
        return tuple(starts)

    @property
    def ids(self) -> tuple[int, ...]:
        """Token ids of the packed sequence."""
        rest = [token for prompt in self.prompts for token in prompt.ids[self.prefix_length :]]
        filler = self.prompts[0].ids[-1:] * self.filler_length
        return (*self.prompts[0].ids[: self.prefix_length], *rest, *filler)

    @property
    def last_tokens(self) -> tuple[int, ...]:
        """Where each prompt ends in the packed sequence: there its answer begins."""
        return tuple(start + length - 1 for start, length in zip(self.suffix_starts, self.suffix_lengths, strict=True))

    def question_rows(self, number: int) -> range:
        """Return where one question's first token to its prompt's last token lie."""
        shift = self.suffix_starts[number] - self.prefix_length
        prompt = self.prompts[number]
        return range(prompt.question_start + shift, len(prompt.ids) + shift)

    def own_places(self) -> tuple[int, ...]:
        """Return for every packed token its place in its own prompt."""
        rest = [self.prefix_length + place for length in self.rest_lengths for place in range(length)]
        return (*range(self.prefix_length), *rest)


def pack(prompts: Sequence[TokenizedPrompt], last_visual_token: int, multiple: int = 1) -> PackedQuestions:
    """Lay prompts about one clip behind their longest common prefix.

    The prefix ends before the first question at the latest, so that every question's tokens
    lie in its own rest.

    Args:
        prompts: at least one.
        last_visual_token: place of the last visual token in every prompt.
        multiple: what the number of tokens behind the prefix is filled up to a multiple of.

    Raises:
        TokenLayoutError: the prompts differ before the last visual token.

    >>> prompts = [TokenizedPrompt((7, 9, 9, 1, 2), 3, ()), TokenizedPrompt((7, 9, 9, 5), 3, ())]
    >>> packed = pack(prompts, last_visual_token=2)
    >>> packed.ids, packed.own_places(), packed.last_tokens
    ((7, 9, 9, 1, 2, 5), (0, 1, 2, 3, 4, 3), (4, 5))
    >>> filled = pack(prompts, last_visual_token=2, multiple=5)
    >>> filled.ids, filled.own_places(), filled.last_tokens
    ((7, 9, 9, 1, 2, 5, 2, 2), (0, 1, 2, 3, 4, 3, 3, 4), (4, 5))
    """
    limit = min(min(prompt.question_start, len(prompt.ids) - 1) for prompt in prompts)
    common = 0
    while common < limit and len({prompt.ids[common] for prompt in prompts}) == 1:
        common += 1
    if common <= last_visual_token:
        raise TokenLayoutError(
            f"expected all prompts to agree up to their last visual token (number {last_visual_token}), they differ "
            f"at token {common}; the chat template must put the video before the question"
        )
    behind = sum(len(prompt.ids) - common for prompt in prompts)
    return PackedQuestions(tuple(prompts), common, -behind % multiple)


def suffix_mask(
    prefix_length: int, suffix_lengths: Sequence[int], device: torch.device | str = "cpu"
) -> Bool[Tensor, "1 1 suffix_token key"]:
    """Return what each token behind the prefix sees: the prefix, and its own rest up to itself.

    >>> suffix_mask(1, [2, 1])[0, 0].int().tolist()
    [[1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 1]]
    """
    # On the CPU, and sent over: how often to repeat is data, which a device would be asked for.
    lengths = torch.tensor(list(suffix_lengths))
    owner: Int[Tensor, " suffix_token"] = torch.arange(len(lengths)).repeat_interleave(lengths)
    own = (owner[:, None] == owner[None, :]).tril()
    prefix = own.new_ones(len(owner), prefix_length)
    return send(torch.cat([prefix, own], dim=1)[None, None], device)
