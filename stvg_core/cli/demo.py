"""`stvg demo`: a shipped clip, a tiny trained model, no network."""

import json
from pathlib import Path
from typing import Annotated

import typer

from stvg_core.cli.ground import TraceOption, summary
from stvg_core.cli.terminal import hook_trace, one_line, progress


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="folder for the results")] = Path("stvg-demo"),
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON document and nothing else")] = False,
    trace_hooks: TraceOption = False,
) -> None:
    """Ground the shipped clips: an easy query, and a hard one that fails."""
    from stvg_core.api import ground
    from stvg_core.demos import find_demos
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
    if as_json:
        typer.echo(json.dumps({"demos": rows}, ensure_ascii=False))
