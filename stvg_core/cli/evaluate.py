"""`stvg evaluate`: a data set, a model and a folder in; a run that can be gone on with out."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stvg_core.cli.dataset import (
    AnnotationsOption,
    CorrectionsOption,
    DatasetArgument,
    RootOption,
    SplitOption,
    VideoRootOption,
)
from stvg_core.cli.ground import (
    DecomposerOption,
    ModelOption,
    PresetOption,
    SetOption,
    TracksOption,
    read_overrides,
)
from stvg_core.cli.opening import Opening, opens_model
from stvg_core.cli.terminal import one_line, table_lines
from stvg_core.errors import RunError

if TYPE_CHECKING:
    from stvg_core.evaluation.runs.evaluation import Step

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="folder that stvg evaluate wrote to")]
ProtocolOption = Annotated[
    str, typer.Option("--protocol", help="whose rules the score follows; see stvg score; another can be asked later")
]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON document and nothing else")]
KeepMapsOption = Annotated[
    bool,
    typer.Option(
        "--keep-maps/--no-keep-maps",
        help="keep attention maps for the pages of stvg view, some kilobytes a sample; decides no result",
    ),
]
DEFAULT_PROTOCOL = "stcat"
_PERCENT = 100.0
_MOST_KINDS = 10


@opens_model()
def evaluate(
    dataset: DatasetArgument,
    root: RootOption,
    model: ModelOption,
    run: Annotated[Path, typer.Option("--run", help="folder of the run; gone on with where it is there")],
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="the first so many samples")] = None,
    shard: Annotated[
        str | None, typer.Option("--shard", help="one part of several, such as 1/8; stvg runs merge joins them")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="try samples again that failed in an earlier session")
    ] = False,
    engine: Annotated[str, typer.Option("--engine", help="local, or ray (pip install stvg-ray)")] = "local",
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="models at work (engine ray) [default: one per device]")
    ] = None,
    address: Annotated[
        str | None, typer.Option("--ray-address", help="cluster to join, such as auto [default: this machine]")
    ] = None,
    keep_maps: KeepMapsOption = False,
    protocol: ProtocolOption = DEFAULT_PROTOCOL,
    split: SplitOption = None,
    annotations: AnnotationsOption = None,
    video_root: VideoRootOption = None,
    no_corrections: CorrectionsOption = False,
    tracks: TracksOption = None,
    decomposer: DecomposerOption = None,
    preset: PresetOption = None,
    setting: SetOption = None,
    as_json: JsonOption = False,
    *,
    opening: Opening,
) -> None:
    """Ground every sample of a data set, and score it; run the same command again to go on after any stop."""
    overrides = read_overrides(setting or [])
    from stvg_core.api.grounder import DEFAULT_DECOMPOSER, DEFAULT_TRACKER
    from stvg_core.evaluation.runs import Selection, Shard
    from stvg_core.evaluation.runs.engine import EngineChoice
    from stvg_core.evaluation.runs.evaluation import ModelChoice
    from stvg_core.evaluation.runs.evaluation import evaluate as start
    from stvg_core.inputs.datasets import open_dataset
    from stvg_core.metrics import find_protocol

    rules = find_protocol(protocol)
    selection = Selection(limit, None if shard is None else Shard.parse(shard))
    engine_choice = EngineChoice(engine, workers, address)
    found = open_dataset(dataset, root, split=split, annotations=annotations, video_root=video_root)
    choice = ModelChoice(
        model,
        preset=preset,
        overrides=overrides,
        tracks=tracks or DEFAULT_TRACKER,
        decomposer=decomposer or DEFAULT_DECOMPOSER,
        options=opening.options,
        revision=opening.revision,
        backend=opening.backend,
        extensions=opening.extensions,
        keep_maps=keep_maps,
    )
    with _bar() as (on_stage, on_step):
        summary = start(
            found,
            run,
            choice,
            rules,
            selection=selection,
            corrections=not no_corrections,
            retry_failed=retry_failed,
            engine=engine_choice,
            on_stage=on_stage,
            on_step=on_step,
        )
    if as_json:
        # ASCII alone: no character of a foreign name can steer a terminal.
        typer.echo(json.dumps(summary, allow_nan=False))
    else:
        for line in summary_lines(summary):
            typer.echo(line)
    tell_failures(summary)


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """Return the summary of a run as lines for people."""
    configuration, samples = summary["configuration"] or {}, summary["samples"]
    dataset, model = configuration.get("dataset", {}), configuration.get("model", {})
    selection = [f"{name} {value}" for name, value in summary["selection"].items() if value is not None]
    left_out = f", {samples['left_out']} left out as known defects" if samples["left_out"] else ""
    rows = [
        ("run", summary["run"]),
        ("data set", ", ".join([f"{dataset.get('name')}, split {dataset.get('split')}", *selection])),
        ("model", f"{model.get('id')} through {model.get('distribution')} {model.get('version')}"),
        ("samples", f"{samples['ok']} done, {samples['failed']} failed, {samples['pending']} to do{left_out}"),
    ]
    if summary["score"]:
        means = ", ".join(f"{name} {_PERCENT * value:.2f}" for name, value in summary["score"]["summary"].items())
        scored = summary["score"]["counts"]
        rows.append(("score", f"{means} (percent, {summary['score']['protocol']})"))
        rows.append(("over", ", ".join(f"{count} {status}" for status, count in scored.items())))
    if summary["seconds_per_sample"]:
        seconds = summary["seconds_per_sample"]
        rows.append(("time", f"{seconds['median']:.2f} s a sample (median), {seconds['mean']:.2f} s (mean)"))
    if summary["device_wait_share"] is not None:
        rows.append(("waiting", f"{_PERCENT * summary['device_wait_share']:.1f} % of the time for pictures"))
    lines = table_lines(rows)
    lines += [f"warning   {one_line(warning)}" for warning in summary["warnings"]]
    return lines


def tell_failures(summary: dict[str, Any]) -> None:
    """Tell each kind of failure with one example, and end with an error where there is one.

    Raises:
        RunError: a sample failed.
    """
    failures, run = summary["failures"], one_line(summary["run"])
    for failure in failures[:_MOST_KINDS]:
        typer.echo(
            f"failed: {failure['count']} x {one_line(failure['kind'])}, such as {one_line(failure['sample'], 80)}: "
            f"{one_line(failure['error'])}",
            err=True,
        )
    if failures:
        samples = summary["samples"]
        raise RunError(
            f"expected every sample to be grounded, but {samples['failed']} failed and count as 0; "
            f"stvg runs export {run} --out failures.csv tells all; mend them and add --retry-failed"
        )


@contextmanager
def _bar() -> "Iterator[tuple[Callable[[str], None], Callable[[Step], None]]]":
    """Show stage, share done, time left, running m_vIoU and failures on stderr; nothing where it is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("stvg evaluate {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    stages = {"load": "loading the model", "samples": "reading the data set", "evaluate": ""}
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def on_stage(stage: str) -> None:
            bar.update(task, description=stages.get(stage, stage))

        def on_step(step: "Step") -> None:
            mean = "" if step.mean_video_iou is None else f"m_vIoU {_PERCENT * step.mean_video_iou:.1f}"
            failed = f" {step.failed} failed" if step.failed else ""
            bar.update(task, total=step.total, completed=step.done, description=mean + failed)

        yield on_stage, on_step
