"""index.html of a comparison, or of one run: the table, and a player for every sample; opens from disk."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stvg_core.errors import OutputError, RunError
from stvg_core.evaluation.comparison.document import ComparisonDocument, build_comparison
from stvg_core.evaluation.comparison.page_videos import PageVideos
from stvg_core.evaluation.comparison.plots import plot_names
from stvg_core.evaluation.comparison.running import read_run
from stvg_core.evaluation.runs.scoring import score_run
from stvg_core.evaluation.runs.store import RunStore, StoredSample
from stvg_core.evaluation.runs.tasks import CONTROLS_KEY
from stvg_core.metrics import METRIC_NAMES, Bootstrap, ScoringProtocol
from stvg_core.outputs.report.kept_maps import check_maps
from stvg_core.outputs.report.pages.media import MediaChoice
from stvg_core.outputs.report.pages.sample import failed_part, found_part, text, truth_of_annotation
from stvg_core.outputs.report.pages.writing import render_page, sample_script
from stvg_core.outputs.report.staging import staged_files

INDEX_FILE: Final = "index.html"
PAGES_FOLDER: Final = "pages"
MEDIA_FOLDER: Final = "pages/media"
MOST_SAMPLES: Final = 500
_DAMAGED: Final = "expected a grounding document in the run, got one that cannot be shown: {}; evaluate it again"
_DIGITS: Final = 4
_RESAMPLES: Final = 2000


@dataclass(frozen=True)
class PageChoice:
    """What pages hold.

    Attributes:
        media: how they get their videos.
        most_samples: only the first N samples have a player.
        keep_maps: runs keep attention maps, for players and controls.
        video_root: folder of the videos of finished runs; None: their pages show boxes without frames.
    """

    media: MediaChoice = "link"
    most_samples: int = MOST_SAMPLES
    keep_maps: bool = True
    video_root: Path | None = None


def write_pages(
    document: ComparisonDocument,
    runs: Sequence[Path],
    out: Path,
    protocol: ScoringProtocol,
    video_root: Path | None,
    choice: PageChoice,
    *,
    files: Sequence[str] = (),
    on_sample: Callable[[int, int], None] | None = None,
) -> Path:
    """Write index.html and what belongs to it into a folder: all of it, or nothing but videos.

    Args:
        document: of the comparison.
        runs: the run folder of each of its rows; of a row that could not start it may be missing.
        out: folder of the page.
        protocol: whose rules the samples' scores follow.
        video_root: folder that the samples' videos are relative to; None: pages show boxes without frames.
        choice: what pages hold.
        files: names of files in the folder that the page refers to.
        on_sample: called with the samples written and the samples in all.

    Returns:
        The page.

    Raises:
        OutputError: the folder cannot be written to.
        RunError: a run cannot be read.
    """
    with contextlib.ExitStack() as opened, staged_files(out) as stage:
        stores = [_open(run, opened) for run in runs]
        samples, total = _samples(stores, choice.most_samples)
        scores = [{} if store is None else _scores(store.folder, protocol) for store in stores]
        videos = PageVideos(video_root, out / MEDIA_FOLDER, MEDIA_FOLDER, choice.media)
        (stage / PAGES_FOLDER).mkdir()
        listed = []
        for number, sample in enumerate(samples):
            rows, documents = zip(*(_row(store, sample) for store in stores), strict=True)
            for row, own in zip(rows, scores, strict=True):
                if sample.sample_id in own:
                    row["metrics"] = own[sample.sample_id]
            script = sample_script(number, _sample(sample, rows, [one for one in documents if one], videos))
            (stage / PAGES_FOLDER / f"{number:06}.js").write_text(script, encoding="ascii")
            listed.append(_listed(sample, rows))
            if on_sample is not None:
                on_sample(number + 1, len(samples))
        plots = [name for name in plot_names(document) if (out / f"{name}.svg").is_file()]
        page = _index(document) | {"samples": listed, "total": total, "files": list(files), "plots": plots}
        (stage / INDEX_FILE).write_text(render_page("stvg comparison", page), encoding="utf-8")
    return out / INDEX_FILE


def write_run_pages(
    run: Path,
    protocol: ScoringProtocol,
    video_root: Path | None,
    choice: PageChoice,
    *,
    on_sample: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the pages of one run of `stvg evaluate` into its folder, as `write_pages` does.

    Raises:
        OutputError: the folder cannot be written to.
        RunError: there is no run, or it cannot be read.
    """
    document = build_comparison([read_run(run, protocol)], None, protocol, Bootstrap(_RESAMPLES))
    return write_pages(document, [run], run, protocol, video_root, choice, on_sample=on_sample)


