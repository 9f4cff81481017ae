"""Open a model once, and ground any number of sentences in any number of videos.

Examples:
    >>> import stvg_core
    >>> from stvg_core.devtools.demos import find_demos
    >>> clip = find_demos()[0]
    >>> with stvg_core.load("tiny:qwen2-vl", device="cpu") as grounder:
    ...     result = grounder.ground(clip.video, clip.query)
    ...     both = grounder.ground(clip.video, ["The red circle moves left.", "The blue square stands still."])
    >>> result
    GroundingResult('...': ... s to ... s, frames ... to ..., first box [...])
    >>> frame, (x0, y0, x1, y1) = next(iter(result.tube))
    >>> len(both)
    2
"""

import importlib.metadata
import platform
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack, overload

import numpy as np
from jaxtyping import UInt8

from stvg_core.api.results import GroundingResult
from stvg_core.api.run_spec import DEFAULT_DECOMPOSER, RunOptions, RunSpec
from stvg_core.errors import QueryError, UsageError, VideoError
from stvg_core.host.extensions import open_hook_extensions
from stvg_core.host.model_settings import settings_before_loading
from stvg_core.host.models import resolve_model
from stvg_core.host.session import Session, open_session
from stvg_core.host.tracing import HookCall
from stvg_core.inputs.query.catalog import check_decomposer, open_decomposer
from stvg_core.inputs.query.sentence import as_sub_query, clean_sentence
from stvg_core.inputs.tracks.cached import VideoCache
from stvg_core.inputs.tracks.catalog import open_tracker
from stvg_core.inputs.tracks.description import describe_tracker, describe_tracks
from stvg_core.inputs.tracks.given import Detections, GivenTracks, tracks_from_detections
from stvg_core.inputs.video import WindowedVideo, lost_frame_count, read_video
from stvg_core.inputs.video.from_array import temporary_video
from stvg_core.method.branches import BranchMaps
from stvg_core.method.long_videos import WindowSearch, ground_windows, search_windows
from stvg_core.method.pipeline import EncodedViews, Pipeline, Stopwatch
from stvg_core.outputs.report.document import ModelIdentity, build_document
from stvg_core.plugin.tracker import Tracker
from stvg_core.settings import Settings, choose_settings
from stvg_core.values import Frames, Grounding, SubQueries, Track

Video = str | Path | Frames | UInt8[np.ndarray, "frame height width 3"]
"""A local file; sampled frames, which the model sees as they are; or all frames of a video as RGB, with fps."""

Tracks = str | Tracker | Sequence[Track] | Sequence[Detections]
"""A tracker by name or as an object; tracks; or detections with tracker ids for every source frame (supervision)."""

_REPORTED_DISTRIBUTIONS = ("stvg-core", "torch", "transformers", "av", "numpy", "accelerate", "bitsandbytes")


def load(
    model: str | Path | RunSpec | Session,
    *,
    tracks: Tracks | None = None,
    trace: Callable[[HookCall], None] | None = None,
    **options: Unpack[RunOptions],
) -> "Grounder":
    """Load a model and everything that decides a result besides video and query.

    Args:
        model: a named checkpoint (`stvg models`), a folder, or a hub id; a RunSpec; or an opened session.
        tracks: what proposes objects; None: the spec's, else "regions".
        trace: called with every hook call, in shapes and types.
        **options: fields of RunSpec and of LoadOptions, such as `device="cuda"`, `dtype="bfloat16"`,
            `preset="released"`, `overrides={"prompt.steps": 0}`.

    Returns:
        A context manager; leaving it frees the model.

    Raises:
        StvgError: what was expected, what came, and the cure.
    """
    opening = Opening.of(model, tracks, options, trace)
    return opening.grounder()


@overload
def ground(
    video: Video,
    query: str,
    *,
    model: str | Path | RunSpec | Session,
    fps: float | None = None,
    tracks: Tracks | None = None,
    attribute: str | None = None,
    action: str | None = None,
    trace: Callable[[HookCall], None] | None = None,
    on_stage: Callable[[str], None] | None = None,
    keep_maps: bool = False,
    **options: Unpack[RunOptions],
) -> GroundingResult: ...


