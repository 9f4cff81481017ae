"""LLaVA-OneVision by itself, as plainly as can be: a second opinion that the adapter is held against.

Transformers alone, eager attention, one whole prompt at a time; nothing of `family` is used.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from transformers import AutoTokenizer, LlavaOnevisionForConditionalGeneration

from stvg_core.devtools.testing import PlainAnswer, ShownClip
from stvg_core.plugin import InputSettings, MLLMAdapter, ModelError
from stvg_llava_onevision.tiny_model import save_tiny_model


@dataclass(frozen=True)
class LlavaOnevisionSubject:
    """Implements stvg_core.devtools.testing.ConformanceSubject.

    Attributes:
        settings: pooled by the backend's default (5) and as transformers does. The default goes first, because
            checks that ask one way alone (restoration, say) then see the model while its pooling is replaced.
        known_gaps: none.
    """

    settings: tuple[InputSettings, ...] = (InputSettings(), InputSettings(pooling_stride=2))
    known_gaps: Mapping[str, str] = field(default_factory=dict)

    def save_checkpoint(self, folder: Path) -> None:
        """Write the tiny random model."""
        save_tiny_model(folder)

    def plain(
        self,
        adapter: MLLMAdapter,
        clip: ShownClip,
        question: str,
        prompt: Float[Tensor, "cell width"] | None,
        layers: tuple[int, ...],
    ) -> PlainAnswer:
        """Return what the model does with one question, by one forward pass over the whole prompt.

        Raises:
            ModelError: the adapter does not say where its checkpoint is.
        """
        told = adapter.description
        if told.checkpoint is None:
            raise ModelError("expected the adapter's description to name its checkpoint's folder, got none")
        model, tokenizer = _load(told.checkpoint, told.dtype, told.device)
        stride = clip.settings.pooling_stride or 5
        pixels = _pixels(clip, model.config, told.checkpoint).to(model.device, model.dtype)
        patches = model.config.vision_config.image_size // model.config.vision_config.patch_size
        cells = len(pixels) * math.ceil(patches / stride) ** 2
        ids = tokenizer(_prompt(tokenizer, question, cells + 1), return_tensors="pt").input_ids.to(model.device)
        places = (ids[0] == model.config.video_token_id).nonzero()[:, 0]
        newline = int(places[-1])
        shown: dict[str, Tensor] = {"input_ids": ids, "pixel_values_videos": pixels[None]}
        if stride != 2:  # noqa: PLR2004 - the one that transformers knows
            embeddings = model.get_input_embeddings()(ids).clone()
            embeddings[0, places] = torch.cat([_pooled(model, pixels, stride), model.model.image_newline[None]])
            shown = {"inputs_embeds": embeddings}

        def add(_module: object, arguments: Any, keywords: dict[str, Any]) -> tuple[Any, dict[str, Any]]:  # noqa: ANN401
            received = keywords["inputs_embeds"].clone()
            if prompt is not None:
                received[0, places[:-1]] += prompt.to(received)
            return arguments, {**keywords, "inputs_embeds": received}

        handle = model.model.language_model.register_forward_pre_hook(add, with_kwargs=True)
        try:
            with torch.no_grad():
                output = model(**shown, use_cache=False, output_attentions=True)
        finally:
            handle.remove()
        maps = torch.stack([output.attentions[layer][0].double().cpu() for layer in layers]).mean((0, 1))
        logits = output.logits[0, -1].double()
        return PlainAnswer(
            yes=float(logits[tokenizer.convert_tokens_to_ids("yes")]),
            no=float(logits[tokenizer.convert_tokens_to_ids("no")]),
            tokens=tuple(tokenizer.convert_ids_to_tokens(ids[0, newline + 1 :].tolist())),
            rows=maps[newline + 1 :][:, places[:-1].cpu()],
        )


def _prompt(tokenizer: Any, question: str, video_tokens: int) -> str:  # noqa: ANN401 - transformers' own are untyped
    turn = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": question}]}]
    text: str = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    return text.replace("<video>", "<video>" * video_tokens)


def _pixels(clip: ShownClip, config: Any, checkpoint: Path) -> Float[Tensor, "frame 3 size size"]:  # noqa: ANN401
    size = config.vision_config.image_size
    channels_first = torch.tensor(clip.pictures).permute(0, 3, 1, 2)
    squares = functional.interpolate(channels_first, size=(size, size), mode="bicubic", antialias=True)
    told = json.loads((checkpoint / "preprocessor_config.json").read_text(encoding="utf-8"))
    mean, deviation = (torch.tensor(told[name]).reshape(3, 1, 1) for name in ("image_mean", "image_std"))
    return (squares / 255 - mean) / deviation


def _pooled(model: Any, pixels: Tensor, stride: int) -> Float[Tensor, "cell width"]:  # noqa: ANN401
    """Return projected patches, averaged bilinearly cell by cell."""
    with torch.no_grad():
        seen = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-1]
        projected = model.model.multi_modal_projector(seen)
    side = math.isqrt(projected.shape[1])
    count = math.ceil(side / stride)
    between = [max((cell + 0.5) * side / count - 0.5, 0.0) for cell in range(count)]
    cells = []
    for frame in projected.reshape(len(pixels), side, side, -1):
        for row in between:
            for column in between:
                top, left = math.floor(row), math.floor(column)
                bottom, right = min(top + 1, side - 1), min(left + 1, side - 1)
                upper = frame[top, left] * (1 - column % 1) + frame[top, right] * (column % 1)
                lower = frame[bottom, left] * (1 - column % 1) + frame[bottom, right] * (column % 1)
                cells.append(upper * (1 - row % 1) + lower * (row % 1))
    return torch.stack(cells)


@lru_cache(maxsize=1)
def _load(folder: Path, dtype: str, device: str) -> tuple[Any, Any]:
    model: Any = LlavaOnevisionForConditionalGeneration
    tokens: Any = AutoTokenizer
    loaded = model.from_pretrained(folder, dtype=getattr(torch, dtype), attn_implementation="eager")
    return loaded.to(device).eval(), tokens.from_pretrained(folder)
