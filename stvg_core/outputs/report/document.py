"""The JSON document of one grounding (schema version 1), as `stvg ground --json` and tube.json hold it.

docs/output.md describes the fields, docs/schema/grounding-1.schema.json is made from the models.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    TypeAdapter,
    ValidationError,
)

from stvg_core._internal.json_schema import published_schema
from stvg_core.errors import OutputError
from stvg_core.outputs.report.staging import own_errors
from stvg_core.outputs.report.text import clean_text, escape_controls, replace_surrogates
from stvg_core.values import FirstAnswer, Grounding, PromptEffect

SCHEMA_ID = "urn:stvg:schema:grounding:1"
_MAXIMUM_TEXT_LENGTH = 10_000
_LINE_LENGTH = 110


def _clean(text: str) -> str:
    return clean_text(text, _MAXIMUM_TEXT_LENGTH)


def _clean_if_text(value: object) -> object:
    return _clean(value) if isinstance(value, str) else value


def _replace_if_text(value: object) -> object:
    return replace_surrogates(value) if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_clean_if_text)]
Verbatim = Annotated[str, BeforeValidator(_replace_if_text)]
"""Paths and tokens: as they are, and escaped where they are written."""
Seconds = Annotated[float, AfterValidator(lambda value: round(float(value), 6))]
Pixels = Annotated[float, AfterValidator(lambda value: round(float(value), 3))]
BoxPixels = tuple[Pixels, Pixels, Pixels, Pixels]


class DocumentPart(BaseModel):
    """Base of all parts of documents: text is cleaned, numbers are rounded and must be finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, from_attributes=True)


class ModelIdentity(DocumentPart):
    """Which model answered, through which installed backend."""

    id: Text = Field(description="as the user named it")
    backend: Text = Field(description="name of the backend plugin")
    distribution: Text = Field(
        description="the installed distribution that holds it; of a backend in a single file, the name of the file"
    )
    version: Text = Field(description="version of that distribution; of a single file, the SHA-256 of its bytes")
    hook_api: int = Field(ge=1, description="version of the hooks it was written for")


class VideoPart(DocumentPart):
    """The video, as displayed."""

    path: Verbatim = Field(description="as the user named it")
    width: int = Field(ge=1, description="pixels")
    height: int = Field(ge=1, description="pixels")
    frame_count: int = Field(ge=1)
    fps: Seconds = Field(ge=0, description="mean frames per second")
    duration_seconds: Seconds = Field(ge=0)


class QueryPart(DocumentPart):
    """The query and its two sub-queries."""

    text: Text
    attribute: Text = Field(description="who or what")
    action: Text = Field(description="what happens")
    decomposer: Text = Field(description="name of the decomposer that made the sub-queries")


class BoxPart(DocumentPart):
    """Where the object is in one source frame."""

    frame: int = Field(ge=0, description="0-based source frame")
    seconds: Seconds = Field(description="presentation time of that frame")
    xyxy: BoxPixels = Field(description="x0, y0, x1, y1 in pixels of the video as displayed")


class TubePart(DocumentPart):
    """When and where: one box for every source frame of the span."""

    start_seconds: Seconds = Field(description="presentation time of the first frame")
    end_seconds: Seconds = Field(description="when the last frame leaves the screen")
    start_frame: int = Field(ge=0)
    end_frame: int = Field(ge=0, description="inclusive")
    boxes: list[BoxPart] = Field(min_length=1)


class TrackPart(DocumentPart):
    """A candidate that was scored."""

    label: Text
    start_frame: int = Field(description="first source frame of the track")
    end_frame: int = Field(description="last source frame of the track, inclusive")


class FrameScore(DocumentPart):
    """How well one sampled frame fits the action."""

    frame: int = Field(ge=0, description="0-based source frame")
    score: float


class ScoresPart(DocumentPart):
    """Higher is better; comparable within this document only."""

    tracks: list[float] = Field(description="one per candidate track, in the order of the field `tracks`")
    chosen_track: int = Field(ge=0, description="index of the track that the tube follows")
    frames: list[FrameScore] = Field(description="one per sampled frame, inside the chosen track")


class PromptPart(DocumentPart):
    """What a branch's learned visual prompt did."""

    margin_before: float = Field(description="logit of yes minus that of no for the sub-query, without the prompt")
    margin_after: float = Field(description="the same under the prompt")
    prompt_norm_share: float = Field(ge=0, description="norm of the prompt over that of the visual tokens")


class AnswerPart(DocumentPart):
    """What the model would have said first to a branch's question, without a visual prompt."""

    first_token: Verbatim = Field(description="the most probable token of the whole vocabulary")
    probability: float = Field(ge=0, description="its softmax probability")