@overload
def ground(
    video: Video,
    query: list[str] | tuple[str, ...],
    *,
    model: str | Path | RunSpec | Session,
    fps: float | None = None,
    tracks: Tracks | None = None,
    attribute: str | None = None,
    action: str | None = None,
    trace: Callable[[HookCall], None] | None = None,
    on_stage: Callable[[str], None] | None = None,
    keep_maps: bool = False,
    **options: Unpack[RunOptions],
) -> list[GroundingResult]: ...


def ground(
    video: Video,
    query: str | list[str] | tuple[str, ...],
    *,
    model: str | Path | RunSpec | Session,
    fps: float | None = None,
    tracks: Tracks | None = None,
    attribute: str | None = None,
    action: str | None = None,
    trace: Callable[[HookCall], None] | None = None,
    on_stage: Callable[[str], None] | None = None,
    keep_maps: bool = False,
    **options: Unpack[RunOptions],
) -> GroundingResult | list[GroundingResult]:
    """Return the tube of what a sentence describes in a video; `load` once for more than one video.

    Arguments and video are checked before the model is loaded.

    Args:
        video: see `Grounder.ground`, as `query`, `fps`, `tracks`, `attribute`, `action`, `on_stage`, `keep_maps`.
        query: one sentence, or several.
        model: as `load` takes it; an opened session stays open.
        fps: of an array.
        tracks: as `load` takes them.
        attribute: who or what, in place of the decomposer's.
        action: what happens, in place of the decomposer's.
        trace: called with every hook call, in shapes and types.
        on_stage: called with the name of each stage as it begins.
        keep_maps: also compute maps without the learned prompts, for reports.
        **options: as `load` takes them.

    Raises:
        StvgError: what was expected, what came, and the cure.

    Examples:
        >>> from stvg_core.devtools.demos import find_demos
        >>> result = ground(find_demos()[0].video, "The red circle moves left.", model="tiny:qwen2-vl")
        >>> sorted(result.to_dict())[:3]
        ['diagnostics', 'model', 'query']
    """
    watch = Stopwatch(on_stage)
    opening = Opening.of(model, tracks, options, trace)
    request = _Request.of(query, attribute, action)
    with ExitStack() as files:
        with watch.stage("video"):
            frames = files.enter_context(_frames_of(video, fps, opening.settings))
        with watch.stage("load"):
            grounder = replace(opening.grounder(), keep_maps=keep_maps)
        return grounder._ground(frames, request, watch, files)  # the same module


@dataclass(frozen=True)
class Opening:
    """A model that is about to be opened: everything that can be checked before is."""

    settings: Settings
    tracker: Tracker
    decomposer: str
    revision: str | None
    session: Callable[[], Session]

    @classmethod
    def of(
        cls,
        model: str | Path | RunSpec | Session,
        tracks: Tracks | None,
        options: RunOptions,
        trace: Callable[[HookCall], None] | None,
    ) -> "Opening":
        """Resolve names and settings; opens nothing.

        Raises:
            StvgError: what was expected, what came, and the cure.
        """
        if isinstance(model, Session):
            if trace is not None or any(options.get(name) for name in ("extensions", "revision", "backend")):
                raise UsageError("expected a model's name beside options of loading, got an opened session")
            spec = RunSpec.of(model.identity.id, **options)
        elif isinstance(model, RunSpec):
            if options:
                raise UsageError(f"expected a RunSpec or options, got both; put {', '.join(options)} into the RunSpec")
            spec = model
        else:
            spec = RunSpec.of(model, **options)
        tracker = _tracker(spec.tracks if tracks is None else tracks)
        check_decomposer(spec.decomposer)
        if isinstance(model, Session):
            settings = spec.settings or settings_of(model, spec.preset, spec.overrides)
            opened = model
            return cls(settings, tracker, spec.decomposer, None, lambda: opened)
        wrappers = open_hook_extensions(spec.extensions)
        resolved = resolve_model(spec.model, spec.revision)
        settings = spec.settings or settings_before_loading(resolved, spec.backend, spec.preset, spec.overrides)

        def load() -> Session:
            return open_session(resolved, spec.load, spec.backend, extensions=wrappers, trace=trace)

        return cls(settings, tracker, spec.decomposer, spec.revision, load)

    def grounder(self, session: Session | None = None) -> "Grounder":
        """Load the model, where it is not loaded."""
        return Grounder(session or self.session(), self.settings, self.tracker, self.decomposer, self.revision)


