"""`stvg attend`: attention maps of any question."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stvg_core.cli.ground import (
    NOTHING_WRITTEN,
    JsonOption,
    TraceOption,
    errors_as_json,
)
from stvg_core.cli.run_options import with_run_spec
from stvg_core.cli.terminal import hook_trace, one_line, progress, table_lines

if TYPE_CHECKING:
    from stvg_core.api.attention import AttentionResult
    from stvg_core.api.run_spec import RunSpec

_MOST_TOKENS = 40
_PERCENT = 100.0


@with_run_spec(without=("recompute", "tracks", "decomposer"))
def attend(
    video: Annotated[str, typer.Argument(help="a local video file")],
    question: Annotated[str, typer.Argument(help="the question, passed on verbatim")],
    tokens: Annotated[
        str,
        typer.Option(
            "--tokens",
            help="whose attention: grounding (the settings' rule), all, words, roles, text:PHRASE, or positions 0,3,-1",
        ),
    ] = "grounding",
    layers: Annotated[
        str | None,
        typer.Option("--layers", help="decoder layers: all, 0-7, or 3,5,-1", show_default="those of the settings"),
    ] = None,
    relative: Annotated[
        bool | None,
        typer.Option(
            "--relative/--raw",
            help="relative to the neutral question's attention, or raw shares",
            show_default="as in the settings",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="folder for attention.json, .npz, .mp4, sheets and curves")
    ] = None,
    as_json: JsonOption = False,
    *,
    spec: "RunSpec",
    trace_hooks: TraceOption = False,
) -> None:
    """Show which parts of a video a model attends to while it answers a question."""
    names: tuple[str, ...] = ()
    with errors_as_json(as_json):
        from stvg_core.api.attention import attend as run
        from stvg_core.outputs.report.document import dump_document
        from stvg_core.outputs.report.staging import check_output_folder

        if out is not None:
            check_output_folder(out)
        with progress("stvg attend") as on_stage:
            result = run(
                video,
                question,
                model=spec,
                tokens=tokens,
                layers=layers,
                mode=None if relative is None else "relative" if relative else "raw",
                trace=hook_trace(trace_hooks),
                on_stage=on_stage,
            )
            if out is not None:
                on_stage("save")
                names = result.save(out)
    if as_json:
        typer.echo(dump_document(result.document))
    else:
        for line in _summary(result):
            typer.echo(line)
        typer.echo(f"written   {one_line(str(out / names[0]))}, {', '.join(names[1:])}" if out else NOTHING_WRITTEN)
    if out is not None and "frame_curve.png" not in names:
        from stvg_core.outputs.attention.folder import INSTALL

        typer.echo(f"no curves drawn, matplotlib is not installed: {INSTALL}; their numbers are in the JSON", err=True)


def _summary(result: "AttentionResult") -> list[str]:
    """Return a result as lines of text."""
    document = result.document
    shown = document.attention
    best = max(document.frames, key=lambda frame: frame.peak)
    mode = "raw shares" if document.question.neutral is None else f"relative to {one_line(document.question.neutral)!r}"
    rows = [("token", "", "kind", "on the video", "peak")]
    rows += [
        (
            f"{'*' if token.chosen else ' '} {token.position}",
            one_line(token.text),
            token.kind,
            f"{_PERCENT * token.share:.2f} %",
            f"{token.peak:.4g}",
        )
        for token in document.tokens[:_MOST_TOKENS]
    ]
    more = len(document.tokens) - _MOST_TOKENS
    lines = [
        f"question  {one_line(document.question.text)}",
        f"model     {document.model.id} through {document.model.distribution} {document.model.version}, "
        f"preset {document.settings['preset']}",
        f"shown     {sum(token.chosen for token in document.tokens)} of {len(document.tokens)} tokens (*), "
        f"{len(shown.layers)} of {shown.layer_count} layers, {mode}",
        f"peak      frame {best.frame} ({best.seconds:.2f} s), cell {' '.join(f'{x:.0f}' for x in best.peak_xyxy)} "
        "(x0 y0 x1 y1, pixels)",
        *table_lines(rows),
    ]
    lines += [f"          {more} further tokens"] if more > 0 else []
    return lines + [f"warning   {one_line(warning)}" for warning in document.warnings]
