"""Packing against its definition, token by token."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stvg_core.errors import TokenLayoutError
from stvg_huggingface.questions import TokenizedPrompt, pack, suffix_mask


@given(st.integers(0, 5), st.lists(st.integers(1, 5), min_size=1, max_size=4))
@settings(deadline=None)
def test_mask_by_definition(prefix: int, lengths: list[int]) -> None:
    owners = [number for number, length in enumerate(lengths) for _ in range(length)]
    mask = suffix_mask(prefix, lengths)
    assert mask.shape == (1, 1, len(owners), prefix + len(owners))
    for row, owner in enumerate(owners):
        for column in range(prefix + len(owners)):
            other = column - prefix
            sees = other < 0 or (other <= row and owners[other] == owner)
            assert bool(mask[0, 0, row, column]) == sees


@given(st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=6), min_size=1, max_size=4), st.integers(0, 1))
@settings(deadline=None)
def test_prompts_can_be_read_back(questions: list[list[int]], spare: int) -> None:
    """Head: text, visual token, text; then the question. Every prompt is found again in the packed ids."""
    head = (8, 9, 7) + (7,) * spare
    prompts = [TokenizedPrompt((*head, *question, 5), len(head), ()) for question in questions]
    packed = pack(prompts, last_visual_token=1)
    assert 1 < packed.prefix_length <= len(head)
    places = packed.own_places()
    for number, prompt in enumerate(prompts):
        start, length = packed.suffix_starts[number], packed.suffix_lengths[number]
        own = [*range(packed.prefix_length), *range(start, start + length)]
        assert tuple(packed.ids[place] for place in own) == prompt.ids
        assert [places[place] for place in own] == list(range(len(prompt.ids)))
        assert packed.last_tokens[number] == start + length - 1
        rows = packed.question_rows(number)
        assert tuple(packed.ids[row] for row in rows) == prompt.ids[prompt.question_start :]
        assert rows[0] >= packed.prefix_length
    assert len(packed.ids) == packed.prefix_length + sum(packed.suffix_lengths)


def test_visual_tokens_must_be_shared() -> None:
    first, second = TokenizedPrompt((1, 9, 9, 4), 3, ()), TokenizedPrompt((2, 9, 9, 4), 3, ())
    with pytest.raises(TokenLayoutError, match="video before the question"):
        pack([first, second], last_visual_token=2)
    question_first = TokenizedPrompt((4, 4, 9, 9, 5), 0, ())
    with pytest.raises(TokenLayoutError, match="video before the question"):
        pack([question_first], last_visual_token=3)
