"""Sessions on random models that are made in memory: of a tiny, a middle or a published size."""

import json
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedModel, PreTrainedTokenizerBase

from stvg_core.errors import UsageError
from stvg_core.host.registry import backend_for, find_backends
from stvg_core.host.session import Session, open_backend
from stvg_core.plugin.adapter import MLLMAdapter
from stvg_core.plugin.hookspecs import hookimpl
from stvg_core.plugin.model_reference import LoadOptions, ModelReference
from stvg_huggingface.adapter import HuggingFaceAdapter
from stvg_huggingface.capture import ATTENTION_NAME, register_attention
from stvg_huggingface.hooks import HuggingFaceBackend
from stvg_huggingface.loading import LoadedCheckpoint
from stvg_huggingface.pixels import PixelStatistics
from stvg_huggingface.testing.models import MIDDLE, TINY_FAMILIES
from stvg_huggingface.testing.tokenizers import tiny_internvl_tokenizer, tiny_llava_tokenizer, tiny_tokenizer

CONFIGS: Final = Path(__file__).parent / "configs"
"""Published configurations, in the hub's own layout."""

_MIDDLE_LAYERS: Final = 8
_STAND_INS: Final = MappingProxyType(
    {
        "llava_next_video": (tiny_llava_tokenizer, "video_token_id", "<video>"),
        "qwen2_vl": (tiny_tokenizer, "video_token_id", "<|video_pad|>"),
        "qwen2_5_vl": (tiny_tokenizer, "video_token_id", "<|video_pad|>"),
        "internvl": (tiny_internvl_tokenizer, "image_token_id", "<IMG_CONTEXT>"),
    }
)
"""Per model type: a tiny tokenizer, how config.json calls the visual token, how the tokenizer writes it."""


def published_sizes() -> tuple[str, ...]:
    """Return the names of the published configurations, such as "qwen2-vl-7b"."""
    return tuple(sorted(path.name.removesuffix(".config.json") for path in CONFIGS.glob("*.config.json")))


def random_session(
    name: str, options: LoadOptions, *, device: torch.device, dtype: torch.dtype, layers: int | None = None
) -> Session:
    """Return a session on a random model: nothing is read from disk but its configuration.

    Args:
        name: a published configuration ("qwen2-vl-7b"), or a family ("qwen2-vl") for its middle size.
        options: what the adapter reads of them (attention kernel, determinism).
        device: where the weights are made.
        dtype: of the weights.
        layers: decoder layers; None: as the configuration says, 8 for a middle size.

    Raises:
        UsageError: there is no such configuration or family.
        PluginError: no installed backend reads it.
    """
    register_attention()
    kernels = {"text_config": ATTENTION_NAME}
    model: Any
    tokenizer: PreTrainedTokenizerBase
    if name in TINY_FAMILIES:
        model, tokenizer = TINY_FAMILIES[name](layers=layers or _MIDDLE_LAYERS, size=MIDDLE)
        model.set_attn_implementation(kernels)
        model = model.to(device, dtype)
    elif name in published_sizes():
        config, tokenizer = _published(name, layers)
        make: Any = AutoModelForImageTextToText
        with torch.device(device):
            model = make.from_config(config, dtype=dtype, attn_implementation=kernels)
    else:
        raise UsageError(
            f"expected a family of {', '.join(TINY_FAMILIES)} or a size of {', '.join(published_sizes())}, got {name!r}"
        )
    return _session(name, model, tokenizer, options)


def reopened(session: Session, options: LoadOptions) -> Session:
    """Return another session on a random session's own model, opened with other options."""
    adapter: Any = session.adapter
    checkpoint: LoadedCheckpoint = adapter.checkpoint
    name = checkpoint.reference.id.removeprefix("random:")
    return _session(name, checkpoint.model, checkpoint.tokenizer, options)


def _published(name: str, layers: int | None) -> tuple[Any, PreTrainedTokenizerBase]:
    data = json.loads((CONFIGS / f"{name}.config.json").read_text(encoding="utf-8"))
    kind = data.pop("model_type")
    make_tokenizer, attribute, marker = _STAND_INS[kind]
    tokenizer = make_tokenizer()
    config: Any = AutoConfig.for_model(kind, **data)
    setattr(config, attribute, tokenizer.convert_tokens_to_ids(marker))
    text = config.get_text_config()
    if layers is not None:
        text.num_hidden_layers = layers
        if getattr(text, "layer_types", None):
            text.layer_types = text.layer_types[:layers]
    return config, tokenizer


def _session(name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, options: LoadOptions) -> Session:
    module: Any = model
    checkpoint = LoadedCheckpoint(
        reference=ModelReference(f"random:{name}"),
        model=module.requires_grad_(False).eval(),
        tokenizer=tokenizer,
        chat_template=None,
        statistics=PixelStatistics(),
        options=options,
        folder=CONFIGS,
    )
    architecture = type(model).__name__
    found = backend_for(architecture, find_backends())
    hooks: HuggingFaceBackend = found.entry_point.load()()
    return open_backend(_Prepared(hooks, checkpoint), found, checkpoint.reference, options)


class _Prepared(HuggingFaceBackend):
    """A family's hooks around a model that is there already."""

    def __init__(self, hooks: HuggingFaceBackend, checkpoint: LoadedCheckpoint) -> None:
        super().__init__(hooks.family)
        self._checkpoint = checkpoint

    @hookimpl
    def stvg_create_adapter(self, reference: ModelReference, options: LoadOptions) -> MLLMAdapter | None:
        """Return the adapter around the model at hand."""
        return HuggingFaceAdapter(self._checkpoint, self.family)
