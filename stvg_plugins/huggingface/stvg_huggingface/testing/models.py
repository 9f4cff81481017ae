"""Tiny random models of real architectures, in memory or as files in hub layout; they know nothing.

Weights are scaled up, or attention would be uniform and tests would prove nothing.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

import torch
from transformers import (
    CLIPVisionConfig,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLVisionConfig,
    LlamaConfig,
    LlavaNextVideoConfig,
    LlavaNextVideoForConditionalGeneration,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Config,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)

from stvg_core.errors import UsageError
from stvg_huggingface.testing.tokenizers import (
    VOCABULARY_SIZE,
    tiny_internvl_tokenizer,
    tiny_llava_tokenizer,
    tiny_tokenizer,
)

TemplateFile = Literal["chat_template.jinja", "chat_template.json", "none"]

_STATISTICS: Final = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.25, 0.3, 0.35]}
"""Other numbers in every channel and no family's own, so that a mix-up shows."""
PATCH_PIXELS: Final = 4
"""Side of a patch, in every tiny model."""
MERGE_PATCHES: Final = 2
"""Patches per side of a token (Qwen2-VL, InternVL); LLaVA's pooling stride as its checkpoints have it."""
FRAMES_PER_STEP: Final = 2
"""Frames that a token of Qwen2-VL covers."""
TOKENS_PER_SECOND: Final = 2
"""Time positions per second of Qwen2.5-VL."""
IMAGE_PIXELS: Final = 48
"""Side of the frames that LLaVA-NeXT-Video reads, and InternVL by default: 12 patches."""


@dataclass(frozen=True)
class ModelSize:
    """How large a random model's language model is.

    Attributes:
        hidden_size: width of its tokens.
        heads: attention heads; half as many for keys and values.
        intermediate_size: width inside its feed-forward layers.
        vocabulary_size: rows of its embedding.
        image_pixels: side of the frames that the vision tower has positions for.
    """

    hidden_size: int = 64
    heads: int = 4
    intermediate_size: int = 128
    vocabulary_size: int = VOCABULARY_SIZE
    image_pixels: int = IMAGE_PIXELS


TINY: Final = ModelSize()
"""For tests."""
MIDDLE: Final = ModelSize(512, 8, 1408, 8192, 96)
"""For benchmarks on a CPU: large enough that matrix products decide, small enough to wait for."""

TinyModel = tuple[PreTrainedModel, PreTrainedTokenizerFast]


