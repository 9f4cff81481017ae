"""`evaluate` and `score`: whole data sets through the Python API."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from stvg_core.api.run_spec import DEFAULT_TRACKER, RunOptions, RunSpec
from stvg_core.errors import UsageError
from stvg_core.evaluation.runs.scoring import score_run
from stvg_core.evaluation.runs.selection import Selection, Shard
from stvg_core.inputs.datasets import open_dataset
from stvg_core.metrics import Bootstrap, find_protocol
from stvg_core.metrics.score_report import ScoreReport, score_files

if TYPE_CHECKING:
    from stvg_core.evaluation.runs.engine import EngineChoice
    from stvg_core.evaluation.runs.evaluation import Step

DEFAULT_PROTOCOL = "stcat"
RUNS_FOLDER = Path("stvg-runs")
"""Where `evaluate` puts runs that are given no folder."""

_NOT_IN_FOLDER_NAMES = re.compile(r"[^A-Za-z0-9._+-]+")


@dataclass(frozen=True)
class RunResult:
    """A run over a data set.

    Attributes:
        folder: the run; `stvg runs show`, `stvg score --run`, `stvg compare` and `stvg view` read it.
        summary: what `stvg evaluate --json` prints.
    """

    folder: Path
    summary: Mapping[str, Any]

    @property
    def score(self) -> dict[str, float]:
        """Mean metrics in 0..1 by name (m_tIoU, m_vIoU, ...); empty where the data set has no ground truth."""
        score = self.summary["score"]
        return {} if score is None else dict(score["summary"])

    @property
    def failed_count(self) -> int:
        """Number of samples that failed; they count as 0 in the score."""
        return int(self.summary["samples"]["failed"])

    def __repr__(self) -> str:
        """Return folder, samples and score on one line."""
        score = ", ".join(f"{name}={value:.4f}" for name, value in self.score.items())
        ok_count = self.summary["samples"]["ok"]
        return f"RunResult({str(self.folder)!r}: {ok_count} ok, {self.failed_count} failed; {score})"


def evaluate(
    dataset: str,
    root: str | Path,
    *,
    model: str | Path | RunSpec,
    run: str | Path | None = None,
    tracks: str = DEFAULT_TRACKER,
    split: str | None = None,
    annotations: str | Path | None = None,
    video_root: str | Path | None = None,
    limit: int | None = None,
    shard: str | None = None,
    corrections: bool = True,
    retry_failed: bool = False,
    keep_maps: bool = False,
    protocol: str = DEFAULT_PROTOCOL,
    engine: "EngineChoice | None" = None,
    on_stage: Callable[[str], None] | None = None,
    on_step: "Callable[[Step], None] | None" = None,
    **options: Unpack[RunOptions],
) -> RunResult:
    """Ground every sample of a data set that has no result yet, and score the run.

    Args:
        dataset: a name of `stvg dataset list`.
        root: folder of the data set.
        model: a named checkpoint, a folder, or a hub id; or a RunSpec.
        run: folder of the run; resumed if it exists. None: stvg-runs/DATASET-MODEL.
        tracks: name of a tracker.
        split: None: the one that papers report.
        annotations: annotation file, if the layout is not a known one.
        video_root: folder of the videos, if they are outside the root.
        limit: only the first N samples.
        shard: one shard, such as "1/8".
        corrections: leave out known defects, and clip boxes to the frame.
        retry_failed: retry samples that failed in an earlier session.
        keep_maps: store attention maps for the pages of `stvg view`.
        protocol: scoring protocol; see `stvg score`.
        engine: where the method runs; None: in this process.
        on_stage: called with the name of each stage before samples are grounded.
        on_step: called after every sample.
        **options: as `load` takes them.

    Returns:
        The run. Failed samples are results: they are counted, and score 0.

    Raises:
        RunError: the run was begun with other settings, another model or other samples.
        StvgError: the model cannot be loaded, or the data set not be read.

    Examples:
        >>> import json, tempfile
        >>> from stvg_core.devtools.demos import find_demos
        >>> clip = find_demos()[0]
        >>> folder = Path(tempfile.mkdtemp())
        >>> text = json.dumps([{"id": "a", "video": clip.video.name, "query": clip.query}])
        >>> _ = (folder / "queries.json").write_text(text)
        >>> evaluate(
        ...     "folder", clip.video.parent, annotations=folder / "queries.json", run=folder / "run",
        ...     model="tiny:qwen2-vl", device="cpu", overrides={"prompt.steps": 0},
        ... )
        RunResult('...run': 1 ok, 0 failed; )
    """
    from stvg_core.evaluation.runs.evaluation import ModelChoice
    from stvg_core.evaluation.runs.evaluation import evaluate as start

    if isinstance(model, RunSpec):
        if options or tracks != DEFAULT_TRACKER:
            raise UsageError("expected a RunSpec or options, got both; put the options into the RunSpec")
        spec = model
    else:
        spec = replace(RunSpec.of(model, **options), tracks=tracks)
    rules = find_protocol(protocol)
    selection = Selection(limit, None if shard is None else Shard.parse(shard))
    opened = open_dataset(
        dataset,
        Path(root),
        split=split,
        annotations=None if annotations is None else Path(annotations),
        video_root=None if video_root is None else Path(video_root),
    )
    folder = RUNS_FOLDER / _NOT_IN_FOLDER_NAMES.sub("-", f"{dataset}-{spec.model}") if run is None else Path(run)
    summary = start(
        opened,
        folder,
        ModelChoice(spec, keep_maps=keep_maps),
        rules,
        selection=selection,
        corrections=corrections,
        retry_failed=retry_failed,
        engine=engine,
        on_stage=on_stage,
        on_step=on_step,
    )
    return RunResult(folder, summary)


def score(
    predictions: str | Path | None = None,
    annotations: str | Path | None = None,
    *,
    run: str | Path | None = None,
    protocol: str = DEFAULT_PROTOCOL,
    by: Sequence[str] = (),
    bootstrap: int | None = None,
    seed: int = 0,
) -> ScoreReport:
    """Score predicted tubes against annotations, or a run.

    Args:
        predictions: JSON file of predicted tubes.
        annotations: JSON file of annotated tubes.
        run: folder of a run, in place of both files.
        protocol: scoring protocol; see `stvg score`.
        by: groupings: "type", "length", "target-size".
        bootstrap: number of resamples for 95 % confidence intervals; None: no intervals.
        seed: of the bootstrap.

    Returns:
        `report.score.summary` has the mean metrics in 0..1.

    Raises:
        UsageError: neither a run nor both files, or too many of them.
        ScoreError: a file cannot be scored.
    """
    rules = find_protocol(protocol)
    resampling = None if bootstrap is None else Bootstrap(bootstrap, seed)
    if run is not None and predictions is None and annotations is None:
        return score_run(Path(run), rules, by, resampling)
    if run is None and predictions is not None and annotations is not None:
        return score_files(Path(predictions), Path(annotations), rules, by, resampling)
    raise UsageError("expected either a run, or predictions and annotations; got neither or too many")
