"""What is compared on: a data set, or one clip with queries of one's own."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stvg_core.errors import UsageError
from stvg_core.inputs.datasets import Dataset, open_dataset
from stvg_core.inputs.query.sentence import clean_sentence
from stvg_core.outputs.report.staging import staged_files

QUERIES_FILE = "samples.json"


@dataclass(frozen=True)
class Source:
    """Samples, as `stvg evaluate` takes them.

    Attributes:
        dataset: name of a data set.
        root: its folder.
        split: which part; None: the one that papers report.
        annotations: the annotation file, where no layout names it.
        video_root: folder of the videos, where they lie outside the root.
        limit: only the first N samples; None: all.
        corrections: leave known defects out, and clip boxes to the frame.
    """

    dataset: str
    root: Path
    split: str | None = None
    annotations: Path | None = None
    video_root: Path | None = None
    limit: int | None = None
    corrections: bool = True

    @property
    def video_folder(self) -> Path:
        """Folder that samples name their videos relative to."""
        return self.video_root or self.root

    def open(self) -> Dataset:
        """Find the data set's files; reads none of them.

        Raises:
            UsageError: there is no data set of this name.
            DatasetError: a folder or the annotations are missing.
        """
        return open_dataset(
            self.dataset, self.root, split=self.split, annotations=self.annotations, video_root=self.video_root
        )


def clip_source(video: Path, queries: Sequence[str], out: Path) -> Source:
    """Return one clip with queries as a source; its annotation file is written to the output folder.

    Args:
        video: a local file.
        queries: sentences or questions.
        out: folder of the comparison.

    Raises:
        UsageError: there is no such video, or no query.
        QueryError: a query is empty.
        OutputError: the folder cannot be written to.
    """
    if not video.is_file():
        raise UsageError(f"expected a video file, got {video}; check --video")
    if not queries:
        raise UsageError("expected at least one --query beside --video, got none")
    samples = [
        {"id": f"query-{number}", "video": video.name, "query": clean_sentence(query)}
        for number, query in enumerate(queries, 1)
    ]
    with staged_files(out) as stage:
        (stage / QUERIES_FILE).write_text(json.dumps(samples, indent=1) + "\n", encoding="utf-8")
    return Source("folder", video.parent, annotations=out / QUERIES_FILE)
