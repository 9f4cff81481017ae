"""Full-size models with random weights: real configurations, no download. Words are a tiny tokenizer's."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedTokenizerBase

from stvg_core.backend import MLLMAdapter
from stvg_core.hookspecs import hookimpl
from stvg_core.identity import LoadOptions, ModelReference
from stvg_core.registry import find_backends
from stvg_core.session import Session, open_backend
from stvg_huggingface.adapter import HuggingFaceAdapter
from stvg_huggingface.capture import ATTENTION_NAME, register_attention
from stvg_huggingface.hooks import HuggingFaceHooks
from stvg_huggingface.loading import LoadedCheckpoint
from stvg_huggingface.pixels import PixelStatistics
from stvg_huggingface.testing import tiny_internvl_tokenizer, tiny_llava_tokenizer, tiny_tokenizer
from stvg_internvl.hooks import InternVLBackend
from stvg_llava_next.hooks import LlavaNextVideoBackend
from stvg_qwen2_vl.hooks import Qwen2VLBackend

_CONFIGS = Path(__file__).parents[2] / "stvg_plugins" / "huggingface" / "tests" / "data" / "full_size"


@dataclass(frozen=True)
class FullSize:
    """A published configuration, and what stands in for the rest of its checkpoint.

    Attributes:
        config: name of its config.json among the full-size test data.
        hooks: its backend.
        tokenizer: a tiny one of its family.
        visual_token: how config.json calls its visual token, and how the tiny tokenizer writes it.
    """

    config: str
    hooks: type[HuggingFaceHooks]
    tokenizer: Any
    visual_token: tuple[str, str]


FULL_SIZE_MODELS = {
    "llava-next-video-7b": FullSize(
        "llava-next-video-7b", LlavaNextVideoBackend, tiny_llava_tokenizer, ("video_token_id", "<video>")
    ),
    "qwen2-vl-7b": FullSize("qwen2-vl-7b", Qwen2VLBackend, tiny_tokenizer, ("video_token_id", "<|video_pad|>")),
    "qwen2.5-vl-7b": FullSize("qwen2.5-vl-7b", Qwen2VLBackend, tiny_tokenizer, ("video_token_id", "<|video_pad|>")),
    "internvl3-8b": FullSize(
        "internvl3-8b", InternVLBackend, tiny_internvl_tokenizer, ("image_token_id", "<IMG_CONTEXT>")
    ),
}


def full_size_session(name: str, device: torch.device, dtype: torch.dtype, *, layers: int | None = None) -> Session:
    """Return a session on a random model of a published size.

    Args:
        name: one of FULL_SIZE_MODELS.
        device: where its weights are made.
        dtype: of the weights.
        layers: decoder layers, to try the rest of it where the whole would not fit; None: as published.
    """
    size = FULL_SIZE_MODELS[name]
    tokenizer = size.tokenizer()
    config = _config(size, tokenizer, layers)
    register_attention()
    make: Any = AutoModelForImageTextToText
    with torch.device(device):
        model = make.from_config(config, dtype=dtype, attn_implementation={"text_config": ATTENTION_NAME})
    checkpoint = LoadedCheckpoint(
        reference=ModelReference(name),
        model=model.requires_grad_(False).eval(),
        tokenizer=tokenizer,
        chat_template=None,
        statistics=PixelStatistics(),
        options=LoadOptions(device.type),
        folder=_CONFIGS,
    )
    hooks = size.hooks()

    class Prepared(size.hooks):  # type: ignore[name-defined,misc]
        """The family's hooks around a model that was made here."""

        @hookimpl
        def stvg_create_adapter(self, reference: ModelReference, options: LoadOptions) -> MLLMAdapter | None:
            return HuggingFaceAdapter(checkpoint, hooks.family)

    architecture = config.architectures[0]
    found = next(backend for backend in find_backends() if architecture in backend.architectures)
    return open_backend(Prepared(), found, checkpoint.reference, checkpoint.options)


def _config(size: FullSize, tokenizer: PreTrainedTokenizerBase, layers: int | None) -> Any:
    data = json.loads((_CONFIGS / f"{size.config}.config.json").read_text(encoding="utf-8"))
    config = AutoConfig.for_model(data.pop("model_type"), **data)
    attribute, text = size.visual_token
    setattr(config, attribute, tokenizer.convert_tokens_to_ids(text))
    if layers is not None:
        config.get_text_config().num_hidden_layers = layers
        if getattr(config.get_text_config(), "layer_types", None):
            config.get_text_config().layer_types = config.get_text_config().layer_types[:layers]
    return config
