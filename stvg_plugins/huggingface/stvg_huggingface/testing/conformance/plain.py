"""A checkpoint as transformers runs it by itself: eager attention, one whole prompt at a time."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoTokenizer
from transformers.utils import logging as transformers_logging

from stvg_core.devtools.testing.subject import PlainAnswer, ShownClip
from stvg_core.errors import ModelError
from stvg_huggingface.testing.conformance.inputs import PlainFamily, squares

_CLIP_MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
_CLIP_DEVIATION: Final = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, eq=False)
class PlainModel:
    """A checkpoint loaded by transformers alone.

    Attributes:
        family: what its model is fed.
        model: with eager attention, which tells its maps.
        tokenizer: the checkpoint's.
        statistics: mean and deviation of pixels.
    """

    family: PlainFamily
    model: Any
    tokenizer: Any
    statistics: tuple[tuple[float, ...], tuple[float, ...]]

    def answer(
        self, clip: ShownClip, question: str, prompt: Float[Tensor, "cell width"] | None, layers: tuple[int, ...]
    ) -> PlainAnswer:
        """Run the whole model on ids and pixels; a prompt is added at its language model's door."""
        config, device = self.model.config, self.model.device
        size = clip.settings.frame_size_pixels
        if size is None:
            raise ModelError("expected the subject's settings to give frame_size_pixels")
        seconds = clip.frames.seconds.tolist()
        shown = self.family.clip(config, squares(clip.pictures, size, *self.statistics), seconds, clip.settings)
        text = self._text(question, shown.content_type)
        if text.count(shown.placeholder) != 1:
            raise ModelError(f"expected {shown.placeholder!r} once in the chat template's prompt, got {text!r}")
        begins = bool(self.tokenizer.bos_token) and text.startswith(self.tokenizer.bos_token)
        ids = self.tokenizer(
            text.replace(shown.placeholder, shown.text), return_tensors="pt", add_special_tokens=not begins
        ).input_ids
        visual = ids[0] == self.family.visual_id(config)
        places = visual.nonzero()[:, 0]
        given = {
            name: tensor.to(device, self.model.dtype if tensor.is_floating_point() and tensor.ndim > 1 else None)
            for name, tensor in shown.tensors.items()
        }
        if "video_grid_thw" in given:
            given["mm_token_type_ids"] = (visual.int() * 2)[None].to(device)
        positions = self.family.positions(config, ids, shown, clip.settings)
        if positions is not None:
            given["position_ids"] = positions.to(device)

        def add(_module: Any, _arguments: Any, keywords: dict[str, Any]) -> tuple[Any, dict[str, Any]]:  # noqa: ANN401
            embeddings = keywords["inputs_embeds"].clone()
            if prompt is not None:
                for place, row in zip(places.tolist(), prompt, strict=True):
                    embeddings[0, place] = embeddings[0, place] + row.to(embeddings)
            return _arguments, {**keywords, "inputs_embeds": embeddings}

        handle = self.model.model.language_model.register_forward_pre_hook(add, with_kwargs=True)
        try:
            with torch.no_grad():
                output = self.model(
                    input_ids=ids.to(device),
                    attention_mask=torch.ones_like(ids).to(device),
                    use_cache=False,
                    output_attentions=True,
                    **given,
                )
        finally:
            handle.remove()
        after = int(places[-1]) + 1
        kept = torch.stack([output.attentions[layer][0].double().cpu() for layer in layers])
        logits = output.logits[0, -1].double().cpu()
        return PlainAnswer(
            yes=float(logits[self._answer_id("yes")]),
            no=float(logits[self._answer_id("no")]),
            tokens=tuple(self.tokenizer.convert_ids_to_tokens(ids[0, after:].tolist())),
            rows=kept.mean((0, 1))[after:][:, places],
        )

    def _text(self, question: str, content_type: str) -> str:
        turn = [{"role": "user", "content": [{"type": content_type}, {"type": "text", "text": question}]}]
        return str(
            self.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True, enable_thinking=False)
        )

    def _answer_id(self, answer: str) -> int:
        whole = self.tokenizer.convert_tokens_to_ids(answer)
        known = whole is not None and whole != self.tokenizer.unk_token_id
        return int(whole if known else self.tokenizer(answer, add_special_tokens=False).input_ids[0])


@contextmanager
def without_progress_bar() -> Iterator[None]:
    """Keep transformers' bar off stderr while inside."""
    bars: Any = transformers_logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()


def load_plain(family: PlainFamily, folder: Path, dtype: torch.dtype, device: str) -> PlainModel:
    """Load a checkpoint a second time, with eager attention.

    Args:
        family: what its model is fed.
        folder: the checkpoint's.
        dtype: of the weights.
        device: where it runs.
    """
    auto: Any = AutoModelForImageTextToText
    with without_progress_bar():
        model = auto.from_pretrained(folder, attn_implementation="eager", dtype=dtype)
    tokens: Any = AutoTokenizer
    tokenizer = tokens.from_pretrained(folder)
    older = folder / "chat_template.json"
    if tokenizer.chat_template is None and older.is_file():
        tokenizer.chat_template = json.loads(older.read_text(encoding="utf-8"))["chat_template"]
    return PlainModel(family, model.eval().requires_grad_(False).to(device), tokenizer, _statistics(folder))


def _statistics(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    for name in ("video_preprocessor_config.json", "preprocessor_config.json"):
        file = folder / name
        told = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        if "image_mean" in told and "image_std" in told:
            return tuple(np.array(told["image_mean"]).tolist()), tuple(np.array(told["image_std"]).tolist())
    return _CLIP_MEAN, _CLIP_DEVIATION