def tiny_llava_next_video(*, layers: int = 4, seed: int = 0, scale: float = 8.0, size: ModelSize = TINY) -> TinyModel:
    """Return a random LLaVA-NeXT-Video (CLIP and LLaMA) and its tokenizer.

    Args:
        layers: decoder layers.
        seed: of the weights; torch's own random state is left as it was.
        scale: factor on the matrices, so that attention is not uniform.
        size: of the language model.
    """
    tokenizer = tiny_llava_tokenizer()
    config = LlavaNextVideoConfig(
        vision_config=CLIPVisionConfig(
            **_vision(image_size=size.image_pixels, patch_size=PATCH_PIXELS, projection_dim=32)
        ),
        text_config=LlamaConfig(**_text(tokenizer, layers, size)),
        image_token_index=_marker(tokenizer, "<image>"),
        video_token_index=_marker(tokenizer, "<video>"),
        spatial_pool_mode="average",
        spatial_pool_stride=MERGE_PATCHES,
        image_grid_pinpoints=[[size.image_pixels, 2 * size.image_pixels]],
        image_seq_length=(size.image_pixels // PATCH_PIXELS) ** 2,
        video_seq_length=(size.image_pixels // PATCH_PIXELS // MERGE_PATCHES) ** 2,
    )
    return _random(LlavaNextVideoForConditionalGeneration, config, seed, scale), tokenizer


def tiny_qwen2_vl(
    version: Literal["2", "2.5"] = "2",
    *,
    layers: int = 4,
    seed: int = 0,
    scale: float = 8.0,
    size: ModelSize = TINY,
) -> TinyModel:
    """Return a random Qwen2-VL or Qwen2.5-VL and its tokenizer.

    Args:
        version: of the family.
        layers: decoder layers.
        seed: of the weights; torch's own random state is left as it was.
        scale: factor on the matrices, so that attention is not uniform.
        size: of the language model.
    """
    tokenizer = tiny_tokenizer()
    # Rotary sections must add up to half of a head's width.
    half = size.hidden_size // size.heads // 2
    rotary = {
        "rope_type": "default",
        "rope_theta": 1e4,
        "mrope_section": [half - 2 * (half * 3 // 8), half * 3 // 8, half * 3 // 8],
    }
    parts: dict[str, Any] = {
        "text_config": {**_text(tokenizer, layers, size), "rope_parameters": rotary},
        "image_token_id": _marker(tokenizer, "<|image_pad|>"),
        "video_token_id": _marker(tokenizer, "<|video_pad|>"),
        "vision_start_token_id": _marker(tokenizer, "<|vision_start|>"),
        "vision_end_token_id": _marker(tokenizer, "<|vision_end|>"),
        "tie_word_embeddings": False,
    }
    vision = {
        "depth": 2,
        "num_heads": 4,
        "patch_size": PATCH_PIXELS,
        "spatial_merge_size": MERGE_PATCHES,
        "temporal_patch_size": FRAMES_PER_STEP,
    }
    if version == "2":
        vision |= {"embed_dim": 32, "hidden_size": size.hidden_size, "mlp_ratio": 2}
        config: Any = Qwen2VLConfig(vision_config=vision, **parts)
        return _random(Qwen2VLForConditionalGeneration, config, seed, scale), tokenizer
    newer = {
        "hidden_size": 32,
        "out_hidden_size": size.hidden_size,
        "intermediate_size": 64,
        "window_size": 16,
        "fullatt_block_indexes": [1],
        "tokens_per_second": TOKENS_PER_SECOND,
    }
    config = Qwen2_5_VLConfig(vision_config=vision | newer, **parts)
    return _random(Qwen2_5_VLForConditionalGeneration, config, seed, scale), tokenizer


def tiny_internvl(
    *,
    layers: int = 4,
    seed: int = 0,
    scale: float = 8.0,
    size: ModelSize = TINY,
    decoder: type[PreTrainedConfig] = Qwen2Config,
) -> TinyModel:
    """Return a random InternVL (its own vision tower and a language model) and its tokenizer.

    Args:
        layers: decoder layers.
        seed: of the weights; torch's own random state is left as it was.
        scale: factor on the matrices, so that attention is not uniform.
        size: of the language model.
        decoder: configuration class of the language model (InternVL 3: Qwen2; 3.5: Qwen3; some of 2.5: LLaMA).
    """
    tokenizer = tiny_internvl_tokenizer()
    config = InternVLConfig(
        vision_config=InternVLVisionConfig(
            **_vision(image_size=[size.image_pixels, size.image_pixels], patch_size=[PATCH_PIXELS, PATCH_PIXELS])
        ),
        text_config=decoder(**_text(tokenizer, layers, size)),
        image_token_id=_marker(tokenizer, "<IMG_CONTEXT>"),
        downsample_ratio=1 / MERGE_PATCHES,
        image_seq_length=(size.image_pixels // PATCH_PIXELS // MERGE_PATCHES) ** 2,
        tie_word_embeddings=False,
    )
    return _random(InternVLForConditionalGeneration, config, seed, scale), tokenizer


TINY_FAMILIES: Final[Mapping[str, Callable[..., TinyModel]]] = MappingProxyType(
    {
        "llava-next-video": tiny_llava_next_video,
        "qwen2-vl": lambda **options: tiny_qwen2_vl("2", **options),
        "qwen2.5-vl": lambda **options: tiny_qwen2_vl("2.5", **options),
        "internvl": tiny_internvl,
    }
)
"""What makes a tiny model of each family; takes layers, seed and scale by name."""


def _marker(tokenizer: PreTrainedTokenizerFast, text: str) -> int:
    number: int = tokenizer.added_tokens_encoder[text]
    return number


def _text(tokenizer: PreTrainedTokenizerFast, layers: int, size: ModelSize) -> dict[str, Any]:
    return {
        "hidden_size": size.hidden_size,
        "num_hidden_layers": layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.heads // 2,
        "intermediate_size": size.intermediate_size,
        "vocab_size": size.vocabulary_size,
        "max_position_embeddings": 4096,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _vision(**values: object) -> dict[str, Any]:
    return {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        **values,
    }


def _random(make: Callable[[Any], PreTrainedModel], config: object, seed: int, scale: float) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = make(config)
        for name, weight in model.named_parameters():
            if weight.ndim == 2 and "embed" not in name and "projector" not in name:  # noqa: PLR2004 - matrices
                weight.mul_(scale)
            elif name.endswith("position_embeddings"):
                # InternVL starts them at zero, where patches would be told apart by nothing.
                weight.normal_()
    model.train(False)
    return model


def save_tiny_model(
    family: str,
    folder: Path,
    *,
    layers: int = 4,
    seed: int = 0,
    template_file: TemplateFile = "chat_template.jinja",
    prepare: Callable[[PreTrainedModel], None] | None = None,
) -> Path:
    """Write a tiny random model in hub layout and return its folder.

    Args:
        family: one of TINY_FAMILIES.
        folder: made where it is not there.
        layers: decoder layers.
        seed: of the weights.
        template_file: where the chat template stands (older repositories: chat_template.json).
        prepare: given the model before it is written, to change its weights.

    Raises:
        UsageError: there is no such family.
    """
    if family not in TINY_FAMILIES:
        raise UsageError(f"expected a family of {', '.join(TINY_FAMILIES)}, got {family!r}")
    model, tokenizer = TINY_FAMILIES[family](layers=layers, seed=seed)
    if prepare is not None:
        prepare(model)
    template: Any = tokenizer.chat_template
    tokenizer.chat_template = template if template_file == "chat_template.jinja" else None
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if template_file == "chat_template.json":
        (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}), encoding="utf-8")
    (folder / "preprocessor_config.json").write_text(json.dumps(_STATISTICS), encoding="utf-8")
    return folder
