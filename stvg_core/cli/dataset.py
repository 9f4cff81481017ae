"""`stvg dataset`: which data sets are read, what of them is on disk, and their annotations for scoring."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stvg_core.cli.terminal import one_line, progress, table_lines
from stvg_core.errors import DatasetError, UsageError

if TYPE_CHECKING:
    from stvg_core.inputs.datasets import Dataset, GroundingSample, Report

JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON document and nothing else")]
DatasetArgument = Annotated[str, typer.Argument(metavar="DATASET", help="a name of stvg dataset list")]
RootOption = Annotated[Path, typer.Option("--root", help="folder of the data set, in any known layout")]
SplitOption = Annotated[
    str | None, typer.Option("--split", help="split of the data set", show_default="what papers report")
]
AnnotationsOption = Annotated[
    Path | None, typer.Option("--annotations", help="annotation file, if the layout is not a known one")
]
VideoRootOption = Annotated[
    Path | None, typer.Option("--video-root", help="folder of the videos, if they are outside the root")
]
CorrectionsOption = Annotated[
    bool, typer.Option("--no-corrections", help="keep known defects, and do not clip boxes to the frame")
]

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")


class Videos(StrEnum):
    """How thoroughly videos are checked."""

    none = "none"
    exists = "exists"
    open = "open"


@app.callback()
def _dataset() -> None:
    """List and check data sets, and write their annotations for stvg score."""


@app.command("list")
def list_(
    root: Annotated[Path | None, typer.Option("--root", help="also show which of them this folder holds")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the supported data sets, and which of them a folder holds."""
    from stvg_core.inputs.datasets.catalog import DATASETS
    from stvg_core.inputs.datasets.opening import find_layouts

    if root is not None and not root.is_dir():
        raise DatasetError(f"expected a folder, got {root}; name the data set's folder with --root")
    rows: list[dict[str, Any]] = []
    cells = [("name", "default split", "layouts", "what")]
    places = [("found", "layout", "split", "annotations")]
    for name, description in DATASETS.items():
        row: dict[str, Any] = {
            "name": name,
            "title": description.title,
            "default_split": description.default_split,
            "source_convention": description.source_convention,
            "layouts": [asdict(layout) for layout in description.layouts],
        }
        names = dict.fromkeys(layout.name for layout in description.layouts)
        cells.append((name, description.default_split, ", ".join(names), description.title))
        if root is not None:
            found = [
                (layout.name, split, layout.annotations.format(split=split))
                for layout, split in find_layouts(description, root)
            ]
            row["found"] = [dict(zip(("layout", "split", "annotations"), place, strict=True)) for place in found]
            places += [(name, *place) for place in found]
        rows.append(row)
    if as_json:
        typer.echo(json.dumps({"datasets": rows}))
        return
    lines = table_lines(cells)
    if root is not None:
        lines += ["", *(table_lines(places) if len(places) > 1 else [f"none of them lies in {one_line(str(root))}"])]
    for line in lines:
        typer.echo(line)