def _open(run: Path, opened: contextlib.ExitStack) -> RunStore | None:
    """Open a run for reading; None for one that never began."""
    try:
        return opened.enter_context(RunStore(run, write=False))
    except (RunError, OutputError):
        return None


def _samples(stores: Sequence[RunStore | None], most: int) -> tuple[list[StoredSample], int]:
    """Return the first samples of the data set that any run has, and how many there are in all."""
    shown: dict[str, StoredSample] = {}
    sample_ids: set[str] = set()
    for store in stores:
        for sample in () if store is None else store.samples():
            sample_ids.add(sample.sample_id)
            if len(shown) < most:
                shown.setdefault(sample.sample_id, sample)
    return sorted(shown.values(), key=lambda sample: sample.position), len(sample_ids)


def _scores(run: Path, protocol: ScoringProtocol) -> dict[str, dict[str, float]]:
    """Return overlaps by sample; none where no truth is published."""
    try:
        report = score_run(run, protocol)
    except RunError:
        return {}
    return {
        result.sample_id: {
            "vIoU": round(result.scores.video_iou, _DIGITS),
            "tIoU": round(result.scores.temporal_iou, _DIGITS),
        }
        for result in report.results
        if result.counted
    }


def _row(store: RunStore | None, sample: StoredSample) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the part of a page about a run's result, and the result's document."""
    if sample.task is None:
        return failed_part("annotation", sample.problem), None
    try:
        result = None if store is None else store.result(sample.sample_id)
    except RunError as error:
        return failed_part("document", str(error)), None
    if store is None or result is None:
        return {"status": "pending"}, None
    if result.failure is not None:
        return failed_part(result.failure.kind, result.failure.message, result.failure.traceback), None
    try:
        maps = store.maps(result.sample_id)
        if maps is not None:
            check_maps(maps)
            maps.pop(CONTROLS_KEY, None)
        return found_part(result.document or {}, maps), result.document
    except (KeyError, TypeError, ValueError, AttributeError, RunError) as error:
        return failed_part("document", _DAMAGED.format(error)), result.document


def _sample(
    sample: StoredSample, rows: Sequence[dict[str, Any]], documents: Sequence[dict[str, Any]], videos: PageVideos
) -> dict[str, Any]:
    task = sample.task
    truth = None
    if sample.annotation is not None and task is not None:
        with contextlib.suppress(KeyError, TypeError, ValueError):
            truth = truth_of_annotation(sample.annotation, task.frame_step)
    return {
        "id": text(sample.sample_id),
        "query": "" if task is None else text(task.query),
        "video": None if task is None else videos.part(task.video, documents),
        "segment": None if task is None else task.source_segment,
        "truth": truth,
        "rows": rows,
    }


def _listed(sample: StoredSample, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what the list of samples shows and filters by."""
    annotation = sample.annotation or {}
    return {
        "id": text(sample.sample_id),
        "query": sample.problem if sample.task is None else text(sample.task.query),
        "video": "" if sample.task is None else text(sample.task.video),
        "type": str(annotation.get("query_type") or ""),
        "states": [row["status"] for row in rows],
        "scores": [row.get("metrics", {}).get("vIoU") for row in rows],
    }


def _index(document: ComparisonDocument) -> dict[str, Any]:
    dumped = document.model_dump(mode="json", exclude={"tables", "differing"})
    for row in dumped["rows"]:
        row["settings"] = (row.pop("configuration") or {}).get("settings", {})
    return {"kind": "comparison", "comparison": dumped, "metrics": METRIC_NAMES}
