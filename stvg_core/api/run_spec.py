"""What decides a result besides video and query, as one value.

The Python API, the command line, runs, comparison and ablation all hold a RunSpec. As a table (`to_dict`, and
`[[run]]` in a TOML file) it is flat, with the names of the command line's options:

    [[run]]
    name = "4 bit"
    model = "Qwen/Qwen2-VL-7B-Instruct"
    quantization = "4bit"
    set = { "prompt.steps" = 0 }
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict, Unpack

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from stvg_core._internal.plain_text import one_line
from stvg_core.errors import UsageError
from stvg_core.plugin.model_reference import LoadOptions
from stvg_core.settings import Settings

if TYPE_CHECKING:
    from stvg_core.host.extensions import HookExtension

DEFAULT_TRACKER: Final = "regions"
DEFAULT_DECOMPOSER: Final = "rules"
MAXIMUM_RUNS: Final = 500
"""Most `[[run]]` tables of one file."""

_LOAD_OPTIONS: Final = tuple(option.name for option in fields(LoadOptions))
_MAXIMUM_ERROR_CHARACTERS: Final = 200


class RunOptions(TypedDict, total=False):
    """What `load`, `ground` and `attend` take by keyword: fields of RunSpec and of LoadOptions."""

    revision: str | None
    backend: str | None
    preset: str | None
    overrides: Mapping[str, Any] | None
    settings: Settings | None
    decomposer: str
    extensions: "Sequence[str | HookExtension]"
    device: str
    dtype: str
    device_map: str | None
    quantization: str | None
    attn_implementation: str
    deterministic: bool
    recompute: str
    cuda_graphs: str


@dataclass(frozen=True)
class RunSpec:
    """Everything that decides a result besides video and query.

    Attributes:
        model: a named checkpoint, a folder, or a hub id.
        revision: branch, tag or commit of a hub id.
        backend: name of the backend, or "distribution:backend"; None: the one that declares the architecture.
        load: how the model is loaded and how it computes.
        preset: "paper", "released", "fast" or "calibrated"; None: calibrated where the checkpoint has it, else paper.
        overrides: dotted setting names to values, on top of the preset.
        settings: complete settings, in place of preset and overrides.
        tracks: name of a tracker, "file:PATH", or "NAME:setting=value".
        decomposer: "rules", "mllm", "file:PATH", or the name of an installed one.
        extensions: names of installed extensions that wrap the backend's hooks (or extensions), the outermost first.

    Raises:
        UsageError: no model is named, or there are complete settings beside a preset or overrides.

    Examples:
        >>> spec = RunSpec("tiny:qwen2-vl", load=LoadOptions(dtype="float32"), overrides={"prompt.steps": 0})
        >>> spec.to_dict()
        {'model': 'tiny:qwen2-vl', 'dtype': 'float32', 'set': {'prompt.steps': 0}}
        >>> RunSpec.from_dict(spec.to_dict()) == spec
        True
    """

    model: str
    revision: str | None = None
    backend: str | None = None
    load: LoadOptions = field(default_factory=LoadOptions)
    preset: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict, hash=False)
    settings: Settings | None = field(default=None, hash=False)
    tracks: str = DEFAULT_TRACKER
    decomposer: str = DEFAULT_DECOMPOSER
    extensions: "tuple[str | HookExtension, ...]" = ()

    def __post_init__(self) -> None:
        """Check what excludes each other; names are resolved when the model is opened."""
        if not self.model:
            raise UsageError("expected the name of a model, got none; name one of stvg models, a folder, or a hub id")
        for name, value, kind in (
            ("model", self.model, str),
            ("overrides", self.overrides, Mapping),
            ("settings", self.settings, Settings | None),
            ("tracks", self.tracks, str),
            ("decomposer", self.decomposer, str),
            ("extensions", self.extensions, tuple),
        ):
            if not isinstance(value, kind):
                wanted = getattr(kind, "__name__", "Settings")
                raise UsageError(f"expected a run's {name} as {wanted}, got {one_line(repr(value), 60)}")
        if self.settings is not None and (self.preset is not None or self.overrides):
            raise UsageError("expected settings, or a preset with overrides, got both; leave one of them out")

    @classmethod
    def of(cls, model: str | Path, **options: Unpack[RunOptions]) -> "RunSpec":
        """Return the spec of a model and flat options.

        Raises:
            UsageError: a value is not possible.

        >>> RunSpec.of("tiny:qwen2-vl", dtype="float32", overrides={"prompt.steps": 0}).load.dtype
        'float32'
        """
        values: dict[str, Any] = dict(options)
        load = LoadOptions(**{name: values.pop(name) for name in _LOAD_OPTIONS if name in values})
        if unknown := sorted(values.keys() - RunOptions.__annotations__.keys()):
            raise TypeError(
                f"unexpected option {unknown[0]!r}; expected one of {', '.join(RunOptions.__annotations__)}"
            )
        overrides = values.pop("overrides", None) or {}
        extensions = values.pop("extensions", ())
        if isinstance(extensions, list):
            extensions = tuple(extensions)
        model = str(model) if isinstance(model, Path) else model
        return cls(model, load=load, overrides=overrides, extensions=extensions, **values)

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as a flat table of JSON values, without what is at its default.

        Raises:
            UsageError: an extension is an object; only names can be written down.
        """
        if unnamed := [one for one in self.extensions if not isinstance(one, str)]:
            raise UsageError(f"expected names of installed extensions, got {unnamed[0].name!r} as an object")
        defaults = RunSpec(self.model)
        table: dict[str, Any] = {"model": self.model}
        table |= {
            name: getattr(self, name)
            for name in ("revision", "backend", "preset", "tracks", "decomposer")
            if getattr(self, name) != getattr(defaults, name)
        }
        table |= {name: value for name, value in asdict(self.load).items() if value != getattr(defaults.load, name)}
        table |= {"set": dict(self.overrides)} if self.overrides else {}
        table |= {"settings": self.settings.model_dump(mode="json")} if self.settings is not None else {}
        return table | ({"extensions": list(self.extensions)} if self.extensions else {})

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> "RunSpec":
        """Return the spec of a table, such as one of a TOML file.

        Args:
            table: `model`, and any other field; load options are flat, overrides are called `set`.

        Raises:
            UsageError: a name is unknown or a value is not possible.
        """
        given = {name: value for name, value in table.items() if name not in _LOAD_OPTIONS}
        try:
            load = _LOAD.validate_python({name: table[name] for name in _LOAD_OPTIONS if name in table})
            values = _Table.model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            name = one_line(".".join(str(part) for part in first["loc"]), _MAXIMUM_ERROR_CHARACTERS)
            shown = one_line(repr(first["input"]), _MAXIMUM_ERROR_CHARACTERS)
            raise UsageError(
                f"expected a run's {name} as docs/compare.md describes it, got {shown}: {first['msg']}"
            ) from error
        given = {name: getattr(values, name) for name in values.model_fields_set}
        return cls(load=load, overrides=given.pop("set", {}), **given)