@app.command("check")
def check(
    dataset: DatasetArgument,
    root: RootOption,
    split: SplitOption = None,
    videos: Annotated[Videos, typer.Option("--videos", help="how thoroughly to check videos")] = Videos.exists,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="only the first N samples")] = None,
    no_corrections: CorrectionsOption = False,
    annotations: AnnotationsOption = None,
    video_root: VideoRootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check annotations and videos of a data set; exit code 1 if samples cannot be used."""
    from stvg_core.inputs.datasets import check_dataset, open_dataset

    found = open_dataset(dataset, root, split=split, annotations=annotations, video_root=video_root)
    with progress(f"stvg dataset check {one_line(dataset)}") as on_stage:
        report = check_dataset(
            found, videos=videos.value, limit=limit, corrections=not no_corrections, on_progress=on_stage
        )
    if as_json:
        # ASCII alone: no character of a foreign name can steer a terminal.
        typer.echo(json.dumps(report.document()))
    else:
        for line in report_lines(report):
            typer.echo(line)
    if not report.healthy:
        raise DatasetError(_cure(report))


@app.command("convert")
def convert(
    dataset: DatasetArgument,
    root: RootOption,
    out: Annotated[Path, typer.Option("--out", "-o", help="JSON file to write")],
    split: SplitOption = None,
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help="leave out samples that cannot be used")] = False,
    no_corrections: CorrectionsOption = False,
    annotations: AnnotationsOption = None,
    video_root: VideoRootOption = None,
) -> None:
    """Write the annotations that stvg score reads; the file appears whole or not at all."""
    from stvg_core.inputs.datasets import open_dataset, write_annotations
    from stvg_core.outputs.report.staging import staged_files

    if not out.name:
        raise UsageError(f"expected a file name for --out, got {out}")
    found = open_dataset(dataset, root, split=split, annotations=annotations, video_root=video_root)
    lost: list[str] = []
    with progress(f"stvg dataset convert {one_line(dataset)}"), staged_files(out.parent) as stage:
        with (stage / out.name).open("w", encoding="utf-8") as stream:
            count = write_annotations(_usable(found, lost, skip_broken, not no_corrections), stream)
        if not count:
            raise DatasetError(
                f"expected samples with boxes in {found.file_name}, got none; run stvg dataset check {dataset}"
            )
    typer.echo(f"{count} samples written to {one_line(str(out))}")
    if lost:
        typer.echo(f"warning: {len(lost)} samples left out that cannot be used, {one_line(lost[0])} first", err=True)


def _usable(dataset: "Dataset", lost: list[str], skip_broken: bool, corrections: bool) -> "Iterator[GroundingSample]":
    """Yield samples that can be used; record the others, or raise."""
    for entry in dataset.entries(corrections=corrections):
        if entry.sample is not None:
            yield entry.sample
        elif not entry.left_out:
            lost.append(entry.key)
            if not skip_broken:
                raise DatasetError(
                    f"expected samples that can be used, got {entry.key} in {entry.file}: {entry.problems[0].message}; "
                    "fix it, or leave such samples out with --skip-broken"
                )


def report_lines(report: "Report") -> list[str]:
    """Return a report as lines of text."""
    types = ", ".join(f"{count} {name}" for name, count in report.query_types.items() if count)
    rows = [
        ("data set", f"{report.dataset}, {report.title}, split {report.split}"),
        ("layout", f"{report.layout}: {report.annotation_file} in {report.root}"),
        ("read as", report.source_convention),
        (
            "samples",
            f"{report.read} read{'' if report.complete else ' (there are more)'}, {report.usable} usable, "
            f"{report.broken} broken, {report.left_out} left out, {report.with_truth} with a tube",
        ),
        ("queries", types or "none"),
    ]
    if report.videos["check"] != "none":
        opened = "open" if report.videos["check"] == "open" else "there"
        rows.append(
            (
                "videos",
                f"{report.videos['there']} {opened}, {report.videos['missing']} missing, "
                f"{report.videos['unreadable']} unreadable",
            )
        )
    lines = table_lines(rows)
    for done in report.corrections:
        boxes = f", {done.boxes} boxes" if done.boxes else ""
        lines.append(one_line(f"corrected  {done.name}: {done.what}; {done.samples} samples{boxes} ({done.source})"))
    for tally in report.problems:
        lines.append(
            one_line(f"{tally.severity:<9}{tally.kind}, {tally.samples} samples: {tally.meaning}; {tally.cure}")
        )
        for example in tally.examples:
            known = f"; known: {example.known}" if example.known else ""
            lines.append(f"  {one_line(f'{example.file} {example.key}: {example.message}{known}')}")
    return lines


def _cure(report: "Report") -> str:
    errors = [tally for tally in report.problems if tally.severity == "error"]
    if not errors:
        return f"expected samples in {report.annotation_file}, got {report.read} and none to use; is it the right file?"
    told = ", ".join(f"{tally.kind} {tally.samples}" for tally in errors)
    return (
        f"expected samples that can all be used, got {report.broken} of {report.read} broken or missing ({told}); "
        f"{errors[0].cure}"
    )
