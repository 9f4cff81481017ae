"""`stvg tracks`: candidate tracks of a video, without a multimodal model."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from stvg_core.cli.plugin_files import PluginFileOption
from stvg_core.cli.terminal import one_line, progress, table_lines
from stvg_core.errors import UsageError

if TYPE_CHECKING:
    from stvg_core.plugin.tracker import Tracker
    from stvg_core.values import Frames, Track

FileForm = Literal["stvg", "released"]
_PNG, _MP4 = ".png", ".mp4"
_RELEASED_STEP = 10
_LONGEST_LABEL = 40


def tracks(
    video: Annotated[str, typer.Argument(help="a local video file")],
    tracker: Annotated[
        str, typer.Option("--tracker", "-t", help="tracker, file:PATH, or NAME:setting=value,setting=value")
    ] = "regions",
    query: Annotated[
        str | None, typer.Option("--query", "-q", help="sentence whose subject a text-prompted tracker detects")
    ] = None,
    classes: Annotated[
        str | None, typer.Option("--classes", help="classes to detect instead, such as person,dog")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="file to write: .json or .json.gz")] = None,
    form: Annotated[
        FileForm, typer.Option("--format", help="format of --out: stvg, or released (read by the authors' code)")
    ] = "stvg",
    show: Annotated[Path | None, typer.Option("--show", help="draw the tracks: .png or .mp4")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON document and nothing else")] = False,
    plugin: PluginFileOption = None,
) -> None:
    """Propose object tracks in a video; write and draw them."""
    from stvg_core.cli.ground import errors_as_json

    if show is not None and show.suffix.lower() not in (_PNG, _MP4):
        raise UsageError(f"expected a .png or .mp4 file for --show, got {show}")
    if out is not None and not out.name.endswith((".json", ".json.gz")):
        raise UsageError(f"expected a .json or .json.gz file for --out, got {out}")
    if tracker.partition(":")[0] == "attention":
        raise UsageError("tracker attention reads a model's maps; use it through stvg ground --tracks attention")
    with errors_as_json(as_json), progress("stvg tracks") as on_stage:
        from stvg_core.errors import NoTracksError
        from stvg_core.inputs.tracks.catalog import open_tracker
        from stvg_core.inputs.tracks.description import describe_tracks

        proposer = open_tracker(_with_classes(tracker, classes))
        on_stage("video")
        frames = _sampled(video)
        on_stage("tracks")
        try:
            found = proposer.propose(_request(frames, query))
        except NoTracksError as error:
            found, nothing = (), str(error)
        else:
            nothing = "the tracker proposed nothing"
        description = describe_tracks(proposer)
        on_stage("save")
        if out is not None:
            _write(out, form, frames, found, proposer, description)
        if show is not None:
            _draw(show, frames, found)
    if as_json:
        typer.echo(json.dumps(_document(frames, found, proposer.name, description), ensure_ascii=True))
        return
    if not found:
        typer.echo(f"no tracks: {one_line(nothing)}")
    rows = [("track", "label", "frames", "boxes", "masks")]
    for number, track in enumerate(found, 1):
        masks = 0 if track.masks is None else sum(mask is not None for mask in track.masks)
        span = f"{int(track.frames[0])} to {int(track.frames[-1])}"
        rows.append((str(number), one_line(track.label, _LONGEST_LABEL), span, str(len(track.frames)), str(masks)))
    for line in table_lines(rows) if found else ():
        typer.echo(line)
    for path in filter(None, (out, show)):
        typer.echo(f"wrote {one_line(str(path))}")


def _with_classes(tracker: str, classes: str | None) -> str:
    """Return the tracker's name with the classes added to its settings."""
    if classes is None:
        return tracker
    names = [name.strip() for name in classes.split(",") if name.strip()]
    if not names:
        raise UsageError(f"expected --classes such as person,dog, got {classes!r}")
    return f"{tracker}{',' if ':' in tracker else ':'}classes={'+'.join(names)}"


def _sampled(video: str) -> "Frames":
    from stvg_core.inputs.video import read_frames
    from stvg_core.settings import SamplingSettings

    sampling = SamplingSettings()
    return read_frames(video, sampling, maximum_side_pixels=sampling.maximum_side_pixels)


def _request(frames: "Frames", query: str | None) -> Any:  # noqa: ANN401  # TrackRequest imports numpy
    import numpy as np

    from stvg_core.inputs.query.catalog import open_decomposer
    from stvg_core.plugin.tracker import TrackRequest
    from stvg_core.values import FrameMaps, SubQueries

    if query is None:
        sub_queries = SubQueries("object", "object", "object", "none")
    else:
        sub_queries = open_decomposer("rules", generate=None, video_name=None).decompose(query)
    flat = FrameMaps(np.zeros((len(frames), 1, 1)))
    return TrackRequest(frames, sub_queries, flat, flat)


def _write(
    out: Path,
    form: FileForm,
    frames: "Frames",
    found: "tuple[Track, ...]",
    proposer: "Tracker",
    description: dict[str, Any],
) -> None:
    from stvg_core.inputs.tracks.description import ORACLE_CATEGORIES
    from stvg_core.inputs.tracks.released_file import write_released
    from stvg_core.inputs.tracks.track_file import track_document, write_document

    info = frames.info
    if form == "released":
        write_released(out, info, found, range(0, info.frame_count, _RELEASED_STEP))
        return
    oracle = bool(description.get(ORACLE_CATEGORIES))
    write_document(out, track_document(info, found, proposer.name, description, oracle_categories=oracle))


def _draw(show: Path, frames: "Frames", found: "tuple[Track, ...]") -> None:
    from stvg_core.inputs.video import iterate_frames
    from stvg_core.outputs.report.drawing import save_png
    from stvg_core.outputs.report.track_drawing import draw_track_sheet, write_track_video

    if show.suffix.lower() == _PNG:
        save_png(show, draw_track_sheet(frames, found))
        return
    info = frames.info
    write_track_video(show, iterate_frames(info.path, info, 0, info.frame_count - 1), info, found)


def _document(frames: "Frames", found: "tuple[Track, ...]", name: str, description: dict[str, Any]) -> dict[str, Any]:
    info = frames.info
    return {
        "schema_version": 1,
        "status": "ok",
        "video": {"path": info.path, "width": info.width, "height": info.height, "frame_count": info.frame_count},
        "tracker": name,
        "settings": description,
        "tracks": [
            {
                "label": track.label,
                "start_frame": int(track.frames[0]),
                "end_frame": int(track.frames[-1]),
                "frames": track.frames.tolist(),
                "boxes_xyxy": track.boxes_xyxy.tolist(),
                "absent": [list(stretch) for stretch in track.absent],
                "has_masks": track.masks is not None,
            }
            for track in found
        ],
    }
