"""The pages of a single run: a comparison of one row."""

from collections.abc import Callable
from pathlib import Path

from stvg_core.evaluation.comparison.document import build_comparison
from stvg_core.evaluation.comparison.pages import PageChoice, write_pages
from stvg_core.evaluation.comparison.running import read_run
from stvg_core.metrics import Bootstrap, Protocol

_RESAMPLES = 2000


def write_run_pages(
    run: Path,
    protocol: Protocol,
    video_root: Path | None,
    choice: PageChoice,
    *,
    on_sample: Callable[[int, int], None] | None = None,
) -> Path:
    """Write index.html and what belongs to it into the folder of a run.

    Args:
        run: folder of `stvg evaluate`.
        protocol: whose rules the scores follow.
        video_root: folder that the samples' videos are relative to; None: pages show boxes without pictures.
        choice: what pages hold.
        on_sample: told how many samples are written, and of how many.

    Raises:
        OutputError: the folder cannot be written to.
        RunError: there is no run, or it cannot be read.
    """
    document = build_comparison([read_run(run, protocol)], None, protocol, Bootstrap(_RESAMPLES))
    return write_pages(document, [run], run, protocol, video_root, choice, on_sample=on_sample)
