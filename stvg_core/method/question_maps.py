"""Attention of one question on a clip as a value: rows, maps, and the curves that sum them up.

Knows no model, no file and no picture. Axis words are those of docs/shapes.md.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64, Int64

from stvg_core.errors import TokenLayoutError
from stvg_core.plugin.adapter import PromptToken
from stvg_core.values import FrameMaps, Frames, TokenLayout

Mode = Literal["relative", "raw"]


@dataclass(frozen=True, eq=False)
class AttentionReading:
    """What a model looked at when it was asked a question about sampled frames.

    Attributes:
        frames: what the model saw, in source order.
        layout: where its visual tokens lie.
        question: as the model was asked.
        tokens: from the question's first to the prompt's last.
        chosen: positions of the tokens whose rows were averaged into `maps`.
        layers: 0-based decoder layers that were averaged, over all heads.
        mode: raw: shares of attention; relative: shares over those of the neutral question.
        rows: softmax shares of every token over the visual tokens; a row sums to what the model spends on the
            video, the rest goes to text.
        relative: the rows over those of the neutral question; None in mode raw.
        neutral_question: what `relative` is relative to; empty in mode raw.
        neutral_tokens: the neutral question's tokens; none in mode raw.
        neutral_rows: the neutral question's shares; no rows in mode raw.
        maps: the chosen tokens' mean, one map per sampled frame; of `relative` in mode relative, else of `rows`.
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
