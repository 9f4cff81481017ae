"""The command `stvg`: arguments in, the Python API in the middle, text or JSON out.

Nothing heavy is imported before a command needs it, so that `stvg --help` and the listings
answer at once. Exit codes: 0 done, 2 wrong usage, 1 anything else, with one line on stderr.
"""

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from stvg_core.cli import (
    ablate,
    attend,
    compare,
    conformance,
    dataset,
    decompose,
    demo,
    doctor,
    evaluate,
    export,
    ground,
    listing,
    new_backend,
    plugins,
    runs,
    score,
    tracks,
    view,
)
from stvg_core.cli.plugin_files import NAMED_FILES, PluginFileOption
from stvg_core.cli.terminal import one_line
from stvg_core.errors import StvgError, UsageError

_DEBUG = "--debug"

app = typer.Typer(
    name="stvg",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Of rich's markup nothing but emphasis would be used, and it swallows everything in square brackets.
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
_GROUPS: dict[str, tuple[tuple[str, Callable[..., None] | typer.Typer], ...]] = {
    "Ground": (
        ("demo", demo.demo),
        ("ground", ground.ground),
        ("attend", attend.attend),
        ("decompose", decompose.decompose),
        ("tracks", tracks.tracks),
        ("view", view.view),
    ),
    "Evaluate": (
        ("evaluate", evaluate.evaluate),
        ("compare", compare.compare),
        ("ablate", ablate.ablate),
        ("score", score.score),
        ("export", export.export),
        ("runs", runs.app),
        ("dataset", dataset.app),
    ),
    "Plugins": (("plugins", plugins.plugins), ("models", listing.models), ("doctor", doctor.doctor)),
    "Develop": (("new-backend", new_backend.new_backend), ("conformance", conformance.conformance)),
}
for _group, _commands in _GROUPS.items():
    for _name, _command in _commands:
        if isinstance(_command, typer.Typer):
            app.add_typer(_command, name=_name, rich_help_panel=_group)
        else:
            app.command(_name, rich_help_panel=_group)(_command)


def _print_version(value: bool | None) -> None:
    if value:
        import stvg_core

        typer.echo(f"stvg {stvg_core.__version__}")
        raise typer.Exit


@app.callback(epilog="Add --debug to any command for a traceback when it fails.")
def _options(
    plugin: PluginFileOption = None,
    version: Annotated[
        bool | None,
        typer.Option("--version", help="print the version", callback=_print_version, is_eager=True),
    ] = None,
) -> None:
    """Zero-shot spatio-temporal video grounding: a video and a sentence in, a tube out."""


def main() -> None:
    """Run the command line, and turn every failure into one line and an exit code."""
    arguments = sys.argv[1:]
    debug = _DEBUG in arguments
    arguments = [argument for argument in arguments if argument != _DEBUG]
    try:
        with NAMED_FILES:
            app(args=arguments, prog_name="stvg")
    except UsageError as error:
        _fail(error, 2, debug)
    except StvgError as error:
        _fail(error, 1, debug)
    except Exception as error:  # noqa: BLE001  # the last door: a defect is one line too, unless asked for more
        defect = RuntimeError(f"internal error, {type(error).__name__}: {error}; run again with {_DEBUG} and report it")
        defect.__cause__ = error
        _fail(defect, 1, debug)


def _fail(error: Exception, code: int, debug: bool) -> None:
    if debug:
        raise error
    sys.stderr.write(f"error: {one_line(str(error))}\n")
    sys.exit(code)
