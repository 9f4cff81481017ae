"""The same checkpoints as transformers runs them by itself: eager attention, one question at a time.

Nothing of the backends is used here: prompts are written out, pixels are cut and tokens are pooled
with loops, and rotary positions are counted token by token.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoTokenizer

from stvg_core.settings import InputSettings

PATCH, MERGE = 4, 2
MEAN, DEVIATION = (0.5, 0.4, 0.3), (0.25, 0.3, 0.35)
SECONDS_APART = 1.0
"""Frames of every clip here are one second apart (transformers 5.17 knows whole seconds only)."""


@dataclass(frozen=True, eq=False)
class PlainPrompt:
    """One question about one clip, ready for the language model.

    Attributes:
        inputs: what the whole model takes (ids and pixels).
        places: where the visual tokens stand.
        embeddings: what the language model receives, [token, width].
        positions: rotary positions, or None for 0, 1, 2, ...
        untouched: whether transformers gets to all of this by itself from `inputs`.
    """

    inputs: Mapping[str, Tensor]
    places: tuple[int, ...]
    embeddings: Tensor
    positions: Tensor | None
    untouched: bool


@dataclass(frozen=True, eq=False)
class PlainModel(ABC):
    """A checkpoint and its tokenizer, loaded by transformers alone."""

    model: Any
    tokenizer: Any

    @abstractmethod
    def text(self, clip: str | None, question: str, system: str | None = None) -> str:
        """Return the whole prompt; `clip` is the text of the visual tokens, `system` that of a system turn."""

    @abstractmethod
    def clip_text(self, steps: int, cells: int) -> str:
        """Return the text of the visual tokens."""

    @abstractmethod
    def pixel_inputs(self, pictures: np.ndarray, settings: InputSettings) -> dict[str, Tensor]:
        """Return what the vision tower reads."""

    @abstractmethod
    def grid(self, frame_count: int, size: int, settings: InputSettings) -> tuple[int, int]:
        """Return time steps, and cells per side."""

    @property
    def visual_id(self) -> int:
        return int(self.model.config.video_token_id)

    def answer_id(self, answer: str) -> int:
        return int(self.tokenizer.convert_tokens_to_ids(answer))

    def inputs(self, pictures: np.ndarray, question: str, settings: InputSettings) -> dict[str, Tensor]:
        steps, side = self.grid(len(pictures), pictures.shape[1], settings)
        ids = self.tokenizer(
            self.text(self.clip_text(steps, side * side), question, settings.system_prompt), return_tensors="pt"
        ).input_ids
        pixels = {
            name: values.to(self.model.device, self.model.dtype if values.is_floating_point() else values.dtype)
            for name, values in self.pixel_inputs(pictures, settings).items()
        }
        ids = ids.to(self.model.device)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **pixels}

    def prompt(self, pictures: np.ndarray, question: str, settings: InputSettings) -> PlainPrompt:
        inputs = self.inputs(pictures, question, settings)
        places = tuple(place for place, token in enumerate(inputs["input_ids"][0].tolist()) if token == self.visual_id)
        positions = self.positions(inputs, settings)
        own = self.visual_tokens(pictures, settings)
        untouched = own is None and positions is None
        if own is None:
            caught = self.language_model_input(inputs)
            embeddings = caught["inputs_embeds"][0].clone()
            positions = caught.get("position_ids") if positions is None else positions
        else:
            embeddings = self.model.get_input_embeddings()(inputs["input_ids"])[0]
            for place, token in zip(places, own, strict=True):
                embeddings[place] = token
        return PlainPrompt(inputs, places, embeddings, positions, untouched)

    def positions(self, inputs: Mapping[str, Tensor], settings: InputSettings) -> Tensor | None:
        """Return rotary positions where transformers' own are not wanted."""
        return None

    def visual_tokens(self, pictures: np.ndarray, settings: InputSettings) -> Tensor | None:
        """Return visual tokens where transformers' own are not wanted."""
        return None

    def language_model_input(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what the whole model hands its language model."""
        caught: dict[str, Tensor] = {}
        handle = self.model.model.language_model.register_forward_pre_hook(
            lambda _module, _arguments, keywords: caught.update(keywords), with_kwargs=True
        )
        with torch.no_grad():
            self.model(**inputs, use_cache=False)
        handle.remove()
        return caught

    def forward(self, prompt: PlainPrompt, added: Tensor | None = None, *, attentions: bool = False) -> Any:
        """Run the whole model on pixels and ids where that is possible, else on embeddings."""
        options = {"use_cache": False, "output_attentions": attentions}
        if added is None and prompt.untouched:
            with torch.no_grad():
                return self.model(**prompt.inputs, **options)
        embeddings = prompt.embeddings
        if added is not None:
            rows = list(embeddings)
            for place, row in zip(prompt.places, added, strict=True):
                rows[place] = rows[place] + row
            embeddings = torch.stack(rows)
        if prompt.positions is not None:
            options["position_ids"] = prompt.positions
        return self.model(inputs_embeds=embeddings[None], **options)

    def generate(self, instruction: str, maximum_tokens: int, stops: Sequence[int] = ()) -> tuple[list[int], str]:
        """Return the tokens of transformers' own greedy text before its end, and the text.

        Args:
            instruction: of a turn without a video.
            maximum_tokens: where to stop at the latest.
            stops: tokens that end the text; none: the checkpoint's own.
        """
        encoded = self.tokenizer(self.text(None, instruction), return_tensors="pt").to(self.model.device)
        options = {"eos_token_id": list(stops)} if stops else {}
        ids = self.model.generate(**encoded, do_sample=False, max_new_tokens=maximum_tokens, **options)
        answer = ids[0, encoded.input_ids.shape[1] :].tolist()
        answer = answer[:-1] if answer[-1] in stops else answer
        return answer, str(self.tokenizer.decode(answer, skip_special_tokens=True)).strip()


def normalized(pictures: np.ndarray) -> np.ndarray:
    """Return pixels in 0..1 minus mean over deviation, [frame, row, column, channel]."""
    values: np.ndarray = (pictures.astype(np.float64) / 255 - np.array(MEAN)) / np.array(DEVIATION)
    return values


class PlainLlava(PlainModel):
    """LLaVA-NeXT-Video: transformers pools 2 x 2 patches before the projector, the rest is done here."""

    def text(self, clip: str | None, question: str, system: str | None = None) -> str:
        before = "" if system is None else f"{system} "
        return f"{before}USER: {'' if clip is None else clip + chr(10)}{question} ASSISTANT:"

    def clip_text(self, steps: int, cells: int) -> str:
        return "<video>" * (steps * cells)

    def pixel_inputs(self, pictures: np.ndarray, settings: InputSettings) -> dict[str, Tensor]:
        return {"pixel_values_videos": torch.tensor(normalized(pictures).transpose(0, 3, 1, 2))[None]}

    def grid(self, frame_count: int, size: int, settings: InputSettings) -> tuple[int, int]:
        return frame_count, size // PATCH // (settings.family.get("pooling_stride", 4))

    def visual_tokens(self, pictures: np.ndarray, settings: InputSettings) -> Tensor | None:
        stride, config = settings.family.get("pooling_stride", 4), self.model.config
        before = settings.family.get("pooling_order", "before_projector") == "before_projector"
        if stride == config.spatial_pool_stride and before:
            return None
        inner, patches = self.model.model, pictures.shape[1] // PATCH
        found = []
        with torch.no_grad():
            for picture in self.pixel_inputs(pictures, settings)["pixel_values_videos"][0]:
                shown = picture[None].to(self.model.device, self.model.dtype)
                states = inner.vision_tower(shown, output_hidden_states=True).hidden_states[-2][0]
                grid = states[1:].reshape(patches, patches, -1)
                if not before:
                    grid = inner.multi_modal_projector(grid)
                for row, column in itertools.product(range(0, patches, stride), repeat=2):
                    block = grid[row : row + stride, column : column + stride]
                    pooled = sum(block[y, x] for y in range(stride) for x in range(stride)) / stride**2
                    found.append(inner.multi_modal_projector(pooled[None])[0] if before else pooled)
        return torch.stack(found)


class PlainQwen(PlainModel):
    """Qwen2-VL and Qwen2.5-VL: transformers' own positions, or the family's, counted here."""

    def text(self, clip: str | None, question: str, system: str | None = None) -> str:
        shown = "" if clip is None else f"<|vision_start|>{clip}<|vision_end|>"
        return (
            f"<|im_start|>system\n{system or 'You are a helpful assistant.'}<|im_end|>\n"
            f"<|im_start|>user\n{shown}{question}<|im_end|>\n<|im_start|>assistant\n"
        )

    def clip_text(self, steps: int, cells: int) -> str:
        return "<|video_pad|>" * (steps * cells)

    def grid(self, frame_count: int, size: int, settings: InputSettings) -> tuple[int, int]:
        return len(_shown(frame_count, settings)) // 2, size // PATCH // MERGE

    def inputs(self, pictures: np.ndarray, question: str, settings: InputSettings) -> dict[str, Tensor]:
        inputs = super().inputs(pictures, question, settings)
        inputs["mm_token_type_ids"] = (inputs["input_ids"] == self.visual_id).int() * 2
        if self.model.config.model_type == "qwen2_5_vl":
            seconds = SECONDS_APART * (1 if settings.family.get("temporal_merge", "duplicate") == "duplicate" else 2)
            inputs["second_per_grid_ts"] = torch.tensor([seconds], device=self.model.device)
        return inputs

    def pixel_inputs(self, pictures: np.ndarray, settings: InputSettings) -> dict[str, Tensor]:
        values = normalized(pictures[_shown(len(pictures), settings)])
        steps, blocks = len(values) // 2, pictures.shape[1] // (PATCH * MERGE)
        patches = []
        for step, block_row, block_column, row, column in itertools.product(
            range(steps), range(blocks), range(blocks), range(MERGE), range(MERGE)
        ):
            top, left = (block_row * MERGE + row) * PATCH, (block_column * MERGE + column) * PATCH
            cube = values[2 * step : 2 * step + 2, top : top + PATCH, left : left + PATCH]
            patches.append(cube.transpose(3, 0, 1, 2).reshape(-1))
        grid = [[steps, blocks * MERGE, blocks * MERGE]]
        return {"pixel_values_videos": torch.tensor(np.stack(patches)), "video_grid_thw": torch.tensor(grid)}

    def positions(self, inputs: Mapping[str, Tensor], settings: InputSettings) -> Tensor | None:
        rule = settings.family.get("position_rule", "original")
        if rule == "transformers":
            return None
        if rule == "sequential":
            return torch.arange(inputs["input_ids"].shape[1], device=self.model.device).expand(3, 1, -1)
        steps, rows, columns = inputs["video_grid_thw"][0].tolist()
        rows, columns = rows // MERGE, columns // MERGE
        interval = 1.0
        if "second_per_grid_ts" in inputs:
            interval = float(inputs["second_per_grid_ts"]) * self.model.config.vision_config.tokens_per_second
        cells = itertools.product(range(steps), range(rows), range(columns))
        counted: list[tuple[int, int, int]] = []
        following, start = 0, None
        for token in inputs["input_ids"][0].tolist():
            if token == self.visual_id:
                start = following if start is None else start
                step, row, column = next(cells)
                counted.append((start + int(step * interval), start + row, start + column))
                following = max(following, *(axis + 1 for axis in counted[-1]))
            else:
                counted.append((following,) * 3)
                following += 1
        return torch.tensor(counted, device=self.model.device).T[:, None]


class PlainIntern(PlainModel):
    """InternVL: every frame an image, behind its number."""

    @property
    def visual_id(self) -> int:
        return int(self.model.config.image_token_id)

    def text(self, clip: str | None, question: str, system: str | None = None) -> str:
        shown = "" if clip is None else f"{clip}\n"
        before = "" if system is None else f"<|im_start|>system\n{system}<|im_end|>\n"
        return f"{before}<|im_start|>user\n{shown}{question}<|im_end|>\n<|im_start|>assistant\n"

    def clip_text(self, steps: int, cells: int) -> str:
        lines = []
        for step in range(steps):
            lines.append(f"Frame{step + 1}: <img>" + "<IMG_CONTEXT>" * cells + "</img>")
        return "\n".join(lines)

    def pixel_inputs(self, pictures: np.ndarray, settings: InputSettings) -> dict[str, Tensor]:
        return {"pixel_values": torch.tensor(normalized(pictures).transpose(0, 3, 1, 2))}

    def grid(self, frame_count: int, size: int, settings: InputSettings) -> tuple[int, int]:
        return frame_count, size // PATCH // MERGE


PLAIN_MODELS: Mapping[str, type[PlainModel]] = {
    "llava-next-video": PlainLlava,
    "qwen2-vl": PlainQwen,
    "qwen2.5-vl": PlainQwen,
    "internvl": PlainIntern,
}


def load_plain(family: str, folder: Path, dtype: torch.dtype, device: str = "cpu") -> PlainModel:
    """Load a checkpoint with eager attention."""
    model = AutoModelForImageTextToText.from_pretrained(folder, attn_implementation="eager", dtype=dtype)
    frozen = model.eval().requires_grad_(False).to(device)
    return PLAIN_MODELS[family](frozen, AutoTokenizer.from_pretrained(folder))


def _shown(frame_count: int, settings: InputSettings) -> list[int]:
    """Return which frame stands at each place of a clip whose tokens cover two."""
    if settings.family.get("temporal_merge", "duplicate") == "duplicate":
        return [frame for frame in range(frame_count) for _ in range(2)]
    return [*range(frame_count), *[frame_count - 1] * (frame_count % 2)]
