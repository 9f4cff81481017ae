"""The JSON document of one grounding, as `stvg ground --json` and tube.json hold it.

The models (schema version 1; docs/output.md describes the fields, docs/schema/grounding-1.schema.json is made from
them), and what turns a grounding into them. Every number is finite; boxes are pixels of the video as displayed, frames
are 0-based, `end_frame` is inclusive.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, field_validator

from stvg_core._internal.json_schema import published_schema
from stvg_core.errors import OutputError
from stvg_core.outputs.report.text import clean_text, escape_controls, replace_surrogates
from stvg_core.values import FirstAnswer, Grounding, PromptEffect, SearchedWindow, Tube, VideoInfo

SCHEMA_ID = "urn:stvg:schema:grounding:1"
MAXIMUM_TEXT_LENGTH = 10_000
_LINE_LENGTH = 110
_PIXEL_DIGITS = 3
_SECOND_DIGITS = 6


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelIdentity(_Part):
    """Which model answered, through which installed backend."""

    id: str = Field(description="as the user named it")
    backend: str = Field(description="name of the backend plugin")
    distribution: str = Field(
        description="the installed distribution that holds it; of a backend in a single file, the name of the file"
    )
    version: str = Field(description="version of that distribution; of a single file, the SHA-256 of its bytes")
    hook_api: int = Field(ge=1, description="version of the hooks it was written for")

    @field_validator("id", "backend", "distribution", "version", mode="before")
    @classmethod
    def _harmless(cls, value: object) -> object:
        return clean_text(value, MAXIMUM_TEXT_LENGTH) if isinstance(value, str) else value


class VideoPart(_Part):
    """The video, as displayed."""

    path: str = Field(description="as the user named it")
    width: int = Field(ge=1, description="pixels")
    height: int = Field(ge=1, description="pixels")
    frame_count: int = Field(ge=1)
    fps: float = Field(ge=0, description="mean frames per second")
    duration_seconds: float = Field(ge=0)


class QueryPart(_Part):
    """The query and its two sub-queries."""

    text: str
    attribute: str = Field(description="who or what")
    action: str = Field(description="what happens")
    decomposer: str = Field(description="name of the decomposer that made the sub-queries")


class BoxPart(_Part):
    """Where the object is in one source frame."""

    frame: int = Field(ge=0, description="0-based source frame")
    seconds: float = Field(description="presentation time of that frame")
    xyxy: tuple[float, float, float, float] = Field(description="x0, y0, x1, y1 in pixels of the video as displayed")


class TubePart(_Part):
    """When and where: one box for every source frame of the span."""

    start_seconds: float = Field(description="presentation time of the first frame")
    end_seconds: float = Field(description="when the last frame leaves the screen")
    start_frame: int = Field(ge=0)
    end_frame: int = Field(ge=0, description="inclusive")
    boxes: list[BoxPart] = Field(min_length=1)


class TrackPart(_Part):
    """A candidate that was scored."""

    label: str
    start_frame: int = Field(description="first source frame of the track")
    end_frame: int = Field(description="last source frame of the track, inclusive")


class FrameScore(_Part):
    """How well one sampled frame fits the action."""

    frame: int = Field(ge=0, description="0-based source frame")
    score: float


class ScoresPart(_Part):
    """Higher is better; comparable within this document only."""

    tracks: list[float] = Field(description="one per candidate track, in the order of the field `tracks`")
    chosen_track: int = Field(ge=0, description="index of the track that the tube follows")
    frames: list[FrameScore] = Field(description="one per sampled frame, inside the chosen track")


class PromptPart(_Part):
    """What a branch's learned visual prompt did."""

    margin_before: float = Field(description="logit of yes minus that of no for the sub-query, without the prompt")
    margin_after: float = Field(description="the same under the prompt")
    prompt_norm_share: float = Field(ge=0, description="norm of the prompt over that of the visual tokens")


class AnswerPart(_Part):
    """What the model would have said first to a branch's question, without a visual prompt."""

    first_token: str = Field(description="the most probable token of the whole vocabulary")
    probability: float = Field(ge=0, description="its softmax probability")