_LOAD: Final = TypeAdapter(LoadOptions)


class _Table(BaseModel):
    """A run as TOML and JSON hold it, without the load options."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(min_length=1)
    revision: str | None = None
    backend: str | None = None
    preset: str | None = None
    set: dict[str, Any] = Field(default_factory=dict)
    settings: Settings | None = None
    tracks: str = DEFAULT_TRACKER
    decomposer: str = DEFAULT_DECOMPOSER
    extensions: tuple[str, ...] = ()


def read_run_tables(path: Path) -> tuple[dict[str, Any], ...]:
    """Return the `[[run]]` tables of a TOML file, for `RunSpec.from_dict`.

    Raises:
        UsageError: the file cannot be read, is no TOML, or holds anything else.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"expected a TOML file of runs, but {path} cannot be read: {error.strerror or error}"
        ) from error
    except ValueError as error:
        raise UsageError(
            f"expected a TOML file of runs in {path}, but it is no valid TOML: {one_line(str(error))}"
        ) from error
    runs = content.pop("run", [])
    if content or not isinstance(runs, list) or not all(isinstance(run, dict) for run in runs):
        raise UsageError(f"expected [[run]] tables alone in {path}, got {one_line(', '.join(content) or repr(runs))}")
    if not 1 <= len(runs) <= MAXIMUM_RUNS:
        raise UsageError(f"expected 1 to {MAXIMUM_RUNS} [[run]] tables in {path}, got {len(runs)}")
    return tuple(runs)