def _tracker(tracks: Tracks) -> Tracker:
    """Return what proposes the objects.

    Raises:
        TrackError: no track, or detections without tracker ids.
        UsageError: there is no such tracker.
    """
    if isinstance(tracks, str):
        return open_tracker(tracks)
    if isinstance(tracks, Tracker):
        return tracks
    # supervision's Detections can be iterated, too.
    if isinstance(tracks, Iterable) and not isinstance(tracks, Detections):
        items = tuple(tracks)
        if all(isinstance(track, Track) for track in items):
            return GivenTracks(tuple(track for track in items if isinstance(track, Track)))
        if all(isinstance(detections, Detections) for detections in items):
            found = [detections for detections in items if isinstance(detections, Detections)]
            return GivenTracks(tracks_from_detections(found), len(found))
    raise UsageError(
        f"expected tracks as a tracker's name, a Tracker, a list of Track, or Detections for every frame, got "
        f"{type(tracks).__name__}"
    )


@dataclass(frozen=True)
class _Request:
    """Queries about one video, checked."""

    queries: tuple[str, ...]
    attribute: str | None
    action: str | None
    single: bool

    @classmethod
    def of(cls, query: str | list[str] | tuple[str, ...], attribute: str | None, action: str | None) -> "_Request":
        if not isinstance(query, str | Iterable):
            raise QueryError(f"expected a query as text, or a list of them, got {type(query).__name__}")
        queries = (query,) if isinstance(query, str) else tuple(query)
        if not queries:
            raise QueryError("expected at least one query, got none")
        if len(queries) > 1 and (attribute is not None or action is not None):
            raise UsageError(f"expected one query beside attribute and action, got {len(queries)}")
        for sentence in queries:
            clean_sentence(sentence)
        for part in (attribute, action):
            if part is not None and not isinstance(part, str):
                raise QueryError(f"expected attribute and action as texts, got {type(part).__name__}")
        return cls(queries, attribute, action, isinstance(query, str))


@contextmanager
def _frames_of(video: Video, fps: float | None, settings: Settings) -> Iterator[Frames | WindowedVideo]:
    """Yield the frames that the model is to see; a file of frames in memory lives until this is left."""
    if isinstance(video, np.ndarray):
        if fps is None:
            raise UsageError("expected fps beside an array of frames, got none; pass fps=25.0 or whatever it has")
        with temporary_video(video, fps) as path:
            yield read_video(path, settings)
        return
    if fps is not None:
        raise UsageError("expected fps beside an array of frames alone; a file and Frames have their own times")
    if not isinstance(video, Frames | str | Path):
        raise VideoError(
            f"expected a video as a path, an array of frames with fps, or Frames, got {type(video).__name__}"
        )
    yield video if isinstance(video, Frames) else read_video(video, settings)


