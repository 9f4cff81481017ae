"""The Python API: the same job as `stvg ground`, of the same shape.

from stvg_core import ground
result = ground("clip.mp4", "The red circle moves left.", model="tiny:qwen2-vl")
result.tube.span, result.save("output")
"""

import importlib.metadata
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from stvg_core.errors import UsageError
from stvg_core.host.extensions import HookExtension, open_hook_extensions
from stvg_core.host.model_settings import settings_before_loading
from stvg_core.host.models import resolve_model
from stvg_core.host.session import Session, open_session
from stvg_core.host.tracing import HookCall
from stvg_core.inputs.query.catalog import open_decomposer
from stvg_core.inputs.query.sentence import clean_sentence
from stvg_core.inputs.tracks.catalog import open_tracker
from stvg_core.inputs.tracks.description import describe_tracker, describe_tracks
from stvg_core.inputs.video import WindowedVideo, iterate_frames, lost_frame_count, read_video
from stvg_core.method.long_videos import WindowReading, ground_windows, read_windows
from stvg_core.method.pipeline import BranchMaps, EncodedViews, Stopwatch, encode_views, ground_maps, read_views
from stvg_core.outputs.report.document import GroundingDocument, ModelIdentity, build_document
from stvg_core.outputs.report.folder import write_output_folder
from stvg_core.plugin.model_reference import LoadOptions
from stvg_core.plugin.tracker import Tracker
from stvg_core.settings import Settings, choose_settings
from stvg_core.values import Frames, Grounding, SubQueries, Tube

Seen = TypeVar("Seen")
"""A video as it was read: sampled frames, or what will be read window by window."""

DEFAULT_TRACKER = "regions"
DEFAULT_DECOMPOSER = "rules"
_REPORTED_DISTRIBUTIONS = ("stvg-core", "torch", "transformers", "av", "numpy", "accelerate", "bitsandbytes")


@dataclass(frozen=True, eq=False)
class GroundingResult:
    """A grounding, and its JSON document (schema version 1)."""

    grounding: Grounding
    document: GroundingDocument

    @property
    def tube(self) -> Tube:
        """When and where."""
        return self.grounding.tube

    def save(self, folder: str | Path, truth: Tube | None = None) -> Path:
        """Write tube.json, overlay.mp4, contact_sheet.png and report.html with its video; all of them, or nothing.

        Args:
            folder: made where it is missing; other files in it stay.
            truth: a true tube to draw beside the predicted one.

        Raises:
            OutputError: the folder cannot be written.
            VideoError: the video can no longer be read.
        """
        info = self.grounding.frames.info
        pictures = iterate_frames(info.path, info, 0, info.frame_count - 1)
        return write_output_folder(Path(folder), self.grounding, self.document, pictures, truth=truth)


def ground(
    video: str | Path,
    query: str,
    *,
    model: str | Session,
    preset: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    tracks: str = DEFAULT_TRACKER,
    decomposer: str = DEFAULT_DECOMPOSER,
    options: LoadOptions | None = None,
    revision: str | None = None,
    backend: str | None = None,
    extensions: Sequence[str | HookExtension] = (),
    trace: Callable[[HookCall], None] | None = None,
    on_stage: Callable[[str], None] | None = None,
    keep_maps: bool = False,
) -> GroundingResult:
    """Return the tube of what a sentence describes in a video.

    Args:
        video: a local file.
        query: a sentence or question about one object.
        model: a named checkpoint, a folder, a hub id, or an opened session (kept open).
        preset: "paper", "released", "fast" or "calibrated"; None: calibrated where the checkpoint carries
            it, else paper.
        overrides: dotted setting names to values, such as {"prompt.steps": 0}.
        tracks: name of a tracker, "file:PATH", or "NAME:setting=value".
        decomposer: "rules", "mllm", "file:PATH", or the name of an installed one.
        options: device, dtype and the rest of how the model is loaded; for an opened session as it was opened.
        revision: branch, tag or commit of a hub id.
        backend: which backend to use where several would do.
        extensions: names of installed extensions that wrap the backend's hooks, the outermost first.
        trace: told of every hook call, in shapes and types.
        on_stage: told the name of each stage as it begins.
        keep_maps: read attention without the learned prompts as well, so that a report can show what they do.

    Raises:
        StvgError: what was expected, what came, and the cure.
    """
    watch = Stopwatch(on_stage)
    # Whatever can be wrong with the arguments is told before a model is loaded.
    tracker = open_tracker(tracks)
    clean_sentence(query)
    settings, seen, session = open_for(
        video,
        model,
        read_video,
        watch,
        preset=preset,
        overrides=overrides,
        options=options,
        revision=revision,
        backend=backend,
        extensions=extensions,
        trace=trace,
    )
    grounder = Grounder(session, settings, tracker, decomposer, revision, keep_maps)
    sub_queries = grounder.decompose(query, video, watch)
    if isinstance(seen, WindowedVideo):
        (reading,) = grounder.read_windows(seen, (sub_queries,), watch)
        return grounder.ground_windows(reading, watch)
    return grounder.ground(encode_views(seen, session, settings, watch), sub_queries, watch)


