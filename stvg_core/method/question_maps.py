"""Attention maps of one question about a clip, as `attend` shows them. Axis names are those of docs/shapes.md."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

from stvg_core._internal.determinism import deterministic_algorithms
from stvg_core.errors import TokenLayoutError
from stvg_core.method.attention import frame_maps, relative_rows
from stvg_core.method.pipeline import Pipeline
from stvg_core.method.selection import TokenSelection
from stvg_core.method.stages import device_stage
from stvg_core.plugin.adapter import AttentionRequest, PromptToken
from stvg_core.values import FrameMaps, Frames, TokenLayout

Mode = Literal["relative", "raw"]


@dataclass(frozen=True, eq=False)
class QuestionAttentionMaps:
    """The attention of one question's tokens to sampled frames.

    Attributes:
        frames: the sampled frames, in source order.
        layout: where the visual tokens lie.
        question: as the model was asked.
        tokens: from the question's first to the prompt's last.
        chosen: positions of the tokens whose rows are averaged into `maps`.
        layers: 0-based decoder layers, averaged over all heads.
        mode: raw: shares of attention; relative: shares divided by those of the neutral question.
        rows: softmax shares of every token over the visual tokens. A row sums to the share of attention that the
            token pays to the video; the rest goes to text.
        relative: the rows divided by those of the neutral question; None in mode raw.
        neutral_question: the divisor's question; empty in mode raw.
        neutral_tokens: tokens of the neutral question; empty in mode raw.
        neutral_rows: shares of the neutral question; no rows in mode raw.
        maps: mean over the chosen tokens, one map per sampled frame, of `relative` in mode relative, else of `rows`.

    Raises:
        TokenLayoutError: rows, tokens and cells do not fit each other, or attention is not finite.
    """

    frames: Frames
    layout: TokenLayout
    question: str
    tokens: tuple[PromptToken, ...]
    chosen: tuple[int, ...]
    layers: tuple[int, ...]
    mode: Mode
    rows: Float32[np.ndarray, "token cell"]
    relative: Float32[np.ndarray, "token cell"] | None
    neutral_question: str
    neutral_tokens: tuple[PromptToken, ...]
    neutral_rows: Float32[np.ndarray, "neutral_token cell"]
    maps: FrameMaps

    def __post_init__(self) -> None:
        """Check that rows, tokens and cells go together."""
        if self.rows.shape != (len(self.tokens), self.layout.cell_count):
            raise TokenLayoutError(
                f"expected {len(self.tokens)} rows of {self.layout.cell_count} cells, got {self.rows.shape}"
            )
        if (self.relative is None) != (self.mode == "raw"):
            raise TokenLayoutError(f"expected relative rows in mode relative alone, got mode {self.mode}")
        if not np.isfinite(self.rows).all():
            raise TokenLayoutError("expected finite attention, got nan or infinity; load the model in a wider dtype")

    @property
    def shown_rows(self) -> Float32[np.ndarray, "token cell"]:
        """The rows that the maps are made of."""
        return self.rows if self.relative is None else self.relative

    @property
    def token_shares(self) -> Float64[np.ndarray, " token"]:
        """Share of each token's attention that goes to the video, 0..1."""
        return np.asarray(self.rows.sum(axis=1, dtype=np.float64))

    @property
    def token_frame_shares(self) -> Float64[np.ndarray, "token frame"]:
        """Share of each token's attention that goes to each sampled frame.

        Frames that share visual tokens have the same share.
        """
        by_step = self.rows.astype(np.float64).reshape(len(self.tokens), self.layout.time_steps, -1).sum(axis=2)
        return np.asarray(by_step[:, list(self.layout.time_step_of_frame)])

    @property
    def frame_shares(self) -> Float64[np.ndarray, " frame"]:
        """Share of the chosen tokens' attention that goes to each sampled frame, their mean."""
        return np.asarray(self.token_frame_shares[list(self.chosen)].mean(axis=0))

    @property
    def frame_peaks(self) -> Float64[np.ndarray, " frame"]:
        """Largest value of each frame's map."""
        return np.asarray(self.maps.values.max(axis=(1, 2)))

    def peak_boxes_xyxy(self) -> Float64[np.ndarray, "frame 4"]:
        """Return the cell with each frame's largest value, in pixels of the video."""
        _, rows, columns = self.layout.shape
        best = self.maps.values.reshape(len(self.frames), -1).argmax(axis=1)
        return np.asarray(self.grid_boxes_xyxy().reshape(rows * columns, 4)[best])

    def grid_boxes_xyxy(self) -> Float64[np.ndarray, "row column 4"]:
        """Return the pixels of the video, as displayed, that each cell of a frame stands for.

        Every frame is squashed to the model's own size, so the grid spans the whole picture.
        """
        _, rows, columns = self.layout.shape
        ys = np.linspace(0.0, self.frames.info.height, rows + 1)
        xs = np.linspace(0.0, self.frames.info.width, columns + 1)
        top, left = np.meshgrid(ys[:-1], xs[:-1], indexing="ij")
        bottom, right = np.meshgrid(ys[1:], xs[1:], indexing="ij")
        return np.stack([left, top, right, bottom], axis=-1)

    def cell_places(self) -> Int64[np.ndarray, "cell 3"]:
        """Return each visual token's time step, row and column."""
        return np.stack(np.unravel_index(np.arange(self.layout.cell_count), self.layout.shape), axis=-1).astype(
            np.int64
        )


def compute_question_maps(
    pipeline: Pipeline, frames: Frames, question: str, layers: tuple[int, ...], tokens: TokenSelection
) -> QuestionAttentionMaps:
    """Return the attention maps of one question about sampled frames, without visual prompts or reversed view.

    Args:
        pipeline: the method; `input`, `relative` and `spatial.tokens` of its settings apply.
        frames: the sampled frames.
        question: asked as it is.
        layers: 0-based decoder layers to average.
        tokens: whose rows make the maps.

    Raises:
        UsageError: the prompt has no such token.
        DeviceMemoryError: the device is too small for these frames.
    """
    session, settings = pipeline.session, pipeline.settings
    relative, raw = settings.relative, settings.relative.mode == "raw"
    clip = pipeline.encode(frames, reversed_view=False).clip
    questions = (question,) if raw else tuple(dict.fromkeys((question, relative.neutral_question)))
    with (
        deterministic_algorithms(session.options.deterministic),
        device_stage(pipeline.watch, "attention", f"{len(frames)} frames as {clip.layout.cell_count} visual tokens"),
    ):
        captured = pipeline.capture_attention(AttentionRequest(clip, questions, None, layers))
        asked, neutral = captured[0], captured[-1]
        shown = relative_rows(asked, neutral, relative)
        chosen = tokens.positions(
            asked.tokens, lambda: session.select_grounding_tokens(asked, shown, settings.spatial.tokens)
        )
        maps = frame_maps(clip, asked, shown, chosen)
    return QuestionAttentionMaps(
        frames=frames,
        layout=clip.layout,
        question=question,
        tokens=asked.tokens,
        chosen=chosen,
        layers=layers,
        mode="raw" if raw else "relative",
        rows=_to_numpy(asked.rows),
        relative=None if raw else _to_numpy(shown),
        neutral_question="" if raw else relative.neutral_question,
        neutral_tokens=() if raw else neutral.tokens,
        neutral_rows=_to_numpy(neutral.rows[:0] if raw else neutral.rows),
        maps=maps,
    )


def _to_numpy(rows: Float[Tensor, "token cell"]) -> Float32[np.ndarray, "token cell"]:
    return np.asarray(rows.detach().to(torch.float32).cpu().numpy())
