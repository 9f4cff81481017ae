"""The options of every command that opens a model: how it is loaded, by which backend, wrapped by what."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from stvg_core.cli.plugin_files import PluginFileOption

if TYPE_CHECKING:
    from stvg_core.plugin.model_reference import LoadOptions

DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1")]
DtypeOption = Annotated[str, typer.Option("--dtype", help="auto, float32, bfloat16, float16")]
RecomputeOption = Annotated[
    str, typer.Option("--recompute", help="what gradient steps compute twice to save memory: auto, none, mlp, layer")
]
CudaGraphsOption = Annotated[
    str, typer.Option("--cuda-graphs", help="on CUDA, record passes that recur and replay them whole: auto, off")
]
BackendOption = Annotated[
    str | None, typer.Option("--backend", help="backend, or DISTRIBUTION:BACKEND, where several handle the model")
]
_ARGUMENT: Final = "opening"


@dataclass(frozen=True)
class Opening:
    """What these options say.

    Attributes:
        options: how the model is loaded, and how it computes.
        revision: of a hub id.
        backend: the one that is asked for; None: the one that declares the architecture.
        extensions: names of wrappers around its hooks, the outermost first.
    """

    options: "LoadOptions"
    revision: str | None
    backend: str | None
    extensions: tuple[str, ...]


def _opening(
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    revision: Annotated[str | None, typer.Option("--revision", help="branch, tag or commit of a hub id")] = None,
    device_map: Annotated[
        str | None, typer.Option("--device-map", help="spread over devices: auto, balanced, sequential")
    ] = None,
    quantization: Annotated[
        str | None, typer.Option("--quantization", help="8bit or 4bit weights (stvg-huggingface[quantization])")
    ] = None,
    attention: Annotated[
        str, typer.Option("--attention", help="kernel: auto, sdpa, eager, flash_attention_2")
    ] = "auto",
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="only algorithms that give the same bits on every run")
    ] = False,
    recompute: RecomputeOption = "auto",
    cuda_graphs: CudaGraphsOption = "auto",
    backend: BackendOption = None,
    plugin: PluginFileOption = None,  # its callback has done what it is for
    extension: Annotated[
        list[str] | None,
        typer.Option("--extension", help="installed extension that wraps the hooks, the outermost first; repeatable"),
    ] = None,
) -> Opening:
    # Not above: no command is to wait for what it does not need.
    from stvg_core.plugin.model_reference import LoadOptions

    return Opening(
        LoadOptions(device, dtype, device_map, quantization, attention, deterministic, recompute, cuda_graphs),
        revision,
        backend,
        tuple(extension or ()),
    )


def opens_model(*left_out: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of opening a model, in the place of its keyword argument `opening`.

    Args:
        left_out: names of options that would mean nothing to the command; they stand at their defaults.
    """
    options = {name: option for name, option in inspect.signature(_opening).parameters.items() if name not in left_out}

    def give(command: Callable[..., None]) -> Callable[..., None]:
        def run(**given: Any) -> None:  # noqa: ANN401  # whatever the command takes
            opening = _opening(**{name: given.pop(name) for name in options})
            command(**given, **{_ARGUMENT: opening})

        parameters: list[inspect.Parameter] = []
        for name, parameter in inspect.signature(command).parameters.items():
            parameters += options.values() if name == _ARGUMENT else [parameter]
        parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
        # typer reads a command's arguments from its signature and annotations.
        run.__name__, run.__doc__, run.__module__ = command.__name__, command.__doc__, command.__module__
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return give
