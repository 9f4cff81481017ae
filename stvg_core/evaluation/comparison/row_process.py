"""The process that rows of a comparison run in: `python -m stvg_core.evaluation.comparison.row_process`.

It says who it is, then reads a JSON line per row from standard input, runs it as `stvg evaluate` does, and answers
with a JSON line. Rows of one model share the loaded model. After a row that went wrong it ends: whatever the row left
behind (a broken device, a plugin's state) must not reach the next. Imports no torch until it has a row.
"""

import importlib.metadata
import json
import os
import platform
import queue
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import IO, Any, Final

from stvg_core._internal.plain_text import one_line
from stvg_core.errors import StvgError

PROTOCOL: Final = 1
"""Version of what is said between the processes; both sides must speak the same, of the same stvg-core."""

_LONGEST_ERROR: Final = 1000


def greeting() -> dict[str, Any]:
    """Return what a row process says first."""
    return {
        "protocol": PROTOCOL,
        "stvg_core": importlib.metadata.version("stvg-core"),
        "python": platform.python_version(),
    }


def serve(jobs: IO[str], answers: IO[str]) -> None:
    """Answer jobs until there are no more, or one goes wrong.

    Args:
        jobs: a JSON line per row, as `running` writes them.
        answers: a JSON line each: the greeting, then for every row `{"summary": ...}` or `{"error": ...}`.
    """
    _say(answers, greeting())
    sessions = None
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    working = threading.Event()
    threading.Thread(target=_read, args=(jobs, lines, working), name="stvg-row-jobs", daemon=True).start()
    while (line := lines.get()) is not None:
        job = json.loads(line)
        working.set()
        # What libraries print, in C too, belongs to the row that runs.
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        log = os.open(job["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        for output in (1, 2):
            os.dup2(log, output)
        os.close(log)
        answer: dict[str, Any]
        try:
            if sessions is None:
                from stvg_core.evaluation.runs.evaluation import SessionKeeper

                sessions = SessionKeeper()
            answer = {"summary": _run(job, sessions)}
        except StvgError as error:
            answer = {"error": one_line(str(error), _LONGEST_ERROR)}
        except Exception as error:  # noqa: BLE001  # the row's reason, whatever it is; its traceback goes to the log
            traceback.print_exc()
            answer = {"error": one_line(f"internal error, {type(error).__name__}: {error}; see {job['log']}")}
        working.clear()
        _say(answers, answer)
        if "error" in answer:
            return


def _read(jobs: IO[str], lines: "queue.SimpleQueue[str | None]", working: threading.Event) -> None:
    """Hand jobs on; where who gives them is gone, stop the one that runs as `kill` would: nobody waits for it."""
    for line in jobs:
        lines.put(line)
    lines.put(None)
    if working.is_set():
        os.kill(os.getpid(), signal.SIGTERM)


def _run(job: dict[str, Any], sessions: Any) -> dict[str, Any]:  # noqa: ANN401  # importing its type imports torch
    from stvg_core.api.run_spec import RunSpec
    from stvg_core.evaluation.runs import Selection
    from stvg_core.evaluation.runs.evaluation import ModelChoice, evaluate
    from stvg_core.inputs.datasets import open_dataset
    from stvg_core.metrics import find_protocol
    from stvg_core.plugin.model_reference import LoadOptions

    source, row = job["source"], job["row"]
    folder = {name: None if source[name] is None else Path(source[name]) for name in ("annotations", "video_root")}
    dataset = open_dataset(source["dataset"], Path(source["root"]), split=source["split"], **folder)
    names = ("tracks", "decomposer")
    spec = RunSpec(
        row["model"],
        preset=row["preset"],
        overrides=row["overrides"],
        load=LoadOptions(row["device"], row["dtype"]),
        backend=row["backend"],
        **{name: row[name] for name in names if row[name] is not None},
    )
    choice = ModelChoice(spec, Path(job["tracks_folder"]), job["keep_maps"])
    return evaluate(
        dataset,
        Path(job["run"]),
        choice,
        find_protocol(job["protocol"]),
        selection=Selection(source["limit"]),
        corrections=source["corrections"],
        retry_failed=job["retry_failed"],
        sessions=sessions,
    )


def _say(answers: IO[str], answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def main() -> None:
    """Serve the process that started this one."""
    # Nothing but answers goes where they are read: what anyone prints goes to the log.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        serve(sys.stdin, answers)
    except (KeyboardInterrupt, BrokenPipeError):
        # Who started this one has stopped, and says so itself.
        sys.exit(1)


if __name__ == "__main__":
    main()
