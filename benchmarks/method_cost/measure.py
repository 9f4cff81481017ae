"""The method and the plain procedure, side by side in one process, on the same model and inputs."""

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final, TypeVar

import numpy as np
import torch

from benchmarks.method_cost.memory import peak_extra_bytes, peaks_allocated_bytes
from benchmarks.method_cost.operations import count_operations
from benchmarks.method_cost.report import BenchmarkReport, BenchmarkRequest, Cost
from stvg_core.host.session import Session, open_session
from stvg_core.method.pipeline import EncodedViews, Pipeline, Stopwatch
from stvg_core.plugin.adapter import EncodedClip
from stvg_core.plugin.model_reference import LoadOptions
from stvg_core.settings import Settings, load_settings
from stvg_core.values import FrameMaps, Frames, SubQueries, VideoInfo
from stvg_huggingface.adapter import HuggingFaceAdapter
from stvg_huggingface.devices import choose_device, choose_dtype
from stvg_huggingface.testing.models import TINY_FAMILIES
from stvg_huggingface.testing.plain_procedure import PlainProcedure
from stvg_huggingface.testing.sessions import published_sizes, random_session

_QUERY: Final = SubQueries(
    text="The man in blue walks to the car and opens the door.",
    attribute="the man in blue",
    action="the man walks to the car and opens the door",
    decomposer="given",
)
_SIDE_PIXELS: Final = 96
_MATMUL_SIZES: Final = {"cpu": 1024, "cuda": 8192}
_MATMUL_REPEATS: Final = 5

Maps = tuple[FrameMaps, FrameMaps]
Result = TypeVar("Result")


def measure(request: BenchmarkRequest) -> BenchmarkReport:
    """Run both sides and return what they cost.

    Frames are encoded before anything is measured: both sides get the same visual tokens.

    Raises:
        StvgError: the model cannot be opened, or does not fit.
    """
    sides = open_sides(request)
    device = sides.clip.visual_tokens.device
    timings = time_sides(sides, request.repeats)
    costs = {name: complete_cost(timing, count_cost(sides, name)) for name, timing in timings.items()}
    return BenchmarkReport(
        model=request.model,
        device=device_name(device),
        dtype=str(sides.clip.visual_tokens.dtype).removeprefix("torch."),
        frame_count=request.frame_count,
        visual_tokens=sides.clip.layout.cell_count,
        method=costs["method"],
        plain=costs.get("plain"),
        matmul_rate=matmul_rate(device, sides.clip.visual_tokens.dtype),
        largest_difference=largest_difference(timings["method"], timings.get("plain")),
    )


@dataclass(frozen=True, eq=False)
class Sides:
    """Both procedures on the same encoded clip.

    Attributes:
        session: on a random model or a checkpoint.
        settings: of the method.
        clip: the visual tokens.
        reversed_clip: the same in reversed order, or None where the settings want one view.
    """

    session: Session
    settings: Settings
    clip: EncodedClip
    reversed_clip: EncodedClip | None

    @property
    def views(self) -> EncodedViews:
        """Both views, as the method takes them."""
        return EncodedViews(noise(self.clip.layout.frame_count), self.clip, self.reversed_clip)

    @property
    def warm_up_runs(self) -> int:
        """Runs of the method after which every pass that recurs is recorded."""
        return 0 if self.adapter.replays is None else self.adapter.replays.record_at

    @property
    def adapter(self) -> HuggingFaceAdapter:
        """The session's."""
        adapter: Any = self.session.adapter
        checked: HuggingFaceAdapter = adapter
        return checked

    def both(self) -> dict[str, Callable[[Stopwatch], Maps]]:
        """Return both, by name."""
        return {"method": self.method, "plain": self.plain}

    def method(self, watch: Stopwatch) -> Maps:
        """Run the method; return its maps."""
        (maps,) = Pipeline(self.session, self.settings, watch=watch).compute_maps(self.views, (_QUERY,))
        return maps.spatial, maps.temporal

    def plain(self, watch: Stopwatch) -> Maps:
        """Run the plain procedure; return the same."""
        return PlainProcedure(self.session, self.settings, watch).maps(self.clip, self.reversed_clip, _QUERY)


@dataclass(frozen=True, eq=False)
class Timing:
    """How long one side took.

    Attributes:
        seconds: of each timed run, after warming up.
        first_seconds: of the very first run.
        stage_seconds: of the fastest run, by stage.
        maps: what it found in the last.
    """

    seconds: tuple[float, ...]
    first_seconds: float
    stage_seconds: Mapping[str, float]
    maps: Maps


