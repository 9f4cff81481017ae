"""`stvg demo`: a shipped clip, a tiny trained model, no network."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stvg_core.cli.compare import bar, check_failures, show
from stvg_core.cli.evaluate import DEFAULT_PROTOCOL
from stvg_core.cli.ground import TraceOption, summary
from stvg_core.cli.terminal import hook_trace, one_line, progress

if TYPE_CHECKING:
    from stvg_core.evaluation.comparison.document import ComparisonDocument, RowPart

COMPARISON = "comparison"


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="folder for the results")] = Path("stvg-demo"),
    compare: Annotated[
        bool,
        typer.Option("--compare/--no-compare", help="also compare the tiny models (some minutes)"),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON document and nothing else")] = False,
    trace_hooks: TraceOption = False,
) -> None:
    """Ground the demo clips: an easy query, and a hard one that fails."""
    from stvg_core.api.grounder import ground
    from stvg_core.devtools.demos import find_demos
    from stvg_core.metrics import tube_overlap

    rows = []
    for case in find_demos():
        folder = out / case.name
        with progress(f"stvg demo, {case.name}") as on_stage:
            result = ground(
                case.video,
                case.query,
                model=case.model,
                trace=hook_trace(trace_hooks),
                on_stage=on_stage,
                keep_maps=True,
            )
            truth = case.truth(result.grounding.frames.info)
            on_stage("save")
            result.save(folder, truth=truth)
        overlap = tube_overlap(result.tube, truth)
        rows.append(
            {
                "name": case.name,
                "query": case.query,
                "folder": str(folder),
                "tIoU": round(overlap.temporal_iou, 4),
                "vIoU": round(overlap.video_iou, 4),
                "tube": result.document.tube.model_dump(mode="json", exclude={"boxes"}),
            }
        )
        if not as_json:
            typer.echo(f"{case.name}: {one_line(case.note)}")
            for line in summary(result):
                typer.echo(f"  {line}")
            typer.echo(
                f"  truth     vIoU {overlap.video_iou:.3f}, tIoU {overlap.temporal_iou:.3f} against the ground truth"
            )
            typer.echo(f"  written   {folder / 'tube.json'}, overlay.mp4, contact_sheet.png, report.html")
    document: dict[str, Any] = {"demos": rows}
    compared = _compare(out / COMPARISON, quiet=as_json) if compare else None
    if compared is not None:
        document["comparison"] = {
            "folder": str(out / COMPARISON),
            "rows": [{"name": row.name, "status": row.status, "score": _means(row)} for row in compared.rows],
        }
    if as_json:
        typer.echo(json.dumps(document, ensure_ascii=False))
    if compared is not None:
        check_failures(compared, out / COMPARISON)


def _compare(folder: Path, *, quiet: bool) -> "ComparisonDocument":
    """Run the comparison that a distribution ships; an existing folder is resumed."""
    from stvg_core.devtools.demos import ROWS_FILE, find_comparison_demo
    from stvg_core.evaluation.comparison import Source, read_rows
    from stvg_core.evaluation.comparison import compare as start
    from stvg_core.metrics import find_protocol

    demo = find_comparison_demo()
    if not quiet:
        typer.echo(f"comparison: {one_line(demo.note)}")
    data = folder / "data"
    demo.write_comparison(data)
    rows = read_rows(data / ROWS_FILE)
    with bar("demo", len(rows)) as (on_row, on_count):
        document = start(
            rows, Source("folder", data), folder, find_protocol(DEFAULT_PROTOCOL), on_row=on_row, on_count=on_count
        )
    if not quiet:
        show(document, folder)
    return document


def _means(row: "RowPart") -> dict[str, float] | None:
    return None if row.score is None else {name: round(found.mean, 4) for name, found in row.score.items()}