class DiagnosticsPart(_Part):
    """Numbers worth looking at: margins before each step of a prompt, and what came of the prompts."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, float] = Field(init=False)

    prompts: dict[str, PromptPart] = Field(
        default={}, description="by branch: spatial, temporal, and spatial_reversed for the reversed view's own"
    )
    answers: dict[str, AnswerPart] = Field(default={}, description="by branch: spatial and temporal")


class WindowPart(_Part):
    """A window of a long video that was searched."""

    start_frame: int = Field(ge=0, description="first source frame")
    end_frame: int = Field(ge=0, description="last source frame, inclusive")
    start_seconds: float = Field(description="presentation time of the first frame")
    end_seconds: float = Field(description="when the last frame leaves the screen")
    margin: float | None = Field(
        description="logit of yes minus no that ranks windows; null where the window could not be read"
    )
    joined: bool = Field(description="whether the tube was looked for in it")


class GroundingDocument(_Part):
    """The result of one grounding, and what led to it."""

    schema_version: Literal[1] = Field(description="a new number where a field changes its meaning or goes")
    status: Literal["ok"]
    video: VideoPart
    query: QueryPart
    model: ModelIdentity
    tube: TubePart
    tracks: list[TrackPart]
    scores: ScoresPart
    settings: dict[str, JsonValue] = Field(description="everything that decided the result")
    diagnostics: DiagnosticsPart
    timings_seconds: dict[str, float] = Field(description="wall-clock seconds per stage")
    versions: dict[str, str] = Field(description="versions of what ran")
    warnings: list[str] = Field(description="what could not be done as requested, one sentence each")
    windows: list[WindowPart] = Field(
        default=[],
        description="where a long video was searched, in order of time; none where it was sampled as a whole",
    )


class ErrorDocument(_Part):
    """What stands in the place of a result where there is none."""

    schema_version: Literal[1] = Field(description="a new number where a field changes its meaning or goes")
    status: Literal["error"]
    error: str = Field(min_length=1, description="what was expected, what came, and the cure, on one line")


Document = Annotated[GroundingDocument | ErrorDocument, Field(discriminator="status")]
"""Either of the two, told apart by `status`."""


def schema_text() -> str:
    """Return the JSON schema (draft 2020-12) of both documents, as docs/schema holds it."""
    # What build_document makes is closed; a reader is free to ignore fields that a later minor version adds.
    schema = TypeAdapter[Any](Document).json_schema(mode="serialization")
    return published_schema(schema, SCHEMA_ID, "Result of stvg ground")


def build_document(
    grounding: Grounding, model: ModelIdentity, settings: Mapping[str, Any], versions: Mapping[str, str]
) -> GroundingDocument:
    """Return the document of a grounding.

    Args:
        grounding: the result.
        model: who answered.
        settings: everything that decided the result; the caller names preset and tracker
            in it, the decomposer is filled in where it is missing. Values may be whatever
            JSON can say, and paths, tuples and numpy numbers.
        versions: name to version of what ran.

    Raises:
        OutputError: a score, time or box is not finite, or a setting cannot be said in JSON.
    """
    info, sub_queries = grounding.frames.info, grounding.sub_queries
    diagnostics, odd_diagnostics = _finite_entries(grounding.diagnostics)
    timings, odd_timings = _finite_entries(grounding.timings_seconds)
    warnings = [*sub_queries.warnings, *grounding.warnings]
    effects, odd_effects = _finite_parts(grounding.prompts)
    answers, odd_answers = _finite_parts(grounding.answers)
    odd = (*odd_diagnostics, *odd_timings, *odd_effects, *odd_answers)
    warnings += [f"{name} was not a finite number and is left out" for name in odd]
    return GroundingDocument(
        schema_version=1,
        status="ok",
        video=video_part(info),
        query=QueryPart(
            text=_text(sub_queries.text),
            attribute=_text(sub_queries.attribute),
            action=_text(sub_queries.action),
            decomposer=_text(sub_queries.decomposer),
        ),
        model=model,
        tube=_tube_part(grounding.tube),
        tracks=[
            TrackPart(label=_text(track.label), start_frame=int(track.frames[0]), end_frame=int(track.frames[-1]))
            for track in grounding.tracks
        ],
        scores=ScoresPart(
            tracks=[_finite("a track score", score) for score in grounding.track_scores],
            chosen_track=int(grounding.chosen_track),
            frames=[
                FrameScore(frame=int(frame), score=_finite("a frame score", score))
                for frame, score in zip(grounding.frames.indices, grounding.frame_scores, strict=True)
            ],
        ),
        settings={"decomposer": _text(sub_queries.decomposer), **plain_settings(settings)},
        diagnostics=DiagnosticsPart(
            prompts={branch: PromptPart(**effect) for branch, effect in effects.items()},
            answers={branch: AnswerPart(**answer) for branch, answer in answers.items()},
            **diagnostics,
        ),
        timings_seconds=timings,
        versions={_text(name): _text(version) for name, version in versions.items()},
        warnings=list(dict.fromkeys(_text(warning) for warning in warnings)),
        windows=[_window_part(window) for window in grounding.windows],
    )


def build_error_document(error: Exception | str) -> ErrorDocument:
    r"""Return the document that `--json` prints where there is no result.

    >>> build_error_document("no such file: a.mp4;\n name a video").error
    'no such file: a.mp4; name a video'
    """
    return ErrorDocument(schema_version=1, status="error", error=_text(str(error)) or type(error).__name__)


def video_part(info: VideoInfo) -> VideoPart:
    """Return what a document says of its video.

    Raises:
        OutputError: frame rate or duration is not finite.
    """
    return VideoPart(
        path=replace_surrogates(info.path),
        width=info.width,
        height=info.height,
        frame_count=info.frame_count,
        fps=round(_finite("the frame rate", float(info.fps)), _SECOND_DIGITS),
        duration_seconds=round(_finite("the duration", info.duration_seconds), _SECOND_DIGITS),
    )


def plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as JSON says them: paths, tuples, models and numpy numbers are taken as well.

    Raises:
        OutputError: a setting cannot be said in JSON.

    >>> plain_settings({"folder": Path("a"), "steps": (1, 2)})
    {'folder': 'a', 'steps': [1, 2]}
    """
    return _plain_mapping("settings", settings)


