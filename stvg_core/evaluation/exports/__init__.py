"""Tubes in the formats that others read: COCO, MOT, CVAT, Label Studio, Rerun.

Inside, frames count from 0 and both ends of a span belong to it; each format's own base is applied where the format
is written and nowhere else (docs/export.md). Needs no model.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stvg_core.errors import UsageError
from stvg_core.evaluation.exports.coco import write_coco
from stvg_core.evaluation.exports.cvat import write_cvat
from stvg_core.evaluation.exports.label_studio import write_label_studio
from stvg_core.evaluation.exports.mot import write_mot
from stvg_core.evaluation.exports.rerun_file import write_rerun
from stvg_core.evaluation.exports.sources import open_source
from stvg_core.outputs.report.staging import own_errors, staged_files

__all__ = ["FORMATS", "ExportSummary", "export"]

_WRITERS: Final[Mapping[str, Callable[..., None]]] = {
    "coco": write_coco,
    "mot": write_mot,
    "cvat": write_cvat,
    "label-studio": write_label_studio,
    "rerun": write_rerun,
}
FORMATS: Final = tuple(_WRITERS)


@dataclass(frozen=True)
class ExportSummary:
    """What was written.

    Attributes:
        form: name of the format.
        files: paths relative to the folder, sorted.
        samples: how many were written.
        predictions: how many of them have a predicted tube.
        truths: how many have a true one.
        left_out: the others, with the reason.
    """

    form: str
    files: tuple[str, ...]
    samples: int
    predictions: int
    truths: int
    left_out: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        """Return the summary as `stvg export --json` prints it."""
        return {
            "schema_version": 1,
            "status": "ok",
            "format": self.form,
            "files": list(self.files),
            "samples": self.samples,
            "predictions": self.predictions,
            "truths": self.truths,
            "left_out": [{"sample": sample, "reason": reason} for sample, reason in self.left_out.items()],
        }


def export(
    source: str | Path, form: str, out: str | Path, *, videos: str | Path | None = None, prefix: str = ""
) -> ExportSummary:
    """Write predictions, and the truth where it is known, as other programs read them.

    Args:
        source: a run's folder, a folder of `stvg ground`, or a tube.json.
        form: one of FORMATS.
        out: folder to write to; its files appear all together or not at all, and others in it stay.
        videos: where the videos are: sizes that no result states are read there, and recordings hold the
            video. Of a grounding it may be the file itself. Nothing outside of it is opened.
        prefix: of the videos' addresses in tasks of Label Studio.

    Raises:
        UsageError: there is nothing that can be exported, or the format is unknown.
        OutputError: the folder cannot be written to.
        RunError: the run cannot be read.
    """
    place = None if videos is None else Path(videos)
    if place is not None and not place.exists():
        raise UsageError(f"expected the videos at {place}, but nothing is there; name their folder")
    if form not in FORMATS:
        more = "of a run also table, predictions, annotations"
        raise UsageError(f"expected one of {', '.join(FORMATS)} as format ({more}), got {form!r}")
    if prefix and form != "label-studio":
        raise UsageError(f"expected a prefix of videos' addresses for label-studio alone, got one for {form}")
    tubes = open_source(Path(source), place)
    counts = [(sample.prediction is not None, sample.truth is not None) for sample in tubes.samples()]
    if not counts:
        reasons = "; ".join(dict.fromkeys(tubes.left_out.values())) or "it has no sample"
        raise UsageError(f"expected tubes to export in {source}, got none: {reasons}")
    target = Path(out)
    with staged_files(target) as stage:
        with own_errors(target, "choose another place"):
            _WRITERS[form](stage, tubes, **({"prefix": prefix} if prefix else {}))
        files = tuple(sorted(path.relative_to(stage).as_posix() for path in stage.rglob("*") if path.is_file()))
    return ExportSummary(
        form,
        files,
        len(counts),
        sum(predicted for predicted, _ in counts),
        sum(true for _, true in counts),
        dict(tubes.left_out),
    )
