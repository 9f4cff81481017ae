import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stvg_core.errors import SettingsError, TokenLayoutError
from stvg_core.method.attention import frame_maps, relative_rows, weigh_layers
from stvg_core.plugin import select_tokens
from stvg_core.plugin.adapter import EncodedClip, PromptToken, QuestionAttention
from stvg_core.settings import RelativeSettings, TokenSettings
from stvg_core.values import TokenLayout

KINDS = {"w": "word", "p": "punctuation", "r": "role", "t": "thinking"}


def attention(kinds: str, rows: torch.Tensor) -> QuestionAttention:
    tokens = tuple(PromptToken(f"{kind}{place}", KINDS[kind]) for place, kind in enumerate(kinds))
    return QuestionAttention("a question", tokens, rows)


def random_attention(kinds: str, cells: int = 12, seed: int = 0) -> QuestionAttention:
    generator = torch.Generator().manual_seed(seed)
    return attention(kinds, torch.rand(len(kinds), cells, generator=generator))


def test_template_tokens_are_compared_with_the_same_place_from_the_end() -> None:
    query, neutral = random_attention("wwwwprrr", seed=1), random_attention("wwprrr", seed=2)
    relative = relative_rows(query, neutral, RelativeSettings(epsilon=1e-4))
    for from_end in (1, 2, 3, 4):
        expected = query.rows[-from_end] / (neutral.rows[-from_end] + 1e-4)
        torch.testing.assert_close(relative[-from_end], expected)


def test_words_are_compared_with_the_mean_word_of_the_neutral_question() -> None:
    query, neutral = random_attention("wwwprr", seed=1), random_attention("wwprr", seed=2)
    relative = relative_rows(query, neutral, RelativeSettings(epsilon="uniform"))
    expected = query.rows[1] / ((neutral.rows[0] + neutral.rows[1]) / 2 + 1 / 12)
    torch.testing.assert_close(relative[1], expected)


def test_punctuation_without_counterpart_meets_whatever_stands_at_its_place() -> None:
    # "please describe this video" ends without a stop: the released code compares positions, not kinds.
    query, neutral = random_attention("wwprr", seed=1), random_attention("wwwrr", seed=2)
    relative = relative_rows(query, neutral, RelativeSettings())
    torch.testing.assert_close(relative[2], query.rows[2] / (neutral.rows[2] + 1e-4))


def test_raw_mode_ignores_the_neutral_question() -> None:
    query = random_attention("wprr")
    assert torch.equal(relative_rows(query, query, RelativeSettings(mode="raw")), query.rows)


def test_the_token_with_the_highest_peak_is_selected_among_candidates() -> None:
    relative = torch.tensor([[9.0, 0.0], [1.0, 1.0], [0.0, 3.0], [2.0, 2.0]])
    asked = attention("wprr", relative)
    assert select_tokens(asked, relative, TokenSettings()) == (2,)
    assert select_tokens(asked, relative, TokenSettings(candidates="question")) == (0,)


def test_selection_reads_relative_not_raw_attention() -> None:
    raw = torch.tensor([[0.9, 0.0], [0.1, 0.0]])
    relative = torch.tensor([[1.0, 0.0], [5.0, 0.0]])
    assert select_tokens(attention("rr", raw), relative, TokenSettings()) == (1,)


@given(st.integers(1, 5), st.integers(0, 1000), st.sampled_from(["ratio", "raw"]))
def test_layers_weigh_what_their_most_active_candidate_does(layer_count: int, seed: int, mode: str) -> None:
    settings = RelativeSettings(mode=mode, epsilon=1e-2)
    layers = [random_attention("wwpr", seed=seed + place) for place in range(layer_count)]
    neutral = [random_attention("wpr", seed=seed + 100 + place) for place in range(layer_count)]
    query, against = weigh_layers(layers, neutral, settings, TokenSettings())
    weights = []
    for own, other in zip(layers, neutral, strict=True):
        shares = own.rows if mode == "raw" else torch.cat([own.rows[:2], own.rows[2:] / (other.rows[1:] + 1e-2)])
        weights.append(float(shares[2:].max()))
    expected = sum(weight * own.rows for weight, own in zip(weights, layers, strict=True)) / sum(weights)
    torch.testing.assert_close(query.rows, expected)
    expected = sum(weight * own.rows for weight, own in zip(weights, neutral, strict=True)) / sum(weights)
    torch.testing.assert_close(against.rows, expected)
    assert query.tokens == layers[0].tokens


def test_a_layer_without_attention_has_no_weight() -> None:
    seen, blind = random_attention("wpr", seed=1), attention("wpr", torch.zeros(3, 12))
    query, _ = weigh_layers([blind, seen], [seen, seen], RelativeSettings(), TokenSettings())
    torch.testing.assert_close(query.rows, seen.rows)
    nothing, _ = weigh_layers([blind, blind], [seen, seen], RelativeSettings(), TokenSettings())
    assert torch.equal(nothing.rows, blind.rows)


def test_mean_takes_all_candidates_and_fixed_counts_from_the_end() -> None:
    asked = random_attention("wwprrrrr")
    assert select_tokens(asked, asked.rows, TokenSettings(rule="mean")) == (2, 3, 4, 5, 6, 7)
    assert select_tokens(asked, asked.rows, TokenSettings(rule="fixed", fixed_position=-5)) == (3,)


