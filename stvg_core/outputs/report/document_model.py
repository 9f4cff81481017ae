"""The models of the JSON document, schema version 1, and the JSON schema made from them.

Knows no grounding and no file. What each field means is in docs/output.md; the schema is
docs/schema/grounding-1.schema.json.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, field_validator

from stvg_core._internal.json_schema import published_schema
from stvg_core.outputs.report.text import clean_text

SCHEMA_ID = "urn:stvg:schema:grounding:1"
MAXIMUM_TEXT_LENGTH = 10_000


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
    """What one grounding found, and what led to it."""

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
    warnings: list[str] = Field(description="what could not be done as asked, one sentence each")
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