def open_for(
    video: str | Path,
    model: str | Session,
    read: Callable[[str | Path, Settings], Seen],
    watch: Stopwatch,
    *,
    preset: str | None,
    overrides: Mapping[str, Any] | None,
    options: LoadOptions | None,
    revision: str | None,
    backend: str | None,
    extensions: Sequence[str | HookExtension],
    trace: Callable[[HookCall], None] | None,
) -> tuple[Settings, Seen, Session]:
    """Return settings, the video as it was read, and the opened model of one question about one video.

    The arguments are those of `ground`, and what reads the video. Whatever can be wrong with them and with the
    video is told before a model is loaded.

    Raises:
        StvgError: what was expected, what came, and the cure.
    """
    if isinstance(model, Session) and (extensions or trace is not None):
        raise UsageError("expected a model's name beside extensions or trace, got an opened session; open it with them")
    wrappers = open_hook_extensions(extensions)
    wanted = model if isinstance(model, Session) else resolve_model(model, revision)
    if isinstance(wanted, Session):
        settings = settings_of(wanted, preset, overrides)
    else:
        settings = settings_before_loading(wanted, backend, preset, overrides)
    with watch.stage("video"):
        seen = read(video, settings)
    if isinstance(wanted, Session):
        return settings, seen, wanted
    with watch.stage("load"):
        return settings, seen, open_session(wanted, options, backend, extensions=wrappers, trace=trace)


