"""Runs the rows of a comparison one after another, in processes of their own.

Rows that follow one another with the same model in the same environment share a process, and the loaded model. A
process that ends gives all its memory back, whatever its model held, and a row that fails has its reason.
"""

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from stvg_core._internal.plain_text import one_line
from stvg_core.errors import OutputError, RunError
from stvg_core.evaluation.comparison.environments import RowEnvironment, isolated_variables
from stvg_core.evaluation.comparison.row_process import greeting
from stvg_core.evaluation.comparison.rows import ComparisonRow
from stvg_core.evaluation.comparison.source import Source
from stvg_core.evaluation.runs.store import RunStore

RUNS: Final = "runs"
LOG_NAME: Final = "log.txt"
TRACKS: Final = "tracks"
_CHILD: Final = "from stvg_core.evaluation.comparison.row_process import main; main()"
_LOOK_SECONDS: Final = 0.5
_LONGEST_REASON: Final = 1000


@dataclass(frozen=True)
class RowRun:
    """What came of a row.

    Attributes:
        row: which one.
        run: its run folder.
        summary: what `stvg evaluate --json` prints; None where the run could not start or go on.
        error: why, on one line; empty where there is a summary.
        environment: the row's own environment, or None where it runs in another.
    """

    row: ComparisonRow
    run: Path
    summary: dict[str, Any] | None
    error: str = ""
    environment: RowEnvironment | None = None


