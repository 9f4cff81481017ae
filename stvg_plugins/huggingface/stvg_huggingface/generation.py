"""Plain greedy text, without any video; used outside the method only (query decomposition)."""

from collections.abc import Iterable
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from stvg_core.errors import UsageError
from stvg_huggingface.chat import render_frame
from stvg_huggingface.loading import LoadedCheckpoint
from stvg_huggingface.questions import refuse_markers, refuse_rowless


def generate_greedily(checkpoint: LoadedCheckpoint, instruction: str, maximum_tokens: int) -> str:
    """Return the most probable continuation of a text-only turn, token by token.

    Args:
        checkpoint: the loaded model.
        instruction: what to do, in words; line breaks are kept.
        maximum_tokens: where to stop at the latest.

    Raises:
        UsageError: maximum_tokens is below 1.
        QueryError: the instruction is empty or holds the model's own markup.
    """
    if maximum_tokens < 1:
        raise UsageError(f"expected maximum_tokens of at least 1, got {maximum_tokens}")
    model: Any = checkpoint.model
    tokenizer = checkpoint.tokenizer
    refuse_markers(tokenizer, instruction)
    frame = render_frame(tokenizer, checkpoint.chat_template, video=False)
    text = frame.head + instruction.strip() + frame.tail
    encoded = tokenizer(text, add_special_tokens=frame.add_special_tokens, return_attention_mask=False)
    refuse_rowless(tokenizer, encoded["input_ids"], checkpoint.embedding_rows)
    ids = torch.tensor([encoded["input_ids"]], device=checkpoint.device)
    stops = stop_ids(model, tokenizer)
    embed, head = model.get_input_embeddings(), model.get_output_embeddings()
    cache = DynamicCache(config=checkpoint.text_config)
    answer: list[int] = []
    with torch.no_grad():
        for _ in range(maximum_tokens):
            output = checkpoint.language_model(inputs_embeds=embed(ids), past_key_values=cache, use_cache=True)
            token = int(head(output.last_hidden_state[0, -1]).argmax())
            if token in stops:
                break
            answer.append(token)
            ids = torch.tensor([[token]], device=checkpoint.device)
    return str(tokenizer.decode(answer, skip_special_tokens=True)).strip()


def stop_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return every token id that ends an answer."""
    found: set[int] = set()
    for value in (getattr(model.generation_config, "eos_token_id", None), tokenizer.eos_token_id):
        if isinstance(value, int):
            found.add(value)
        elif isinstance(value, Iterable):
            found.update(int(item) for item in value)
    return frozenset(found)
