"""Runs the rows of a comparison one after another, each in a process of its own.

A process that ends gives all its memory back, whatever its model held, and one that fails is a row with its reason.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stvg_core.comparison.rows import ComparisonRow
from stvg_core.comparison.source import Source
from stvg_core.errors import OutputError, RunError
from stvg_core.plain_text import one_line
from stvg_core.runs.store import RunStore

RUNS: Final = "runs"
LOG_NAME: Final = "log.txt"
_LOOK_SECONDS: Final = 0.5
_LONGEST_REASON: Final = 1000


@dataclass(frozen=True)
class RowRun:
    """What came of a row.

    Attributes:
        row: which one.
        run: its run folder.
        summary: what `stvg evaluate --json` printed; None where the run could not start or go on.
        error: why, on one line; empty where there is a summary.
    """

    row: ComparisonRow
    run: Path
    summary: dict[str, Any] | None
    error: str = ""


def run_row(
    row: ComparisonRow,
    source: Source,
    out: Path,
    protocol: str,
    *,
    retry_failed: bool = False,
    keep_maps: bool = False,
    on_count: Callable[[int, int], None] | None = None,
) -> RowRun:
    """Run one row to its end, or go on with it.

    Args:
        row: the model and its settings.
        source: the samples.
        out: folder of the comparison; the run lies in it.
        protocol: whose rules the summary follows.
        retry_failed: samples that failed are tried again.
        keep_maps: the run keeps attention maps, for pages.
        on_count: told how many samples are done, and of how many, while it runs.

    Raises:
        OutputError: the folder cannot be written to.
    """
    run = out / RUNS / row.folder
    command = [
        *(row.python or sys.executable, "-m", "stvg_core", "evaluate"),
        *source.arguments(),
        *row.arguments(),
        *("--run", str(run.resolve()), "--protocol", protocol, "--json"),
        *(["--retry-failed"] if retry_failed else []),
        *(["--keep-maps"] if keep_maps else []),
    ]
    try:
        run.mkdir(parents=True, exist_ok=True)
        log = (run / LOG_NAME).open("w+", encoding="utf-8", errors="replace")
        answer = (run / "answer.json").open("w+", encoding="utf-8", errors="replace")
    except OSError as error:
        raise OutputError(f"cannot write to {run}: {error.strerror}; choose another folder with --out") from error
    with log, answer:
        try:
            process = subprocess.Popen(  # noqa: S603  # our own command line; the user named the interpreter
                command, stdin=subprocess.DEVNULL, stdout=answer, stderr=log
            )
        except OSError as error:
            return RowRun(row, run, None, f"cannot start {row.python}: {error.strerror}; check the row's python")
        try:
            while process.poll() is None:
                time.sleep(_LOOK_SECONDS)
                if on_count is not None:
                    on_count(*_counts(run))
        finally:
            # Ctrl-C reaches the child as well; it gives its claims back and ends by itself.
            _end(process)
        answer.seek(0)
        log.seek(0)
        printed, said = answer.read(), log.read()
    (run / "answer.json").unlink(missing_ok=True)
    try:
        return RowRun(row, run, dict(json.loads(printed)))
    except ValueError:
        return RowRun(row, run, None, _reason(said, process.returncode))


def _counts(run: Path) -> tuple[int, int]:
    """Return how many samples of a run that goes on are done, and of how many."""
    try:
        with RunStore(run, write=False) as store:
            counts = store.counts()
    except (RunError, OutputError):
        # Not begun, or just being written.
        return 0, 0
    return counts["ok"] + counts["failed"], sum(counts.values())


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _reason(said: str, code: int) -> str:
    """Return the error line of a run that printed no summary."""
    lines = [line for line in said.splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if errors:
        return one_line(errors[-1], _LONGEST_REASON)
    ended = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    return one_line(f"the run ended with {ended}: {lines[-1] if lines else 'it said nothing'}", _LONGEST_REASON)