def test_a_fixed_place_that_is_not_named_is_the_family_s() -> None:
    asked = random_attention("wwprrrrr")
    fixed = TokenSettings(rule="fixed")
    assert select_tokens(asked, asked.rows, fixed) == (3,)
    assert select_tokens(asked, asked.rows, fixed, family_position=-3) == (5,)
    named = TokenSettings(rule="fixed", fixed_position=-1)
    assert select_tokens(asked, asked.rows, named, family_position=-3) == (7,)


@pytest.mark.parametrize("candidates", ["role", "question"])
def test_an_empty_think_block_is_passed_over(candidates: str) -> None:
    """Every rule chooses what it chooses without the block; words are still compared, places still matched."""
    for rule, place in (
        ("max_activation", None),
        ("mean", None),
        ("min_entropy", None),
        ("fixed", -3),
        ("fixed", None),
    ):
        settings = TokenSettings(rule=rule, candidates=candidates, fixed_position=place)
        asked, neutral = random_attention("wwprrrrttt", seed=3), random_attention("wwwrrrrttt", seed=4)
        asked.rows[-3:] = torch.eye(12)[:3] * 50
        relative = relative_rows(asked, neutral, RelativeSettings(epsilon=1e-3))
        torch.testing.assert_close(relative[3:], asked.rows[3:] / (neutral.rows[3:] + 1e-3))
        plain = attention("wwprrrr", asked.rows[:-3])
        assert select_tokens(asked, relative, settings) == select_tokens(plain, relative[:-3], settings)
    with pytest.raises(SettingsError, match="last 7 tokens, got -8"):
        select_tokens(asked, relative, TokenSettings(rule="fixed", fixed_position=-8))


def test_min_entropy_takes_the_most_peaked_row_whatever_its_size() -> None:
    rows = torch.tensor([[0.3, 0.3, 0.3], [0.001, 0.0, 0.0], [0.5, 0.1, 0.1]])
    asked = attention("rrr", rows)
    assert select_tokens(asked, rows, TokenSettings(rule="min_entropy")) == (1,)


def test_fixed_position_outside_the_prompt_is_an_error() -> None:
    asked = random_attention("prr")
    with pytest.raises(SettingsError, match="last 3 tokens, got -5"):
        select_tokens(asked, asked.rows, TokenSettings(rule="fixed", fixed_position=-5))


def test_no_candidates_is_an_error() -> None:
    asked = random_attention("ww")
    with pytest.raises(TokenLayoutError, match="template tokens"):
        select_tokens(asked, asked.rows, TokenSettings())


@given(
    steps=st.integers(1, 4), merged=st.booleans(), rows=st.integers(1, 3), columns=st.integers(1, 3), flip=st.booleans()
)
def test_every_map_is_the_attention_to_its_own_frame(
    steps: int, merged: bool, rows: int, columns: int, flip: bool
) -> None:
    per_step = 2 if merged else 1
    layout = TokenLayout(steps, rows, columns, tuple(position // per_step for position in range(steps * per_step)))
    order = tuple(range(layout.frame_count))
    order = tuple(reversed(order)) if flip else order
    clip = EncodedClip(torch.zeros(layout.cell_count, 2), layout, order)
    shares = torch.arange(layout.cell_count, dtype=torch.float32)[None] / layout.cell_count
    maps = frame_maps(clip, attention("r", shares), shares, (0,))
    for position, frame in enumerate(order):
        for row in range(rows):
            for column in range(columns):
                cell = ((position // per_step) * rows + row) * columns + column
                assert math.isclose(maps.values[frame, row, column], cell / layout.cell_count, abs_tol=1e-6)


def test_several_grounding_tokens_are_averaged() -> None:
    layout = TokenLayout(1, 1, 2, (0,))
    clip = EncodedClip(torch.zeros(2, 2), layout, (0,))
    asked = attention("rr", torch.tensor([[0.2, 0.4], [0.4, 0.0]]))
    maps = frame_maps(clip, asked, asked.rows, (0, 1))
    np.testing.assert_allclose(maps.values, [[[0.3, 0.2]]], rtol=1e-6)
    assert maps.grounding_tokens == ("r0", "r1")


@given(st.permutations(range(5)), st.integers(1, 7))
def test_so_many_of_the_best_candidates_are_selected(order: list[int], count: int) -> None:
    relative = torch.zeros(6, 4)
    relative[0] = 99.0
    for place, peak in enumerate(order):
        relative[place + 1, 2] = float(peak)
    asked = attention("wprrrr", relative)
    chosen = select_tokens(asked, relative, TokenSettings(count=count))
    best = sorted(range(5), key=lambda place: -order[place])[:count]
    assert chosen == tuple(place + 1 for place in best)


def test_so_many_of_the_most_peaked_candidates_are_selected() -> None:
    rows = torch.tensor([[1.0, 1.0], [0.9, 0.1], [0.5, 0.5], [1.0, 0.0]])
    asked = attention("wprr", rows)
    assert select_tokens(asked, rows, TokenSettings(rule="min_entropy", count=2)) == (3, 1)
