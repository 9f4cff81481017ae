"""The options that describe a run, the same for every command that opens a model; they make a RunSpec."""

import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from stvg_core.cli.plugin_files import PluginFileOption
from stvg_core.errors import UsageError

if TYPE_CHECKING:
    from stvg_core.api.run_spec import RunSpec

_MODEL_HELP: Final = "named checkpoint (stvg models), folder, or hub id"
_PRESET_HELP: Final = "paper, released, fast or calibrated"
_PRESET_DEFAULT: Final = "calibrated if the checkpoint has it, else paper"

ModelOption = Annotated[str, typer.Option("--model", "-m", help=_MODEL_HELP, show_default=False)]
PresetOption = Annotated[str | None, typer.Option("--preset", help=_PRESET_HELP, show_default=_PRESET_DEFAULT)]
ModelsOption = Annotated[list[str], typer.Option("--model", "-m", help=f"{_MODEL_HELP}; repeatable")]
PresetsOption = Annotated[
    list[str], typer.Option("--preset", help=f"{_PRESET_HELP}; repeatable", show_default=_PRESET_DEFAULT)
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="change one setting, such as --set prompt.steps=0; repeatable")
]
TracksOption = Annotated[
    str, typer.Option("--tracks", help="tracker that proposes objects, NAME:setting=value, or file:PATH")
]
DecomposerOption = Annotated[
    str, typer.Option("--decomposer", help="splits the query: rules, mllm, file:PATH, or an installed one")
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, or cuda:1")]
DtypeOption = Annotated[str, typer.Option("--dtype", help="auto, float32, bfloat16, or float16")]
RevisionOption = Annotated[str | None, typer.Option("--revision", help="branch, tag or commit of a hub id")]
BackendOption = Annotated[
    str | None,
    typer.Option(
        "--backend",
        help="backend, or DISTRIBUTION:BACKEND",
        show_default="the one that declares the model's architecture",
    ),
]


def _options(
    model: ModelOption,
    preset: PresetOption = None,
    setting: SetOption = None,
    tracks: TracksOption = "regions",
    decomposer: DecomposerOption = "rules",
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    revision: RevisionOption = None,
    device_map: Annotated[
        str | None, typer.Option("--device-map", help="spread over devices: auto, balanced, or sequential")
    ] = None,
    quantization: Annotated[
        str | None, typer.Option("--quantization", help="8bit or 4bit weights; needs the extra quantization")
    ] = None,
    attn_implementation: Annotated[
        str, typer.Option("--attn-implementation", help="attention kernel: auto, sdpa, eager, or flash_attention_2")
    ] = "auto",
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="use deterministic algorithms only: the same bits on every run")
    ] = False,
    recompute: Annotated[
        str, typer.Option("--recompute", help="recompute in gradient steps to save memory: auto, none, mlp, or layer")
    ] = "auto",
    cuda_graphs: Annotated[
        str, typer.Option("--cuda-graphs", help="on CUDA, record recurring passes and replay them: auto or off")
    ] = "auto",
    backend: BackendOption = None,
    plugin: PluginFileOption = None,  # its callback does the work
    extension: Annotated[
        list[str] | None,
        typer.Option("--extension", help="installed extension that wraps the hooks, the outermost first; repeatable"),
    ] = None,
) -> None:
    """Hold the options' annotations and defaults."""


_OPTIONS: Final = inspect.signature(_options).parameters


def with_run_spec(*, without: Sequence[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of a run in place of its argument `spec`.

    Args:
        without: options that mean nothing to the command; they keep their defaults.
    """
    options = {name: option for name, option in _OPTIONS.items() if name not in without}

    def make(values: dict[str, Any]) -> dict[str, Any]:
        return {"spec": run_spec(**{name: values.pop(name) for name in options})}

    return _replaced("spec", options, make)


def with_run_specs(
    *, without: Sequence[str] = (), several_presets: bool = True
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of several runs in place of its argument `specs`: one per --model and --preset.

    Args:
        without: options that mean nothing to the command.
        several_presets: whether --preset is repeatable too.
    """
    options = {name: option for name, option in _OPTIONS.items() if name not in without}
    options["model"] = options["model"].replace(annotation=ModelsOption, default=[])
    if several_presets and "preset" in options:
        options["preset"] = options["preset"].replace(annotation=PresetsOption, default=[])

    def make(values: dict[str, Any]) -> dict[str, Any]:
        given = {name: values.pop(name) for name in options}
        ignored = [name for name, option in options.items() if given[name] not in (option.default, [], ())]
        if not given["model"] and (ignored := [name for name in ignored if name != "plugin"]):
            words = "--" + {"setting": "set"}.get(ignored[0], ignored[0]).replace("_", "-")
            raise UsageError(
                f"expected --model beside {words}, got none; finished runs and files of runs say it themselves"
            )
        models, presets = given.pop("model"), given.pop("preset", None)
        presets = list(presets) or [None] if isinstance(presets, list | tuple) else [presets]
        return {"specs": tuple(run_spec(model, preset=preset, **given) for model in models for preset in presets)}

    return _replaced("specs", options, make)


def run_spec(model: str, **values: Any) -> "RunSpec":  # noqa: ANN401  # the options above
    """Return the spec of options' values; those that are missing have their defaults.

    Raises:
        UsageError: a value is not possible, or options exclude each other.
    """
    # Imported late: no command waits for what it does not need.
    from stvg_core.api.run_spec import RunSpec

    values.pop("plugin", None)  # its callback did the work
    overrides = parse_overrides(values.pop("setting", None) or [])
    extensions = tuple(values.pop("extension", None) or ())
    named = {"tracks": values.pop("tracks")} if "tracks" in values else {}
    return replace(RunSpec.of(model, overrides=overrides, extensions=extensions, **values), **named)


def parse_overrides(settings: Sequence[str]) -> dict[str, Any]:
    """Return dotted names and values of `name=value` texts; values are JSON where they can be.

    Raises:
        UsageError: a text is not name=value.

    >>> parse_overrides(["prompt.steps=0", "spatial.tokens.rule=mean"])
    {'prompt.steps': 0, 'spatial.tokens.rule': 'mean'}
    """
    overrides: dict[str, Any] = {}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"expected --set name=value, got {text!r}; for example --set prompt.steps=0")
        try:
            overrides[name.strip()] = json.loads(value)
        except ValueError:
            overrides[name.strip()] = value
    return overrides


def _replaced(
    argument: str, options: dict[str, inspect.Parameter], make: Callable[[dict[str, Any]], dict[str, Any]]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def run(**values: Any) -> None:  # noqa: ANN401  # whatever the command takes
            made = make(values)
            command(**values, **made)

        parameters: list[inspect.Parameter] = []
        for name, parameter in inspect.signature(command).parameters.items():
            parameters += options.values() if name == argument else [parameter]
        parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
        # typer reads a command's arguments from its signature and annotations.
        run.__name__, run.__doc__, run.__module__ = command.__name__, command.__doc__, command.__module__
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate
