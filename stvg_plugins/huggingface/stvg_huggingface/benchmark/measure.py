"""The benchmark behind `stvg bench`: the method and the plain procedure, side by side in one process."""

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from stvg_core.backend import EncodedClip
from stvg_core.benchmark import BenchmarkReport, BenchmarkRequest, Cost
from stvg_core.config import Settings, load_settings
from stvg_core.identity import LoadOptions
from stvg_core.pipeline import Stopwatch, read_branches
from stvg_core.session import Session, open_session
from stvg_core.values import FrameMaps, Frames, SubQueries, VideoInfo
from stvg_huggingface.benchmark.memory import peak_allocated_bytes, peak_extra_bytes
from stvg_huggingface.benchmark.plain import PlainProcedure
from stvg_huggingface.devices import choose_device, choose_dtype
from stvg_huggingface.testing.models import TINY_FAMILIES
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


class HuggingFaceBenchmark:
    """Implements `stvg_core.benchmark.Benchmark` for backends of stvg-huggingface."""

    def measure(self, request: BenchmarkRequest) -> BenchmarkReport:
        """Run both sides and return what they cost.

        Frames are encoded before anything is measured: both sides get the same visual tokens.

        Raises:
            StvgError: the model cannot be opened, or does not fit.
        """
        sides = open_sides(request)
        device = sides.clip.visual_tokens.device
        seconds: dict[str, list[float]] = {"method": [], "plain": []}
        stages: dict[str, Mapping[str, float]] = {}
        maps: dict[str, Maps] = {}
        for _ in range(request.repeats):
            for name, run in sides.both().items():
                spent, (maps[name], by_stage) = _timed(run, device)
                if not seconds[name] or spent < min(seconds[name]):
                    stages[name] = by_stage
                seconds[name].append(spent)
        costs = {
            name: Cost(
                tuple(seconds[name]),
                stages[name],
                count_operations(run),
                peak_extra_bytes(run, device),
                peak_allocated_bytes(run, device),
            )
            for name, run in sides.both().items()
        }
        return BenchmarkReport(
            model=request.model,
            device=_device_name(device),
            dtype=str(sides.clip.visual_tokens.dtype).removeprefix("torch."),
            frame_count=request.frame_count,
            visual_tokens=sides.clip.layout.cell_count,
            method=costs["method"],
            plain=costs["plain"],
            matmul_rate=matmul_rate(device, sides.clip.visual_tokens.dtype),
            largest_difference=max(
                float(np.abs(own.values - plain.values).max() / np.abs(plain.values).max())
                for own, plain in zip(maps["method"], maps["plain"], strict=True)
            ),
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

    def both(self) -> dict[str, Callable[[], tuple[Maps, Mapping[str, float]]]]:
        """Return both, by name."""
        return {"method": self.method, "plain": self.plain}

    def method(self) -> tuple[Maps, Mapping[str, float]]:
        """Run the method; return its maps, and seconds by stage."""
        watch = Stopwatch()
        read = read_branches(self.session, self.clip, self.reversed_clip, _QUERY, self.settings, watch)
        return (read.spatial, read.temporal), watch.seconds

    def plain(self) -> tuple[Maps, Mapping[str, float]]:
        """Run the plain procedure; return the same."""
        procedure = PlainProcedure(self.session, self.settings)
        maps = procedure.maps(self.clip, self.reversed_clip, _QUERY)
        return maps, procedure.watch.seconds


def open_sides(request: BenchmarkRequest) -> Sides:
    """Open the model and encode frames of noise: both sides get the same visual tokens.

    Raises:
        StvgError: the model cannot be opened, or does not fit.
    """
    session = open_model(request.model, request.options)
    frames = noise(request.frame_count)
    # Random weights give large margins: the released step of 8 would leave the range of numbers.
    settings = load_settings(request.preset, overrides={"prompt.step_size": 0.01, "prompt.objective": "linear"})
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
    best = min(_timed(lambda: first @ second, device)[0] for _ in range(_MATMUL_REPEATS))
    return 2 * side**3 / best


def _timed(work: Callable[[], Result], device: torch.device) -> tuple[float, Result]:
    _wait(device)
    start = time.perf_counter()
    result = work()
    _wait(device)
    return time.perf_counter() - start, result


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def count_operations(work: Callable[[], object]) -> int:
    """Return floating-point operations of a piece of work, as torch counts them."""
    counter = FlopCounterMode(display=False)
    with counter:
        work()
    return int(counter.get_total_flops())


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
