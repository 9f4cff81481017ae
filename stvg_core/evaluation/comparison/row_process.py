"""The child process that evaluates rows of a comparison, one JSON job from standard input, sharing the loaded model.

It ends after the last row or the first that fails, whose state (a broken device, a plugin) must not reach the next.
"""

import importlib.metadata
import json
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from stvg_core._internal.plain_text import one_line
from stvg_core.api.run_spec import RunSpec
from stvg_core.errors import RunError, StvgError
from stvg_core.evaluation.comparison.rows import Source
from stvg_core.evaluation.comparison.running import LOG_NAME, OUTCOME_NAME
from stvg_core.evaluation.runs import Selection
from stvg_core.metrics import find_protocol

_LONGEST_ERROR = 1000


def main() -> None:
    """Evaluate the rows of the job on standard input."""
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_stop_with_parent, name="stvg-parent", daemon=True).start()
    from stvg_core.evaluation.runs.evaluation import SessionKeeper

    sessions = SessionKeeper()
    for row in job["rows"]:
        run = Path(row["run"])
        _log_to(run / LOG_NAME)
        error = ""
        try:
            _evaluate(job, row, sessions)
        except StvgError as problem:
            error = one_line(str(problem), _LONGEST_ERROR)
        except Exception as problem:  # noqa: BLE001  # the row's reason, whatever it is; its traceback goes to the log
            traceback.print_exc()
            error = one_line(f"internal error, {type(problem).__name__}: {problem}; see {run / LOG_NAME}")
        draft = run / f"{OUTCOME_NAME}.draft"
        draft.write_text(json.dumps({"error": error}), encoding="utf-8")
        draft.replace(run / OUTCOME_NAME)
        if error:
            return


def _stop_with_parent() -> None:
    """Stop as `kill` would when the process that started this one is gone: nobody waits for the rows."""
    # Not through sys.stdin: a thread that holds its lock would break the end of the interpreter.
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _log_to(path: Path) -> None:
    """Send to a file whatever is printed, also by libraries in C."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with path.open("ab") as log:
        for descriptor in (1, 2):
            os.dup2(log.fileno(), descriptor)


def _evaluate(job: dict[str, Any], row: dict[str, Any], sessions: Any) -> None:  # noqa: ANN401  # its type imports torch
    from stvg_core.evaluation.runs.evaluation import ModelChoice, evaluate

    version = importlib.metadata.version("stvg-core")
    if job["stvg_core"] != version:
        raise RunError(
            f"expected stvg-core {job['stvg_core']} in the environment of {sys.executable}, got {version}; install "
            f"stvg-core=={job['stvg_core']} there"
        )
    source = TypeAdapter(Source).validate_python(job["source"])
    evaluate(
        source.open(),
        Path(row["run"]),
        ModelChoice(RunSpec.from_dict(row["spec"]), Path(job["tracks_folder"]), job["keep_maps"]),
        find_protocol(job["protocol"]),
        selection=Selection(source.limit),
        corrections=source.corrections,
        retry_failed=job["retry_failed"],
        sessions=sessions,
    )


if __name__ == "__main__":
    main()
