"""Evaluates the rows of a comparison one after another, in child processes that give all memory back when they end.

Rows that follow one another with the same model share a process and the loaded model, until one fails.
"""

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

from stvg_core._internal.plain_text import one_line
from stvg_core.api.run_spec import RunSpec
from stvg_core.errors import OutputError, RunError
from stvg_core.evaluation.comparison.rows import ComparisonRow, Source
from stvg_core.evaluation.runs.scoring import summarize_run
from stvg_core.evaluation.runs.store import RunStore
from stvg_core.metrics import ScoringProtocol
from stvg_core.outputs.report.staging import own_errors

RUNS: Final = "runs"
TRACKS: Final = "tracks"
LOG_NAME: Final = "log.txt"
OUTCOME_NAME: Final = "row.json"
_CHILD: Final = ("-m", "stvg_core.evaluation.comparison.row_process")
_POLL_SECONDS: Final = 0.5
_END_SECONDS: Final = 30
_LONGEST_REASON: Final = 1000


@dataclass(frozen=True)
class RowRun:
    """The run of a row.

    Attributes:
        row: of the comparison.
        run: its run folder.
        summary: what `stvg evaluate --json` prints; None where the run could not start or finish.
        error: why, on one line; empty where there is a summary.
    """

    row: ComparisonRow
    run: Path
    summary: dict[str, Any] | None
    error: str = ""


def finished_run(row: ComparisonRow, run: Path, protocol: ScoringProtocol) -> RowRun:
    """Return the run in a folder, which may come from anywhere.

    Raises:
        RunError: there is no run, or it cannot be read.
    """
    summary = summarize_run(run, protocol)
    try:
        json.dumps(summary, allow_nan=False)
        sound = isinstance((summary["configuration"] or {"settings": {}})["settings"], dict)
    except (KeyError, TypeError, ValueError):
        sound = False
    if not sound:
        raise RunError(f"expected a run of stvg evaluate in {run}, got a damaged configuration; evaluate it again")
    return RowRun(row, run, summary)


def read_run(run: Path, protocol: ScoringProtocol, name: str = "") -> RowRun:
    """Return the run in a folder, with a row of its name, or else its model's, made from its configuration.

    Raises:
        RunError: there is no run, it has not begun, or it cannot be read.
    """
    found = finished_run(ComparisonRow(name, RunSpec("unknown")), run, protocol)
    configuration = (found.summary or {})["configuration"]
    if configuration is None:
        raise RunError(f"expected a finished run in {run}, got one that has not begun; evaluate it")
    model = configuration.get("model")
    identifier = model.get("id") if isinstance(model, dict) else None
    identifier = one_line(identifier, _LONGEST_REASON) if isinstance(identifier, str) else ""
    return replace(found, row=ComparisonRow(name or identifier or "run", RunSpec(identifier or "unknown")))


def existing_run(row: ComparisonRow, out: Path, protocol: ScoringProtocol) -> RowRun:
    """Return the run of a row in a comparison's folder, as far as it is; nothing is evaluated."""
    run = out / RUNS / row.folder
    try:
        return finished_run(row, run, protocol)
    except (RunError, OutputError) as error:
        return RowRun(row, run, None, one_line(str(error), _LONGEST_REASON))


def evaluate_rows(
    rows: Sequence[ComparisonRow],
    source: Source,
    out: Path,
    protocol: ScoringProtocol,
    *,
    retry_failed: bool = False,
    keep_maps: bool = False,
    on_row: Callable[[ComparisonRow, int], None] | None = None,
    on_count: Callable[[int, int], None] | None = None,
) -> Iterator[RowRun]:
    """Evaluate rows into `runs/` of a folder, each resumed if its run exists, and yield the run of each.

    Arguments are those of `compare`; keep_maps: runs store attention maps, for pages and controls.

    Raises:
        OutputError: the folder cannot be written to.
    """
    options = {
        "stvg_core": importlib.metadata.version("stvg-core"),
        # Results name their videos by paths that do not depend on the current folder.
        "source": {name: value.resolve() if isinstance(value, Path) else value for name, value in vars(source).items()},
        "protocol": protocol.name,
        "retry_failed": retry_failed,
        "keep_maps": keep_maps,
        "tracks_folder": out.resolve() / TRACKS,
    }
    done = 0
    while done < len(rows):
        first = rows[done]
        group = [(row, out / RUNS / row.folder) for row in takewhile(first.shares_model, rows[done:])]
        for _, run in group:
            with own_errors(run):
                run.mkdir(parents=True, exist_ok=True)
                (run / LOG_NAME).write_bytes(b"")
                (run / OUTCOME_NAME).unlink(missing_ok=True)
        jobs = [{"run": run.resolve(), "spec": row.spec.to_dict()} for row, run in group]
        with _child(first.python or sys.executable, options | {"rows": jobs}, group[0][1] / LOG_NAME) as process:
            for row, run in group:
                if on_row is not None:
                    on_row(row, done)
                error_text = _wait(process, row, run, on_count)
                done += 1
                yield RowRun(row, run, None, error_text) if error_text else finished_run(row, run, protocol)
                if error_text:
                    break


@contextmanager
def _child(python: str, job: dict[str, Any], log: Path) -> "Iterator[subprocess.Popen[str] | None]":
    """Start a process that evaluates rows, and end it on leaving; None where there is no such interpreter."""
    try:
        with log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603  # our own command line; the user named the interpreter
                [python, *_CHILD], stdin=subprocess.PIPE, stdout=output, stderr=output, text=True
            )
    except OSError:
        yield None
        return
    try:
        with suppress(BrokenPipeError):
            # Left open: the child stops when this process is gone, however that ended.
            process.stdin.write(json.dumps(job, default=str) + "\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_END_SECONDS)
        process.kill()
        process.wait()
        with suppress(OSError):
            process.stdin.close()  # type: ignore[union-attr]


def _wait(
    process: "subprocess.Popen[str] | None",
    row: ComparisonRow,
    run: Path,
    on_count: Callable[[int, int], None] | None,
) -> str:
    """Return why a row failed, on one line, once it has ended; empty where it did not."""
    if process is None:
        return f"cannot start {row.python or sys.executable}; check the row's python"
    while True:
        code = process.poll()
        with suppress(OSError, ValueError):
            outcome = json.loads((run / OUTCOME_NAME).read_text(encoding="utf-8"))
            if isinstance(outcome, dict):
                return one_line(str(outcome.get("error", "")), _LONGEST_REASON)
        if code is not None:
            return one_line(_reason(run / LOG_NAME, code, row.python or sys.executable), _LONGEST_REASON)
        if on_count is not None:
            on_count(*_counts(run))
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_POLL_SECONDS)


def _counts(run: Path) -> tuple[int, int]:
    """Return how many samples of a run that is being evaluated are done, and of how many."""
    try:
        with RunStore(run, write=False) as store:
            counts = store.counts()
    except (RunError, OutputError):
        # Not begun, or just being written.
        return 0, 0
    return counts["ok"] + counts["failed"], sum(counts.values())


def _reason(log: Path, code: int, python: str) -> str:
    """Return why a process ended without an outcome."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    if lines and "No module named" in lines[-1] and "stvg_core" in lines[-1]:
        version = importlib.metadata.version("stvg-core")
        return (
            f"expected stvg-core {version} in the environment of {python}, got none or an older one; install "
            f"stvg-core=={version} there"
        )
    ended = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    return f"the process ended with {ended}: {lines[-1] if lines else 'it printed nothing'}"