@dataclass(frozen=True, eq=False)
class Grounder:
    """An opened model with everything that decides a result besides video and query; grounds any number of them.

    Attributes:
        session: the opened backend.
        settings: every choice of the method.
        tracker: proposes the candidate tracks.
        decomposer: name of the decomposer, as `open_decomposer` takes it.
        revision: of a hub id; for the record.
        keep_maps: also compute maps without the learned prompts, for reports; changes no result.
    """

    session: Session
    settings: Settings
    tracker: Tracker
    decomposer: str = DEFAULT_DECOMPOSER
    revision: str | None = None
    keep_maps: bool = False
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def __enter__(self) -> "Grounder":
        """Return the grounder."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Free the model."""
        self.close()

    def close(self) -> None:
        """Free the model; grounding is an error from then on."""
        with self._lock:
            self.session.__exit__(None, None, None)

    @overload
    def ground(
        self,
        video: Video,
        query: str,
        *,
        fps: float | None = None,
        tracks: Tracks | None = None,
        settings: Settings | None = None,
        attribute: str | None = None,
        action: str | None = None,
        on_stage: Callable[[str], None] | None = None,
        keep_maps: bool = False,
    ) -> GroundingResult: ...

    @overload
    def ground(
        self,
        video: Video,
        query: list[str] | tuple[str, ...],
        *,
        fps: float | None = None,
        tracks: Tracks | None = None,
        settings: Settings | None = None,
        attribute: str | None = None,
        action: str | None = None,
        on_stage: Callable[[str], None] | None = None,
        keep_maps: bool = False,
    ) -> list[GroundingResult]: ...

    def ground(
        self,
        video: Video,
        query: str | list[str] | tuple[str, ...],
        *,
        fps: float | None = None,
        tracks: Tracks | None = None,
        settings: Settings | None = None,
        attribute: str | None = None,
        action: str | None = None,
        on_stage: Callable[[str], None] | None = None,
        keep_maps: bool = False,
    ) -> GroundingResult | list[GroundingResult]:
        """Return the tube of what a sentence describes in a video; of several sentences, a list in their order.

        Several sentences decode and encode the video once, and track once where the tracker does not depend on the
        sentence. Calls from several threads wait for each other.

        Args:
            video: a local file; an array of all frames (frame, height, width, 3), uint8 RGB, with `fps`; or sampled
                `Frames`, which the model sees as they are.
            query: a sentence or question about one object, or several.
            fps: frames per second of an array.
            tracks: a tracker's name, a Tracker, Track objects, or supervision Detections with tracker ids for every
                source frame; None: as the model was loaded.
            settings: in place of the grounder's.
            attribute: who or what ("the man in blue clothes"), in place of the decomposer's; for one query.
            action: what happens ("the man walks to the sofa"), in place of the decomposer's; for one query.
            on_stage: called with the name of each stage as it begins.
            keep_maps: also compute maps without the learned prompts, for reports.

        Raises:
            UsageError: arguments exclude each other, or the grounder is closed.
            StvgError: what was expected, what came, and the cure.
        """
        watch = Stopwatch(on_stage)
        if settings is not None and not isinstance(settings, Settings):
            raise UsageError(f"expected settings as a Settings, got {type(settings).__name__}; see load_settings")
        grounder = replace(
            self,
            settings=settings or self.settings,
            tracker=self.tracker if tracks is None else _tracker(tracks),
            keep_maps=keep_maps or self.keep_maps,
        )
        request = _Request.of(query, attribute, action)
        with ExitStack() as files:
            with watch.stage("video"):
                frames = files.enter_context(_frames_of(video, fps, grounder.settings))
            return grounder._ground(frames, request, watch, files)

    def _ground(
        self, frames: Frames | WindowedVideo, request: _Request, watch: Stopwatch, files: ExitStack
    ) -> GroundingResult | list[GroundingResult]:
        """Ground checked queries; on success the files live as long as any of the results."""
        with self._lock:
            if self.session.closed:
                raise UsageError("expected an open grounder, got one that was closed; load the model again")
            results = list(self._results(frames, request, watch))
        shared = _Files(files.pop_all())
        results = [replace(result, _video_file=shared) for result in results]
        return results[0] if request.single else results

    def _results(
        self, frames: Frames | WindowedVideo, request: _Request, watch: Stopwatch
    ) -> Iterator[GroundingResult]:
        queries = [self._split(query, request, frames.info.path, watch) for query in request.queries]
        if isinstance(frames, WindowedVideo):
            for search in self.search_windows(frames, queries, watch):
                yield self.ground_windows(search, watch)
            return
        # Trackers that do not depend on the query propose once.
        once = replace(self, tracker=VideoCache(self.tracker)) if len(queries) > 1 else self
        views = self.encode(frames, watch)
        maps: Sequence[BranchMaps | None] = [None] * len(queries)
        if len(queries) > 1 and not self.learns_prompts:
            maps = self.compute_maps(views, queries, watch)
        shared = {name: seconds / len(queries) for name, seconds in watch.seconds.items()}
        for query, query_maps in zip(queries, maps, strict=True):
            one_watch = Stopwatch(watch.on_stage)
            one_watch.seconds = dict(shared)
            yield once.ground_views(views, query, one_watch, query_maps)

    def _split(self, query: str, request: _Request, video: str, watch: Stopwatch) -> SubQueries:
        """Return a query's parts: those that were given, else the decomposer's."""
        attribute, action = request.attribute, request.action
        if attribute is not None and action is not None:
            return SubQueries(clean_sentence(query), as_sub_query(attribute), as_sub_query(action), "given")
        parts = self.decompose(query, video, watch)
        return replace(
            parts,
            attribute=parts.attribute if attribute is None else as_sub_query(attribute),
            action=parts.action if action is None else as_sub_query(action),
        )

    def decompose(self, query: str, video: str | Path, watch: Stopwatch) -> SubQueries:
        """Return the attribute and action parts of a sentence or question about one object.

        Args:
            query: the sentence.
            video: its file; a file of decompositions may be keyed by its name.
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

    def pipeline(self, watch: Stopwatch) -> Pipeline:
        """Return the method with this model, settings and tracker; `watch` collects the time of its stages."""
        return Pipeline(self.session, self.settings, self.tracker, watch)

    def encode(self, frames: Frames, watch: Stopwatch) -> EncodedViews:
        """Encode the sampled frames of a video, once for all queries about it; see `Pipeline.encode`."""
        return self.pipeline(watch).encode(frames)

    def compute_maps(
        self, views: EncodedViews, queries: Sequence[SubQueries], watch: Stopwatch
    ) -> tuple[BranchMaps, ...]:
        """Return both branches' maps of queries about one encoded video, in shared passes; for `ground_views`.

        Args:
            views: from `encode`.
            queries: from `decompose`.
            watch: collects the time per stage, of all queries together.

        Raises:
            StvgError: any stage failed. One query that fails fails them all.
        """
        return self.pipeline(watch).compute_maps(views, queries, unprompted=self.keep_maps)

    def ground_views(
        self, views: EncodedViews, sub_queries: SubQueries, watch: Stopwatch, maps: BranchMaps | None = None
    ) -> GroundingResult:
        """Return the tube of what a decomposed query describes in an encoded video.

        Args:
            views: from `encode`.
            sub_queries: from `decompose`.
            watch: collects the time per stage.
            maps: from `compute_maps`; None: computed now.

        Raises:
            StvgError: what was expected, what came, and the cure.
        """
        if maps is None:
            (maps,) = self.compute_maps(views, (sub_queries,), watch)
        grounding = self.pipeline(watch).ground_maps(views.frames, sub_queries, maps)
        warnings = (*lost_frames(views.frames, self.settings), *self._scaled_span(len(views.frames)))
        return self._result(replace(grounding, warnings=(*grounding.warnings, *warnings)))

    def search_windows(
        self, video: WindowedVideo, queries: Sequence[SubQueries], watch: Stopwatch
    ) -> tuple[WindowSearch, ...]:
        """Search the windows of a long video for decomposed queries; see `long_videos.search_windows`."""
        return search_windows(self.pipeline(watch), video, queries)

    def ground_windows(self, search: WindowSearch, watch: Stopwatch) -> GroundingResult:
        """Return the tube of a query in the windows that hold its event.

        Args:
            search: from `search_windows`.
            watch: collects the time per stage.

        Raises:
            StvgError: what was expected, what came, and the cure.
        """
        grounding = ground_windows(self.pipeline(watch), search)
        between = ", and all frames of the windows between" if search.merged.inner_count else ""
        warnings = self._scaled_span(search.merged.window_frames, f"sampled frames of a window{between}")
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
    """Return how a session's model was loaded: its options, and the device and dtype it has."""
    description = session.adapter.description
    actual = {"device": description.device, "dtype": description.dtype}
    options = asdict(session.options)
    # The record is older than the option's name.
    options["attention"] = options.pop("attn_implementation")
    return options | {name: value for name, value in actual.items() if value}


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


class _Files:
    """Removes temporary files once nothing refers to it any more."""

    def __init__(self, files: ExitStack) -> None:
        self._finalizer = weakref.finalize(self, files.close)