@dataclass(frozen=True, eq=False)
class Grounder:
    """An opened model with everything that decides a result besides video and query; grounds any number of them.

    Attributes:
        session: the opened backend.
        settings: every choice of the method.
        tracker: proposes the candidate tracks.
        decomposer: name of the decomposer, as `open_decomposer` takes it.
        revision: of a hub id; for the record.
        keep_maps: attention is wanted for a report, without the learned prompts as well; has no say in results.
    """

    session: Session
    settings: Settings
    tracker: Tracker
    decomposer: str = DEFAULT_DECOMPOSER
    revision: str | None = None
    keep_maps: bool = False

    def decompose(self, query: str, video: str | Path, watch: Stopwatch) -> SubQueries:
        """Return the attribute and action parts of a sentence or question about one object.

        Args:
            query: the sentence.
            video: the file it is about; decompositions in a file may be told apart by its name.
            watch: collects the time.

        Raises:
            QueryError: the query is empty, or a file of decompositions does not have it.
        """
        splitter = open_decomposer(
            self.decomposer, generate=self.session.adapter.generate_text, video_name=Path(video).name
        )
        with watch.stage("query"):
            return splitter.decompose(query)

    @property
    def learns_prompts(self) -> bool:
        """Whether a query's prompts are learned: if not, queries about one video can be read in one pass."""
        return self.settings.prompt.steps > 0 and (self.settings.spatial.tune or self.settings.temporal.tune)

    def read(self, views: EncodedViews, queries: Sequence[SubQueries], watch: Stopwatch) -> tuple[BranchMaps, ...]:
        """Return both branches' maps of queries about one encoded video, in shared passes; for `ground`.

        Args:
            views: what `encode_views` made with this session and these settings.
            queries: what `decompose` made of each.
            watch: collects the time per stage, of all queries together.

        Raises:
            StvgError: what was expected, what came, and the cure; one query that cannot be asked fails them all.
        """
        return read_views(views, queries, self.session, self.settings, watch, unprompted=self.keep_maps)

    def ground(
        self, views: EncodedViews, sub_queries: SubQueries, watch: Stopwatch, maps: BranchMaps | None = None
    ) -> GroundingResult:
        """Return the tube of what a decomposed query describes in an encoded video.

        Args:
            views: what `encode_views` made with this session and these settings.
            sub_queries: what `decompose` made of the query.
            watch: collects the time per stage.
            maps: what `read` made of the query; None: they are read now.

        Raises:
            StvgError: what was expected, what came, and the cure.
        """
        if maps is None:
            (maps,) = self.read(views, (sub_queries,), watch)
        grounding = ground_maps(views.frames, sub_queries, maps, self.tracker, self.settings.joint, watch)
        warnings = (*lost_frames(views.frames, self.settings), *self._scaled_span(len(views.frames)))
        return self._result(replace(grounding, warnings=(*grounding.warnings, *warnings)))

    def read_windows(
        self, video: WindowedVideo, queries: Sequence[SubQueries], watch: Stopwatch
    ) -> tuple[WindowReading, ...]:
        """Search the windows of a long video for decomposed queries; see `read_windows` of long_videos."""
        return read_windows(video, queries, self.session, self.settings, watch)

    def ground_windows(self, reading: WindowReading, watch: Stopwatch) -> GroundingResult:
        """Return the tube of a query in the windows that hold its event.

        Args:
            reading: what `read_windows` made of the query.
            watch: collects the time per stage.

        Raises:
            StvgError: what was expected, what came, and the cure.
        """
        grounding = ground_windows(reading, self.tracker, self.settings, watch)
        between = ", and all frames of the windows between" if reading.merged.inner_count else ""
        warnings = self._scaled_span(reading.merged.window_frames, f"sampled frames of a window{between}")
        return self._result(replace(grounding, warnings=(*grounding.warnings, *warnings)))

    def _scaled_span(self, sampled_frames: int, of: str = "sampled frames") -> tuple[str, ...]:
        """Return a warning where the span is of another number of frames than the preset chose it for."""
        warning = self.settings.scaled_span(sampled_frames, of)
        return () if warning is None else (warning,)

    def _result(self, grounding: Grounding) -> GroundingResult:
        session = self.session
        return GroundingResult(
            grounding,
            build_document(
                grounding,
                ModelIdentity(**asdict(session.identity)),
                self.recorded_settings()
                | {"decomposer": grounding.sub_queries.decomposer, "tracks": describe_tracks(self.tracker)},
                installed_versions(
                    session.identity.distribution, *(extension.distribution for extension in session.extensions)
                ),
            ),
        )

    def recorded_settings(self) -> dict[str, Any]:
        """Return everything that decides a result besides video and query, as JSON says it."""
        return self.settings.model_dump(mode="json") | {
            "tracker": self.tracker.name,
            "tracks": describe_tracker(self.tracker),
            "decomposer": self.decomposer,
            "load": loaded_as(self.session) | {"revision": self.revision},
            "extensions": wrapped_in(self.session),
        }


def loaded_as(session: Session) -> dict[str, Any]:
    """Return how a session's model was loaded: what was asked for, and the device and dtype it has."""
    description = session.adapter.description
    actual = {"device": description.device, "dtype": description.dtype}
    return asdict(session.options) | {name: value for name, value in actual.items() if value}


def wrapped_in(session: Session) -> list[dict[str, Any]]:
    """Return which extensions wrap a session's hooks, the outermost first."""
    return [
        {
            "name": extension.name,
            "distribution": extension.distribution,
            "version": extension.version,
            "hooks": list(extension.hooks),
        }
        for extension in session.extensions
    ]


def settings_of(session: Session, preset: str | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings of a preset for an opened model; None: calibrated where it has a calibration, else paper.

    Raises:
        SettingsError: the preset or a value is not possible.
    """
    return choose_settings(session.adapter.description.checkpoint, preset, overrides, session.family)


def lost_frames(frames: Frames, settings: Settings) -> tuple[str, ...]:
    """Return a warning where sampled frames did not decode and neighbours stand in; else nothing."""
    lost = lost_frame_count(frames, settings.sampling)
    return (f"{lost} of {len(frames)} sampled frames do not decode; neighbours stand in",) if lost else ()


def installed_versions(*distributions: str) -> dict[str, str]:
    """Return versions of Python and of what a grounding runs on."""
    versions = {"python": platform.python_version()}
    for name in (*_REPORTED_DISTRIBUTIONS, *distributions):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
