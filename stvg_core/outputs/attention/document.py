"""The JSON document of `stvg attend`, schema version 1: everything but the arrays, which are in attention.npz."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, JsonValue, TypeAdapter

from stvg_core._internal.json_schema import published_schema
from stvg_core.method.question_maps import QuestionAttentionMaps
from stvg_core.outputs.attention.arrays import AXES, reading_arrays, shown_token
from stvg_core.outputs.report.document import (
    BoxPixels,
    DocumentPart,
    ErrorDocument,
    ModelIdentity,
    Pixels,
    Seconds,
    Text,
    VideoPart,
    plain_settings,
    validated,
)

SCHEMA_ID = "urn:stvg:schema:attention:1"
Value = Annotated[float, AfterValidator(lambda value: float(f"{value:.9g}"))]
"""Rounded to the precision of float32."""


class QuestionPart(DocumentPart):
    """The question."""

    text: Text = Field(description="as it was put to the model, within its chat template")
    neutral: Text | None = Field(description="the question that attention is relative to; None in mode raw")


class AttentionPart(DocumentPart):
    """How attention was read."""

    mode: Literal["relative", "raw"] = Field(
        description="relative: shares over those of the neutral question; raw: shares"
    )
    tokens: Text = Field(description="which tokens were requested, as --tokens says it")
    layers: list[int] = Field(description="0-based decoder layers that were averaged, over all heads")
    layer_count: int = Field(ge=1, description="decoder layers of the model")


class LayoutPart(DocumentPart):
    """Where the visual tokens lie: time step, row, column, in raster order."""

    time_steps: int = Field(ge=1)
    rows: int = Field(ge=1)
    columns: int = Field(ge=1)
    cell_width: Pixels = Field(description="pixels of the video that a cell is wide")
    cell_height: Pixels = Field(description="pixels of the video that a cell is high")


class TokenPart(DocumentPart):
    """One token of the prompt behind the video."""

    position: int = Field(ge=0, description="0-based from the question's first token")
    text: str = Field(description="as the tokenizer writes it")
    id: int | None = Field(description="in the tokenizer's vocabulary; None where the backend does not say")
    kind: Literal["word", "punctuation", "role", "thinking"]
    chosen: bool = Field(description="whether its row is in the maps")
    share: Value = Field(description="share of its attention that goes to the video, 0..1")
    peak: Value = Field(description="largest value of its row, in the requested mode")
    frame_shares: list[Value] = Field(description="share of its attention that goes to each sampled frame")


class FramePart(DocumentPart):
    """One sampled frame."""

    frame: int = Field(ge=0, description="0-based source frame")
    seconds: Seconds = Field(description="presentation time")
    time_step: int = Field(ge=0, description="token grid that shows it")
    share: Value = Field(description="share of the chosen tokens' attention that goes to it, their mean")
    peak: Value = Field(description="largest value of its map")
    peak_xyxy: BoxPixels = Field(description="cell with that value, pixels of the video")


class ArrayPart(DocumentPart):
    """One array of attention.npz."""

    axes: list[str]
    shape: list[int]
    dtype: str
    meaning: str


class AttentionDocument(DocumentPart):
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
    warnings: list[Text] = Field(description="what could not be done as requested, one sentence each")


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
    frames, layout = reading.frames, reading.layout
    token_peaks = reading.shown_rows.max(axis=1).tolist()
    token_shares, token_frame_shares = reading.token_shares.tolist(), reading.token_frame_shares.tolist()
    frame_rows = zip(
        frames.indices.tolist(),
        frames.seconds.tolist(),
        layout.time_step_of_frame,
        reading.frame_shares.tolist(),
        reading.frame_peaks.tolist(),
        reading.peak_boxes_xyxy().tolist(),
        strict=True,
    )
    return validated(
        AttentionDocument,
        {
            "schema_version": 1,
            "status": "ok",
            "video": frames.info,
            "question": {
                "text": reading.question,
                "neutral": reading.neutral_question if reading.mode == "relative" else None,
            },
            "model": model,
            "attention": {
                "mode": reading.mode,
                "tokens": asked_tokens,
                "layers": reading.layers,
                "layer_count": layer_count,
            },
            "layout": {
                "time_steps": layout.time_steps,
                "rows": layout.rows,
                "columns": layout.columns,
                "cell_width": frames.info.width / layout.columns,
                "cell_height": frames.info.height / layout.rows,
            },
            "tokens": [
                {
                    "position": place,
                    "text": shown_token(token),
                    "id": token.id,
                    "kind": token.kind,
                    "chosen": place in reading.chosen,
                    "share": token_shares[place],
                    "peak": token_peaks[place],
                    "frame_shares": token_frame_shares[place],
                }
                for place, token in enumerate(reading.tokens)
            ],
            "frames": [dict(zip(FramePart.model_fields, row, strict=True)) for row in frame_rows],
            "arrays": {
                name: {
                    "axes": AXES[name][0],
                    "shape": array.shape,
                    "dtype": array.dtype.str,
                    "meaning": AXES[name][1],
                }
                for name, array in reading_arrays(reading).items()
            },
            "settings": plain_settings(settings),
            "timings_seconds": timings_seconds,
            "versions": versions,
            "warnings": warnings,
        },
    )


def schema_text() -> str:
    """Return the JSON schema (draft 2020-12) of result and error, as docs/schema holds it."""
    schema = TypeAdapter[Any](AttentionDocument | ErrorDocument).json_schema(mode="serialization")
    return published_schema(schema, SCHEMA_ID, "Result of stvg attend")