class RowRunner:
    """Runs rows, and keeps the process of the last one for the next where that has the same model.

    A context manager that ends the process.
    """

    def __init__(
        self, source: Source, out: Path, protocol: str, *, retry_failed: bool = False, keep_maps: bool = False
    ) -> None:
        """Start nothing yet.

        Args:
            source: the samples.
            out: folder of the comparison; the runs lie in it.
            protocol: whose rules the summaries follow.
            retry_failed: samples that failed are tried again.
            keep_maps: runs keep attention maps, for pages.
        """
        self._source = source
        self._out = out
        self._protocol = protocol
        self._retry_failed = retry_failed
        self._keep_maps = keep_maps
        self._process: _RowProcess | None = None
        self._serves: object = None

    def __enter__(self) -> "RowRunner":
        """Return the runner."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process, if there is one."""
        # Ctrl-C reaches the child as well; it gives its claims back and ends by itself.
        self._end()

    def failed(self, row: ComparisonRow, reason: str, environment: RowEnvironment | None = None) -> RowRun:
        """Return a row that cannot run."""
        return RowRun(row, self._folder(row), None, one_line(reason, _LONGEST_REASON), environment)

    def run(
        self,
        row: ComparisonRow,
        environment: RowEnvironment | None = None,
        on_count: Callable[[int, int], None] | None = None,
    ) -> RowRun:
        """Run one row to its end, or go on with it.

        Args:
            row: the model and its settings.
            environment: made for it; None: the row's python, or this one.
            on_count: told how many samples are done, and of how many, while it runs.

        Raises:
            OutputError: the folder cannot be written to.
        """
        run = self._folder(row)
        log = run.resolve() / LOG_NAME
        try:
            run.mkdir(parents=True, exist_ok=True)
            log.write_bytes(b"")
        except OSError as error:
            raise OutputError(f"cannot write to {run}: {error.strerror}; choose another folder with --out") from error
        python = row.python or sys.executable if environment is None else environment.python
        wanted = (python, environment is None, row.model, row.backend, row.device, row.dtype)
        if self._process is not None and self._serves != wanted:
            self._end()
        try:
            if self._process is None:
                self._process, self._serves = _RowProcess(python, log, isolated=environment is not None), wanted
            job = {
                "run": str(run.resolve()),
                "log": str(log),
                "row": row.job(),
                "source": self._source.job(),
                "tracks_folder": str(self._out.resolve() / TRACKS),
                "protocol": self._protocol,
                "retry_failed": self._retry_failed,
                "keep_maps": self._keep_maps,
            }
            answer = self._process.ask(job, lambda: on_count and on_count(*_counts(run)))
        except OSError as error:
            return self.failed(row, f"cannot start {python}: {error.strerror}; check the row's python", environment)
        except RunError as error:
            self._end()
            return self.failed(row, str(error), environment)
        if "summary" in answer:
            return RowRun(row, run, answer["summary"], environment=environment)
        self._end()
        return self.failed(row, str(answer.get("error", "it answered without a summary")), environment)

    def _folder(self, row: ComparisonRow) -> Path:
        return self._out / RUNS / row.folder

    def _end(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None


class _RowProcess:
    """A process that answers jobs, as `row_process` says."""

    def __init__(self, python: str, log: Path, *, isolated: bool) -> None:
        """Start it.

        Args:
            python: its interpreter.
            log: what it says before its first job goes here.
            isolated: it imports from its environment alone, not from the working folder or PYTHONPATH.

        Raises:
            OSError: there is no such interpreter.
        """
        self._python = python
        self._greeted = False
        with log.open("ab") as file:
            self._process = subprocess.Popen(  # noqa: S603  # our own command line; the user named the interpreter
                [python, *(["-P"] if isolated else []), "-c", _CHILD],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                env=isolated_variables() if isolated else None,
                encoding="utf-8",
                errors="replace",
            )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="stvg-row-answers", daemon=True).start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._lines.put(line)
        self._lines.put(None)

    def ask(self, job: dict[str, Any], on_look: Callable[[], object]) -> dict[str, Any]:
        """Return the answer to a job.

        Args:
            job: as `row_process` takes them.
            on_look: called twice a second while it works.

        Raises:
            RunError: it ended without an answer, or is of another version.
        """
        log = Path(job["log"])
        if not self._greeted:
            self._check(self._next(log, on_look))
            self._greeted = True
        with suppress(BrokenPipeError):
            # One that is gone is told apart by its missing answer.
            stream = self._process.stdin
            if stream is not None:
                stream.write(json.dumps(job) + "\n")
                stream.flush()
        return self._next(log, on_look)

    def end(self) -> None:
        """End it, whatever it does."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()

    def _next(self, log: Path, on_look: Callable[[], object]) -> dict[str, Any]:
        while True:
            try:
                line = self._lines.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                on_look()
                continue
            if line is None:
                code = self._process.wait()
                raise RunError(_reason(log.read_text(encoding="utf-8", errors="replace"), code, self._python))
            try:
                answer = json.loads(line)
            except ValueError as error:
                raise RunError(f"expected an answer of {self._python}, got {one_line(line, 200)}") from error
            if not isinstance(answer, dict):
                raise RunError(f"expected an answer of {self._python}, got {one_line(line, 200)}")
            return answer

    def _check(self, told: dict[str, Any]) -> None:
        own = greeting()
        for name, title in (("protocol", "row protocol"), ("stvg_core", "stvg-core")):
            if told.get(name) != own[name]:
                raise RunError(
                    f"expected {title} {own[name]} in the environment of {self._python} as here, got "
                    f"{one_line(str(told.get(name)), 60)}; install stvg-core=={own['stvg_core']} there, or "
                    "compare from an environment that has the other version"
                )


def _counts(run: Path) -> tuple[int, int]:
    """Return how many samples of a run that goes on are done, and of how many."""
    try:
        with RunStore(run, write=False) as store:
            counts = store.counts()
    except (RunError, OutputError):
        # Not begun, or just being written.
        return 0, 0
    return counts["ok"] + counts["failed"], sum(counts.values())


def _reason(said: str, code: int, python: str) -> str:
    """Return why a process ended that gave no answer."""
    lines = [line for line in said.splitlines() if line.strip()]
    if lines and "No module named" in lines[-1] and "stvg_core" in lines[-1]:
        version = greeting()["stvg_core"]
        return (
            f"expected stvg-core {version} in the environment of {python}, found none or an older one; install "
            f"stvg-core=={version} there"
        )
    ended = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    return f"the run ended with {ended}: {lines[-1] if lines else 'it said nothing'}"