def dump_document(document: BaseModel, *, compact: bool = True) -> str:
    """Return a document as JSON text: on one line, or laid out for reading.

    Control characters stay escaped, so that the text is harmless on a terminal.

    >>> dump_document(build_error_document("no video"))
    '{"schema_version": 1, "status": "error", "error": "no video"}'
    """
    data = document.model_dump(mode="json")
    text = _dumps(data) if compact else _lay_out(data, "") + "\n"
    return escape_controls(text)


def write_document(path: Path, document: BaseModel) -> None:
    """Write a document, laid out for reading.

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        path.write_text(dump_document(document, compact=False), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}; choose another folder with --out") from error


def _tube_part(tube: Tube) -> TubePart:
    frames = range(tube.start_frame, tube.end_frame + 1)
    return TubePart(
        start_seconds=_seconds(tube.span.start_seconds),
        end_seconds=_seconds(tube.span.end_seconds),
        start_frame=tube.start_frame,
        end_frame=tube.end_frame,
        boxes=[
            BoxPart(frame=frame, seconds=_seconds(seconds), xyxy=(_pixel(x0), _pixel(y0), _pixel(x1), _pixel(y1)))
            for frame, seconds, (x0, y0, x1, y1) in zip(frames, tube.frame_seconds, tube.boxes_xyxy, strict=True)
        ],
    )


def _window_part(window: SearchedWindow) -> WindowPart:
    return WindowPart(
        start_frame=window.start_frame,
        end_frame=window.end_frame,
        start_seconds=_seconds(window.start_seconds),
        end_seconds=_seconds(window.end_seconds),
        margin=None if window.margin is None else _finite("a window's margin", window.margin),
        joined=window.joined,
    )


def _seconds(value: float) -> float:
    return round(_finite("a time", value), _SECOND_DIGITS)


def _pixel(value: float) -> float:
    return round(_finite("a box corner of the tube", value), _PIXEL_DIGITS)


def _finite(what: str, value: float) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise OutputError(
            f"expected {what} to be a finite number, got {number}; run again with another --preset, "
            "and report it to the authors of the backend or tracker"
        )
    return number


def _finite_entries(entries: Mapping[str, float]) -> tuple[dict[str, float], list[str]]:
    """Return the finite entries, and the names of the others: a side number never costs a result."""
    finite = {_text(name): float(value) for name, value in entries.items() if math.isfinite(value)}
    return finite, [name for name in entries if _text(name) not in finite]


def _finite_parts(
    parts: Mapping[str, PromptEffect] | Mapping[str, FirstAnswer],
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return the fields of the parts whose numbers are finite, and the names of the others."""
    finite: dict[str, dict[str, Any]] = {}
    odd = []
    for branch, part in parts.items():
        values = asdict(part)
        wrong = [name for name, value in values.items() if isinstance(value, float) and not math.isfinite(value)]
        if wrong:
            odd += [f"{branch} {name}" for name in wrong]
        else:
            # A token may be white space alone: it is written as it is, and escaped where it is written.
            finite[branch] = {n: replace_surrogates(v) if isinstance(v, str) else v for n, v in values.items()}
    return finite, odd


def _plain_mapping(where: str, value: Mapping[str, Any]) -> dict[str, Any]:
    return {_text(str(name)): _plain(f"{where}.{name}", item) for name, item in value.items()}


def _plain(where: str, value: object) -> Any:  # noqa: ANN401  # pydantic checks it as JsonValue
    """Return a value as JSON says it."""
    match value:
        case np.generic() | np.ndarray():
            plain: Any = _plain(where, value.tolist())
        case None | bool() | int():
            plain = value
        case float():
            plain = _finite(where, value)
        case str() | Path():
            plain = _text(str(value))
        case BaseModel():
            plain = _plain_mapping(where, value.model_dump())
        case Mapping():
            plain = _plain_mapping(where, value)
        case list() | tuple():
            plain = [_plain(f"{where}[{index}]", item) for index, item in enumerate(value)]
        case _:
            raise OutputError(
                f"expected text, numbers, lists and mappings in {where}, got {type(value).__name__}; name it by text"
            )
    return plain


def _text(text: str) -> str:
    return clean_text(text, MAXIMUM_TEXT_LENGTH)


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _lay_out(value: object, indent: str) -> str:
    """Return JSON in which whatever fits on a line stands on one: a box per line, not ten lines per box."""
    flat = _dumps(value)
    if len(indent) + len(flat) <= _LINE_LENGTH or not isinstance(value, dict | list) or not value:
        return flat
    deeper = indent + "  "
    if isinstance(value, dict):
        lines = [f"{deeper}{_dumps(name)}: {_lay_out(item, deeper)}" for name, item in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    return "[\n" + ",\n".join(deeper + _lay_out(item, deeper) for item in value) + f"\n{indent}]"
