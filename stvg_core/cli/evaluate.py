"""`stvg evaluate`: a data set and a model in, a resumable run out."""

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
from stvg_core.cli.run_options import with_run_spec
from stvg_core.cli.terminal import one_line, table_lines
from stvg_core.errors import RunError

if TYPE_CHECKING:
    from stvg_core.api.run_spec import RunSpec
    from stvg_core.evaluation.runs.evaluation import Step

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="folder that stvg evaluate wrote to")]
ProtocolOption = Annotated[
    str, typer.Option("--protocol", help="scoring protocol (see stvg score); stvg score --run can apply another later")
]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON document and nothing else")]
KeepMapsOption = Annotated[
    bool,
    typer.Option(
        "--keep-maps/--no-keep-maps",
        help="keep attention maps for the pages of stvg view, some kilobytes per sample; results are the same",
    ),
]
DEFAULT_PROTOCOL = "stcat"
_PERCENT = 100.0
_MOST_KINDS = 10


@with_run_spec()
def evaluate(
    dataset: DatasetArgument,
    root: RootOption,
    run: Annotated[Path, typer.Option("--run", help="folder of the run; resumed if it exists")],
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="only the first N samples")] = None,
    shard: Annotated[
        str | None, typer.Option("--shard", help="one shard, such as 1/8; stvg runs merge joins shards")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="retry samples that failed in an earlier session")
    ] = False,
    engine: Annotated[str, typer.Option("--engine", help="local, or ray (pip install stvg-ray)")] = "local",
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="parallel models (engine ray)", show_default="one per device")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option("--ray-address", help="cluster to join, such as auto", show_default="this machine"),
    ] = None,
    keep_maps: KeepMapsOption = False,
    protocol: ProtocolOption = DEFAULT_PROTOCOL,
    split: SplitOption = None,
    annotations: AnnotationsOption = None,
    video_root: VideoRootOption = None,
    no_corrections: CorrectionsOption = False,
    as_json: JsonOption = False,
    *,
    spec: "RunSpec",
) -> None:
    """Ground every sample of a data set, and score the run; the same command resumes it."""
    from stvg_core.evaluation.api import evaluate as start
    from stvg_core.evaluation.runs.engine import EngineChoice

    with _bar() as (on_stage, on_step):
        result = start(
            dataset,
            root,
            model=spec,
            run=run,
            split=split,
            annotations=annotations,
            video_root=video_root,
            limit=limit,
            shard=shard,
            corrections=not no_corrections,
            retry_failed=retry_failed,
            keep_maps=keep_maps,
            protocol=protocol,
            engine=EngineChoice(engine, workers, address),
            on_stage=on_stage,
            on_step=on_step,
        )
    summary = dict(result.summary)
    if as_json:
        # ASCII alone: no character of a foreign name can steer a terminal.
        typer.echo(json.dumps(summary, allow_nan=False))
    else:
        for line in summary_lines(summary):
            typer.echo(line)
    tell_failures(summary)


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """Return the summary of a run as lines of text."""
    configuration, samples = summary["configuration"] or {}, summary["samples"]
    dataset, model = configuration.get("dataset", {}), configuration.get("model", {})
    selection = [f"{name} {value}" for name, value in summary["selection"].items() if value is not None]
    left_out = f", {samples['left_out']} left out as known defects" if samples["left_out"] else ""
    rows = [
        ("run", summary["run"]),
        ("data set", ", ".join([f"{dataset.get('name')}, split {dataset.get('split')}", *selection])),
        ("model", f"{model.get('id')} through {model.get('distribution')} {model.get('version')}"),
        ("samples", f"{samples['ok']} done, {samples['failed']} failed, {samples['pending']} pending{left_out}"),
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
        rows.append(("waiting", f"{_PERCENT * summary['device_wait_share']:.1f} % of the time for frames"))
    lines = table_lines(rows)
    lines += [f"warning   {one_line(warning)}" for warning in summary["warnings"]]
    return lines


def tell_failures(summary: dict[str, Any]) -> None:
    """Print each kind of failure with one example, and raise if there is one.

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
            f"stvg export {run} --format table --out failures.csv lists all; fix them and add --retry-failed"
        )


@contextmanager
def _bar() -> "Iterator[tuple[Callable[[str], None], Callable[[Step], None]]]":
    """Show stage, progress, time left, running m_vIoU and failures on stderr, if it is a terminal."""
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
