"""Tiny random models in hub layout, for tests of backends; they know nothing and answer noise.

Everything is made in place: a byte-level tokenizer, a chat template, weights of some hundred
kilobytes. Weights are scaled up, or attention would be uniform and tests would prove nothing.
"""

import json
from pathlib import Path
from typing import Any, Final, Literal

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)

PATCH_PIXELS: Final = 4
MERGE_PATCHES: Final = 2
FRAMES_PER_STEP: Final = 2
TOKENS_PER_SECOND: Final = 2

_MARKERS: Final = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
_CORPUS: Final = (
    "Is there a man standing by the stairs in this video? please describe this video",
    "The woman in red walks to the car and opens the door. yes no yes no",
    "system\nuser\nassistant\nYou are a helpful assistant.",
)

QWEN_TEMPLATE: Final = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The template of Qwen2-VL, without its images and counters."""


def tiny_tokenizer(*, trained: bool = True) -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer with Qwen's markers and template.

    Args:
        trained: whether common words (yes and no among them) are tokens; else every byte is one.
    """
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    size = 512 if trained else len(alphabet) + len(_MARKERS)
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(_MARKERS), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(_CORPUS * 4, trainer)
    make: Any = PreTrainedTokenizerFast
    wrapped: PreTrainedTokenizerFast = make(
        tokenizer_object=tokenizer,
        pad_token=_MARKERS[0],
        eos_token=_MARKERS[2],
        extra_special_tokens=list(_MARKERS[3:]),
        model_input_names=["input_ids", "attention_mask"],
        padding_side="left",
    )
    wrapped.chat_template = QWEN_TEMPLATE
    return wrapped


def tiny_qwen2_vl(
    version: Literal["2", "2.5"] = "2", *, layers: int = 4, seed: int = 0, scale: float = 8.0
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Return a random Qwen2-VL or Qwen2.5-VL and its tokenizer.

    Args:
        version: of the family.
        layers: decoder layers.
        seed: of the weights; torch's own random state is left as it was.
        scale: factor on the matrices, so that attention is not uniform.
    """
    tokenizer = tiny_tokenizer()
    hidden_size, heads = 64, 4
    half = hidden_size // heads // 2
    text: dict[str, Any] = {
        "hidden_size": hidden_size,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": 2,
        "intermediate_size": 128,
        "vocab_size": 512,
        "max_position_embeddings": 4096,
        # The sections must add up to half of a head's width.
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e4,
            "mrope_section": [half - 2 * (half * 3 // 8), half * 3 // 8, half * 3 // 8],
        },
        "bos_token_id": None,
        "eos_token_id": tokenizer.convert_tokens_to_ids("<|im_end|>"),
        "pad_token_id": tokenizer.convert_tokens_to_ids("<|endoftext|>"),
    }
    vision: dict[str, Any] = {
        "depth": 2,
        "num_heads": 4,
        "patch_size": PATCH_PIXELS,
        "spatial_merge_size": MERGE_PATCHES,
        "temporal_patch_size": FRAMES_PER_STEP,
    }
    markers: dict[str, Any] = {
        "image_token_id": tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        "video_token_id": tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        "vision_start_token_id": tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        "vision_end_token_id": tokenizer.convert_tokens_to_ids("<|vision_end|>"),
        "tie_word_embeddings": False,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any
        if version == "2":
            vision |= {"embed_dim": 32, "hidden_size": hidden_size, "mlp_ratio": 2}
            model = Qwen2VLForConditionalGeneration(Qwen2VLConfig(vision_config=vision, text_config=text, **markers))
        else:
            vision |= {
                "hidden_size": 32,
                "out_hidden_size": hidden_size,
                "intermediate_size": 64,
                "window_size": 16,
                "fullatt_block_indexes": [1],
                "tokens_per_second": TOKENS_PER_SECOND,
            }
            model = Qwen2_5_VLForConditionalGeneration(
                Qwen2_5_VLConfig(vision_config=vision, text_config=text, **markers)
            )
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 2 and "embed" not in name:  # noqa: PLR2004 - matrices
                weight.mul_(scale)
    model.eval()
    return model, tokenizer


def save_tiny_qwen2_vl(
    folder: Path,
    version: Literal["2", "2.5"] = "2",
    *,
    layers: int = 4,
    seed: int = 0,
    template_file: Literal["tokenizer", "chat_template.json", "none"] = "tokenizer",
) -> Path:
    """Write a tiny random Qwen model in hub layout and return its folder.

    Args:
        folder: made where it is not there.
        version: of the family.
        layers: decoder layers.
        seed: of the weights.
        template_file: where the chat template stands (older repositories: chat_template.json).
    """
    model, tokenizer = tiny_qwen2_vl(version, layers=layers, seed=seed)
    template, tokenizer.chat_template = tokenizer.chat_template, None
    if template_file == "tokenizer":
        tokenizer.chat_template = template
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if template_file == "chat_template.json":
        (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}), encoding="utf-8")
    statistics = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.25, 0.3, 0.35]}
    (folder / "preprocessor_config.json").write_text(json.dumps(statistics), encoding="utf-8")
    return folder
