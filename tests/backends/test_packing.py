"""Questions of a packed pass and rows of a padded batch do not see what they must not."""

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from stvg_core.plugin.adapter import AttentionRequest
from stvg_huggingface.capture import ATTENTION_NAME
from tests.support.backends.measure import packing_difference, padding_difference
from tests.support.backends.subjects import ONE_CASE, QUESTIONS, Case, Subject

pytestmark = pytest.mark.parametrize("case", ONE_CASE, ids=str)


def test_packed_questions_equal_single_ones(subject: Subject, case: Case) -> None:
    words = ["man", "woman", "red", "car", "door", "walks", "the"]
    chooser = np.random.default_rng(3)
    questions = [" ".join(chooser.choice(words, size=length)) + "?" for length in (1, 2, 5, 9, 3)]
    margins, rows = packing_difference(subject, case, [*QUESTIONS, *questions, QUESTIONS[0]])
    assert margins < 2e-5
    assert rows < 5e-7


def test_padded_batch_equals_plain_single_runs(subject: Subject, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    assert padding_difference(subject, case) < 5e-5
    monkeypatch.delitem(AttentionMaskInterface._global_mapping, ATTENTION_NAME)
    assert padding_difference(subject, case) > 1e-2, "without its mask function padding must be attended to"


def test_capture_ends_after_its_last_layer_and_leaves_the_model_as_it_was(subject: Subject, case: Case) -> None:
    clip = subject.encode(case)
    before = subject.session.adapter.answer_logits(clip, QUESTIONS, None).margins
    layers_run: list[int] = []
    handles = [
        layer.register_forward_pre_hook(lambda _module, _arguments, number=number: layers_run.append(number))
        for number, layer in enumerate(subject.model.model.language_model.layers)
    ]
    subject.session.capture_attention(AttentionRequest(clip, QUESTIONS, None, (0, 1)))
    for handle in handles:
        handle.remove()
    assert layers_run == [0, 1]
    assert torch.equal(before, subject.session.adapter.answer_logits(clip, QUESTIONS, None).margins)
    assert torch.is_grad_enabled()


def test_no_mask_is_square(subject: Subject, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    original = AttentionInterface()[ATTENTION_NAME]
    shapes: list[tuple[int, int]] = []

    def spy(
        module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, **keywords: object
    ) -> object:
        shapes.append((attention_mask.shape[-2], attention_mask.shape[-1]))
        return original(module, query, key, value, attention_mask, **keywords)

    monkeypatch.setitem(AttentionInterface._global_mapping, ATTENTION_NAME, spy)
    subject.session.adapter.answer_logits(subject.encode(case), QUESTIONS, None)
    assert len(shapes) == len(subject.layers()) + 1, "the last layer is asked for its keys, then for the wanted rows"
    assert all(rows < length for rows, length in shapes)
