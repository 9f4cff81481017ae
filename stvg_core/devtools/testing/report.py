"""What the kit found: a report as a frozen value, and as JSON (schema_version 1)."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field

from stvg_core._internal.json_schema import published_schema

Outcome = Literal["passed", "failed", "skipped", "advisory"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Measurement(_Record):
    """One number, and the bound that it must keep."""

    name: str = Field(description="what was measured, with its unit where it has one")
    value: float
    relation: Literal["at most", "at least"]
    bound: float

    @property
    def kept(self) -> bool:
        """Whether the bound is kept; what is not a number keeps none."""
        return self.value <= self.bound if self.relation == "at most" else self.value >= self.bound


class CheckResult(_Record):
    """What one check found."""

    name: str
    outcome: Outcome = Field(
        description="skipped: does not apply, or a known gap; advisory: failed, and not yet required"
    )
    statement: str = Field(description="what the check proves")
    message: str = Field("", description="what is wrong, or why it was skipped; empty when passed")
    measurements: tuple[Measurement, ...] = ()
    page: str = Field(description="where it is explained")
    seconds: float


class ConformanceReport(_Record):
    """All checks of one backend on one model."""

    schema_version: Literal[1] = 1
    subject: str = Field(description="name in the entry-point group stvg.conformance")
    backend: str
    distribution: str
    version: str
    hook_api: int
    checkpoint: str = Field(description="'random' for the subject's own tiny model, else the folder")
    device: str
    dtype: str
    versions: Mapping[str, str] = Field(description="of Python and of the distributions that the backend requires")
    checks: tuple[CheckResult, ...]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not any(check.outcome == "failed" for check in self.checks)


def schema_text() -> str:
    """Return the JSON schema (draft 2020-12) of a report as it is printed, as docs/schema holds it."""
    schema = ConformanceReport.model_json_schema(mode="serialization")
    return published_schema(schema, "urn:stvg:schema:conformance:1")
