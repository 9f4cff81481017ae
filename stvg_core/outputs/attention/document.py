"""The JSON document of `stvg attend`, schema version 1: tokens, frames, curves, and what the arrays are.

Everything but the rows and maps themselves, which are in attention.npz.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from stvg_core._internal.json_schema import published_schema
from stvg_core.method.question_maps import QuestionAttentionMaps
from stvg_core.outputs.attention.arrays import AXES, reading_arrays, shown_token
from stvg_core.outputs.report.document import (
    MAXIMUM_TEXT_LENGTH,
    ErrorDocument,
    ModelIdentity,
    VideoPart,
    plain_settings,
    video_part,
)
from stvg_core.outputs.report.text import clean_text

SCHEMA_ID = "urn:stvg:schema:attention:1"
_DIGITS = 9
_SECOND_DIGITS = 6
_PIXEL_DIGITS = 3


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class QuestionPart(_Part):
    """The question."""

    text: str = Field(description="as it was put to the model, within its chat template")
    neutral: str | None = Field(description="the question that attention is relative to; None in mode raw")


class AttentionPart(_Part):
    """How attention was read."""

    mode: Literal["relative", "raw"] = Field(
        description="relative: shares over those of the neutral question; raw: shares"
    )
    tokens: str = Field(description="which tokens were requested, as --tokens says it")
    layers: list[int] = Field(description="0-based decoder layers that were averaged, over all heads")
    layer_count: int = Field(ge=1, description="decoder layers of the model")


class LayoutPart(_Part):
    """Where the visual tokens lie: time step, row, column, in raster order."""

    time_steps: int = Field(ge=1)
    rows: int = Field(ge=1)
    columns: int = Field(ge=1)
    cell_width: float = Field(description="pixels of the video that a cell is wide")
    cell_height: float = Field(description="pixels of the video that a cell is high")


class TokenPart(_Part):
    """One token of the prompt behind the video."""

    position: int = Field(ge=0, description="0-based from the question's first token")
    text: str = Field(description="as the tokenizer writes it")
    id: int | None = Field(description="in the tokenizer's vocabulary; None where the backend does not say")
    kind: Literal["word", "punctuation", "role", "thinking"]
    chosen: bool = Field(description="whether its row is in the maps")
    share: float = Field(description="share of its attention that goes to the video, 0..1")
    peak: float = Field(description="largest value of its row, in the requested mode")
    frame_shares: list[float] = Field(description="share of its attention that goes to each sampled frame")


class FramePart(_Part):
    """One sampled frame."""

    frame: int = Field(ge=0, description="0-based source frame")
    seconds: float = Field(description="presentation time")
    time_step: int = Field(ge=0, description="token grid that shows it")
    share: float = Field(description="share of the chosen tokens' attention that goes to it, their mean")
    peak: float = Field(description="largest value of its map")
    peak_xyxy: tuple[float, float, float, float] = Field(description="cell with that value, pixels of the video")


class ArrayPart(_Part):
    """One array of attention.npz."""

    axes: list[str]
    shape: list[int]
    dtype: str
    meaning: str


class AttentionDocument(_Part):
    """What a model looked at."""

    schema_version: Literal[1] = Field(description="a new number where a field changes its meaning or goes")
    status: Literal["ok"]
    video: VideoPart
    question: QuestionPart
    model: ModelIdentity
    attention: AttentionPart
    layout: LayoutPart
    tokens: list[TokenPart] = Field(min_length=1)
    frames: list[FramePart] = Field(min_length=1)
    arrays: dict[str, ArrayPart] = Field(description="what attention.npz holds")
    settings: dict[str, JsonValue] = Field(description="everything that decided the result")
    timings_seconds: dict[str, float] = Field(description="wall-clock seconds per stage")
    versions: dict[str, str] = Field(description="versions of what ran")
    warnings: list[str] = Field(description="what could not be done as requested, one sentence each")


def build_attention_document(
    reading: QuestionAttentionMaps,
    asked_tokens: str,
    layer_count: int,
    model: ModelIdentity,
    settings: Mapping[str, Any],
    timings_seconds: Mapping[str, float],
    versions: Mapping[str, str],
    warnings: tuple[str, ...] = (),
) -> AttentionDocument:
    """Return the document of a reading.

    Args:
        reading: what was looked at.
        asked_tokens: what `--tokens` said.
        layer_count: decoder layers of the model.
        model: the model that answered.
        settings: everything that decided the result.
        timings_seconds: wall clock per stage.
        versions: name to version of what ran.
        warnings: what could not be done as requested.

    Raises:
        OutputError: a number is not finite.
    """
    frames, info, layout = reading.frames, reading.frames.info, reading.layout
    peaks = reading.shown_rows.max(axis=1)
    return AttentionDocument(
        schema_version=1,
        status="ok",
        video=video_part(info),
        question=QuestionPart(
            text=_text(reading.question),
            neutral=_text(reading.neutral_question) if reading.mode == "relative" else None,
        ),
        model=model,
        attention=AttentionPart(
            mode=reading.mode, tokens=_text(asked_tokens), layers=list(reading.layers), layer_count=layer_count
        ),
        layout=LayoutPart(
            time_steps=layout.time_steps,
            rows=layout.rows,
            columns=layout.columns,
            cell_width=round(info.width / layout.columns, _PIXEL_DIGITS),
            cell_height=round(info.height / layout.rows, _PIXEL_DIGITS),
        ),
        tokens=[
            TokenPart(
                position=place,
                text=shown_token(token),
                id=token.id,
                kind=token.kind,
                chosen=place in reading.chosen,
                share=_number(share),
                peak=_number(peak),
                frame_shares=[_number(one) for one in shares],
            )
            for place, (token, share, peak, shares) in enumerate(
                zip(reading.tokens, reading.token_shares, peaks, reading.token_frame_shares, strict=True)
            )
        ],
        frames=[
            FramePart(
                frame=int(frame),
                seconds=round(float(seconds), _SECOND_DIGITS),
                time_step=step,
                share=_number(share),
                peak=_number(peak),
                peak_xyxy=(_pixel(box[0]), _pixel(box[1]), _pixel(box[2]), _pixel(box[3])),
            )
            for frame, seconds, step, share, peak, box in zip(
                frames.indices,
                frames.seconds,
                layout.time_step_of_frame,
                reading.frame_shares,
                reading.frame_peaks,
                reading.peak_boxes_xyxy(),
                strict=True,
            )
        ],
        arrays={
            name: ArrayPart(
                axes=list(AXES[name][0]), shape=list(array.shape), dtype=array.dtype.str, meaning=AXES[name][1]
            )
            for name, array in reading_arrays(reading).items()
        },
        settings=plain_settings(settings),
        timings_seconds=dict(timings_seconds),
        versions=dict(versions),
        warnings=[_text(warning) for warning in warnings],
    )


def schema_text() -> str:
    """Return the JSON schema (draft 2020-12) of result and error, as docs/schema holds it."""
    schema = TypeAdapter[Any](AttentionDocument | ErrorDocument).json_schema(mode="serialization")
    return published_schema(schema, SCHEMA_ID, "Result of stvg attend")


def _text(text: str) -> str:
    return clean_text(text, MAXIMUM_TEXT_LENGTH)


def _number(value: "float | np.floating") -> float:
    """Return a value rounded to the precision of float32."""
    return float(f"{float(value):.{_DIGITS}g}")


def _pixel(value: float) -> float:
    return round(float(value), _PIXEL_DIGITS)