class DiagnosticsPart(DocumentPart):
    """Numbers worth looking at: margins before each step of a prompt, and what came of the prompts."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float] = Field(init=False)

    prompts: dict[str, PromptPart] = Field(
        default={}, description="by branch: spatial, temporal, and spatial_reversed for the reversed view's own"
    )
    answers: dict[str, AnswerPart] = Field(default={}, description="by branch: spatial and temporal")


class WindowPart(DocumentPart):
    """A window of a long video that was searched."""

    start_frame: int = Field(ge=0, description="first source frame")
    end_frame: int = Field(ge=0, description="last source frame, inclusive")
    start_seconds: Seconds = Field(description="presentation time of the first frame")
    end_seconds: Seconds = Field(description="when the last frame leaves the screen")
    margin: float | None = Field(
        description="logit of yes minus no that ranks windows; null where the window could not be read"
    )
    joined: bool = Field(description="whether the tube was looked for in it")


class GroundingDocument(DocumentPart):
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
    versions: dict[Text, Text] = Field(description="versions of what ran")
    warnings: list[Text] = Field(description="what could not be done as requested, one sentence each")
    windows: list[WindowPart] = Field(
        default=[],
        description="where a long video was searched, in order of time; none where it was sampled as a whole",
    )


class ErrorDocument(DocumentPart):
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
    sub_queries, tube = grounding.sub_queries, grounding.tube
    odd: list[str] = []
    prompts, answers = _finite_entries(grounding.prompts, odd), _finite_entries(grounding.answers, odd)
    diagnostics = {"prompts": prompts, "answers": answers} | _finite_entries(grounding.diagnostics, odd)
    timings = _finite_entries(grounding.timings_seconds, odd)
    left_out = (f"{name} was not a finite number and is left out" for name in odd)
    boxes = zip(tube, tube.frame_seconds.tolist(), strict=True)
    scores = zip(grounding.frames.indices.tolist(), grounding.frame_scores.tolist(), strict=True)
    return validated(
        GroundingDocument,
        {
            "schema_version": 1,
            "status": "ok",
            "video": grounding.frames.info,
            "query": sub_queries,
            "model": model,
            "tube": {
                "start_seconds": tube.span.start_seconds,
                "end_seconds": tube.span.end_seconds,
                "start_frame": tube.start_frame,
                "end_frame": tube.end_frame,
                "boxes": [{"frame": frame, "seconds": seconds, "xyxy": box} for (frame, box), seconds in boxes],
            },
            "tracks": [
                {"label": track.label, "start_frame": int(track.frames[0]), "end_frame": int(track.frames[-1])}
                for track in grounding.tracks
            ],
            "scores": {
                "tracks": grounding.track_scores.tolist(),
                "chosen_track": int(grounding.chosen_track),
                "frames": [{"frame": frame, "score": score} for frame, score in scores],
            },
            "settings": plain_settings({"decomposer": sub_queries.decomposer, **settings}),
            "diagnostics": diagnostics,
            "timings_seconds": timings,
            "versions": versions,
            "warnings": list(dict.fromkeys([*sub_queries.warnings, *grounding.warnings, *left_out])),
            "windows": grounding.windows,
        },
    )


_Document = TypeVar("_Document", bound=BaseModel)


def validated(kind: type[_Document], values: Mapping[str, Any]) -> _Document:
    """Return a document of these values.

    Raises:
        OutputError: a number is not finite.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        problem = first["msg"].replace("Input should be", f"expected {where} to be")
        raise OutputError(
            f"{problem}, got {first['input']}; run again with another --preset, and report it to the authors of the "
            "backend or tracker"
        ) from error


def build_error_document(error: Exception | str) -> ErrorDocument:
    r"""Return the document that `--json` prints where there is no result.

    >>> build_error_document("no such file: a.mp4;\n name a video").error
    'no such file: a.mp4; name a video'
    """
    return ErrorDocument(schema_version=1, status="error", error=_clean(str(error)) or type(error).__name__)


def plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as JSON says them: paths, tuples, models and numpy numbers are taken as well.

    Raises:
        OutputError: a setting cannot be said in JSON.

    >>> plain_settings({"folder": Path("a"), "steps": (1, 2)})
    {'folder': 'a', 'steps': [1, 2]}
    """
    plain: dict[str, Any] = _plain("settings", settings)
    return plain


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
    with own_errors(path):
        path.write_text(dump_document(document, compact=False), encoding="utf-8")


def _finite_entries(
    entries: Mapping[str, float] | Mapping[str, PromptEffect] | Mapping[str, FirstAnswer], odd: list[str]
) -> dict[str, Any]:
    """Return the entries whose numbers are finite; `odd` gets the names of the others: they never cost a result."""
    finite: dict[str, Any] = {}
    for name, entry in entries.items():
        values: dict[str, Any] = {name: entry}
        if isinstance(entry, PromptEffect | FirstAnswer):
            values = {f"{name} {field}": value for field, value in asdict(entry).items()}
        wrong = [key for key, value in values.items() if not isinstance(value, str) and not math.isfinite(value)]
        odd += wrong
        if not wrong:
            finite[_clean(name)] = entry
    return finite


def _plain(where: str, value: object) -> Any:  # noqa: ANN401  # pydantic checks it as JsonValue
    """Return a value as JSON says it."""
    match value:
        case np.generic() | np.ndarray():
            plain: Any = _plain(where, value.tolist())
        case float() if not math.isfinite(value):
            raise OutputError(f"expected {where} to be a finite number, got {value}; set another value")
        case None | bool() | int() | float():
            plain = value
        case str() | Path():
            plain = _clean(str(value))
        case BaseModel():
            plain = _plain(where, value.model_dump())
        case Mapping():
            plain = {_clean(str(name)): _plain(f"{where}.{name}", item) for name, item in value.items()}
        case list() | tuple():
            plain = [_plain(f"{where}[{index}]", item) for index, item in enumerate(value)]
        case _:
            raise OutputError(
                f"expected text, numbers, lists and mappings in {where}, got {type(value).__name__}; name it by text"
            )
    return plain


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
