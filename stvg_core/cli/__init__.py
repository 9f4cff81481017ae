"""The command `stvg`: arguments in, the Python API in the middle, text or JSON out.

Nothing heavy is imported before a command needs it, so that `stvg --help` and the listings
answer at once. Exit codes: 0 done, 2 wrong usage, 1 anything else, with one line on stderr.
"""

import sys

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

app = typer.Typer(
    name="stvg",
    help="Zero-shot spatio-temporal video grounding: a video and a sentence in, a tube out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("ground")(ground.ground)
app.command("attend")(attend.attend)
app.command("decompose")(decompose.decompose)
app.command("plugins")(plugins.plugins)
app.command("models")(listing.models)
app.command("doctor")(doctor.doctor)
app.command("compare")(compare.compare)
app.command("ablate")(ablate.ablate)
app.command("evaluate")(evaluate.evaluate)
app.command("score")(score.score)
app.add_typer(runs.app, name="runs")
app.command("export")(export.export)
app.command("tracks")(tracks.tracks)
app.command("view")(view.view)
app.command("new-backend")(new_backend.new_backend)
app.add_typer(dataset.app, name="dataset")
app.command("conformance")(conformance.conformance)

_DEBUG = "--debug"


@app.callback()
def _options(plugin: PluginFileOption = None) -> None:
    """Zero-shot spatio-temporal video grounding: a video and a sentence in, a tube out.

    Add --debug to any command for a traceback where it fails.
    """


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
