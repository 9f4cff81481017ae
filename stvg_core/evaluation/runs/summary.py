"""What a run has come to, for people and programs: counts, score, failures, time, who worked on it."""

import json
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

from stvg_core.evaluation.runs.provenance import differences
from stvg_core.evaluation.runs.scoring import score_run
from stvg_core.evaluation.runs.store import RunStore
from stvg_core.metrics import Protocol
from stvg_core.outputs.report.staging import staged_files

FILE_NAME = "summary.json"
_CHANGING = ("process", "command")


def summarize_run(folder: Path, protocol: Protocol) -> dict[str, Any]:
    """Return the summary of a run, as `stvg evaluate --json` prints it (docs/evaluate.md).

    Args:
        folder: the run's.
        protocol: whose rules the score follows.

    Raises:
        RunError: there is no run, or it cannot be read.
    """
    with RunStore(folder, write=False) as store:
        values = store.read_values()
        failures: Counter[str] = Counter()
        examples: dict[str, dict[str, str]] = {}
        seconds = []
        has_truth = store.can_be_scored()
        for sample_id, problem in store.unusable():
            failures["annotation"] += 1
            examples.setdefault("annotation", {"sample": sample_id, "error": problem})
        for sample_id, kind, error, taken in store.outcomes():
            seconds.append(taken)
            if kind is not None:
                failures[kind] += 1
                examples.setdefault(kind, {"sample": sample_id, "error": error or ""})
        sessions = store.sessions()
        document: dict[str, Any] = {
            "run": str(folder),
            "configuration_hash": store.configuration_hash,
            "configuration": store.configuration(),
            "samples": {**store.counts(), "left_out": values.get("left_out", 0)},
            "selection": {name: values.get(name) for name in ("limit", "shard")},
        }
    busy = sum(session.busy_seconds for session in sessions)
    waited = sum(session.waited_seconds for session in sessions)
    document |= {
        "score": None,
        "failures": [{"kind": kind, "count": count, **examples[kind]} for kind, count in failures.most_common()],
        "seconds_per_sample": {"median": median(seconds), "mean": sum(seconds) / len(seconds)} if seconds else None,
        "device_wait_share": waited / (busy + waited) if busy + waited else None,
        "sessions": [
            {
                "session": session.session,
                "started": session.started,
                "ended": session.ended,
                "busy_seconds": session.busy_seconds,
                "waited_seconds": session.waited_seconds,
                "peak_host_bytes": session.peak_host_bytes,
                "peak_device_bytes": session.peak_device_bytes,
                **session.circumstances,
            }
            for session in sessions
        ],
        "warnings": _changes([session.circumstances for session in sessions]),
    }
    if has_truth:
        report = score_run(folder, protocol)
        document["score"] = {
            "protocol": protocol.name,
            "summary": report.score.summary,
            "counts": report.score.counts,
        }
    return document


def write_summary(folder: Path, document: dict[str, Any]) -> Path:
    """Write a run's summary into its folder; whole, or not at all.

    Raises:
        OutputError: the folder cannot be written to.
    """
    with staged_files(folder) as stage:
        (stage / FILE_NAME).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return folder / FILE_NAME


def _changes(circumstances: list[dict[str, Any]]) -> list[str]:
    """Return a sentence for everything that was not the same in all sessions."""
    changes: dict[str, None] = {}
    for later in circumstances[1:]:
        for name, first, second in differences(circumstances[0], later):
            if name not in _CHANGING:
                changes[f"{name} was {json.dumps(first)} in one session and {json.dumps(second)} in another"] = None
    return list(changes)