def time_sides(sides: Sides, repeats: int, names: Sequence[str] = ("method", "plain")) -> dict[str, Timing]:
    """Run sides by turns; one that memory is too small for is left out.

    Args:
        sides: both procedures.
        repeats: timed runs of each.
        names: which of them, the method among them.
    """
    device = sides.clip.visual_tokens.device
    runs = {name: sides.both()[name] for name in names}
    first: dict[str, float] = {}
    for name in names:
        try:
            first[name] = timed(partial(runs[name], Stopwatch()), device)[0]
        except torch.OutOfMemoryError:
            del runs[name]
            torch.cuda.empty_cache()
    for _ in range(sides.warm_up_runs):
        sides.method(Stopwatch())
    done: dict[str, list[tuple[float, Mapping[str, float], Maps]]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            watch = Stopwatch()
            spent, maps = timed(partial(run, watch), device)
            done[name].append((spent, watch.seconds, maps))
    return {
        name: Timing(
            seconds=tuple(spent for spent, _, _ in found),
            first_seconds=first[name],
            stage_seconds=min(found, key=lambda one: one[0])[1],
            maps=found[-1][2],
        )
        for name, found in done.items()
    }


@dataclass(frozen=True)
class CountedCost:
    """What is counted, not timed; the fields are those of Cost."""

    operations: int
    stage_operations: Mapping[str, int]
    peak_extra_bytes: int
    peak_allocated_bytes: int
    stage_allocated_bytes: Mapping[str, int]


def count_cost(sides: Sides, name: str, *, count: bool = True) -> CountedCost:
    """Return operations and memory of one side; recordings of passes count as memory, since they stay.

    Args:
        sides: both procedures.
        name: "method" or "plain".
        count: whether operations are counted, which takes several times as long as a run.
    """
    run, device = sides.both()[name], sides.clip.visual_tokens.device
    operations: int = 0
    stage_operations: Mapping[str, int] = {}
    with sides.adapter.unrecorded():
        if count:
            operations, stage_operations = count_operations(run)
        allocated, stage_allocated = peaks_allocated_bytes(run, device)

    def often() -> None:
        for _ in range(sides.warm_up_runs + 1 if name == "method" else 1):
            run(Stopwatch())

    if sides.adapter.replays is not None:
        sides.adapter.replays.forget()
    extra = peak_extra_bytes(often, device)
    return CountedCost(operations, stage_operations, extra, allocated, stage_allocated)


def complete_cost(timing: Timing, counted: CountedCost) -> Cost:
    """Return both as one."""
    return Cost(timing.seconds, timing.first_seconds, timing.stage_seconds, **asdict(counted))


def open_sides(request: BenchmarkRequest) -> Sides:
    """Open the model and encode frames of noise: both sides get the same visual tokens.

    Raises:
        StvgError: the model cannot be opened, or does not fit.
    """
    return encode_sides(open_model(request.model, request.options), request)


def encode_sides(session: Session, request: BenchmarkRequest) -> Sides:
    """Encode frames of noise with an open model.

    Raises:
        StvgError: they do not fit.
    """
    frames = noise(request.frame_count)
    # Random weights give large margins: the released step of 8 would leave the range of numbers.
    settings = load_settings(
        request.preset,
        overrides={"prompt.step_size": 0.01, "prompt.objective": "linear"},
        family=session.family,
    )
    clip = session.adapter.encode(frames, settings.input, tuple(range(len(frames))))
    reversed_clip = session.augment_frames(frames, clip, settings.input) if settings.augment.enabled else None
    return Sides(session, settings, clip, reversed_clip)


def open_model(model: str, options: LoadOptions) -> Session:
    """Return a session on random weights for a family or a published size, else on what --model means.

    Raises:
        StvgError: it cannot be opened.
    """
    if model not in (*TINY_FAMILIES, *published_sizes()):
        return open_session(model, options)
    device = choose_device(options)
    random_dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    dtype = random_dtype if options.dtype == "auto" else choose_dtype(options, device)
    return random_session(model, options, device=device, dtype=dtype or random_dtype)


def noise(frame_count: int) -> Frames:
    """Return frames of noise; what they show makes no difference to the cost."""
    info = VideoInfo("noise", _SIDE_PIXELS, _SIDE_PIXELS, 10.0, frame_count / 10, np.arange(frame_count) / 10)
    shape = (frame_count, _SIDE_PIXELS, _SIDE_PIXELS, 3)
    return Frames(info, np.arange(frame_count), np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8))


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return operations per second of a large matrix product on a device: what it can do at best."""
    side = _MATMUL_SIZES[device.type]
    first, second = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    best = min(timed(lambda: first @ second, device)[0] for _ in range(_MATMUL_REPEATS))
    return 2 * side**3 / best


def largest_difference(method: Timing, plain: Timing | None) -> float | None:
    """Return how far apart two procedures' maps are, as a share of the largest value; None where one did not run."""
    if plain is None:
        return None
    return max(
        float(np.abs(own.values - other.values).max() / np.abs(other.values).max())
        for own, other in zip(method.maps, plain.maps, strict=True)
    )


def timed(work: Callable[[], Result], device: torch.device) -> tuple[float, Result]:
    """Return how many seconds a piece of work takes on a device, and its result."""
    _wait(device)
    start = time.perf_counter()
    result = work()
    _wait(device)
    return time.perf_counter() - start, result


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_name(device: torch.device) -> str:
    """Return what a device is called."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
