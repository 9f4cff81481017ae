"""On a CUDA device: the same answers as the CPU, all of it there, and room for 7B models.

Run with `nox -s gpu` (or `pytest -m gpu`); without a device every test is skipped.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from stvg_core.api.grounder import settings_of
from stvg_core.errors import DeviceMemoryError
from stvg_core.host.session import Session, open_session
from stvg_core.inputs.tracks.regions import RegionTracker
from stvg_core.method.branches import BranchMaps
from stvg_core.method.pipeline import EncodedViews, Pipeline
from stvg_core.plugin.adapter import AttentionRequest, EncodedClip
from stvg_core.plugin.model_reference import LoadOptions
from stvg_core.settings import InputSettings, Settings, load_settings
from stvg_core.values import Frames, Grounding, SubQueries, VideoInfo
from stvg_huggingface.adapter import HuggingFaceAdapter
from stvg_huggingface.testing import TINY_FAMILIES, save_tiny_model
from stvg_huggingface.testing.sessions import random_session

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

QUERY = SubQueries("the man in blue walks to the car", "the man in blue", "the man walks to the car", "rules")
QUESTIONS = ("Is there the man in blue in this video?", "please describe this video")
CARD_BYTES = 80 * 10**9
"""One 80 GB card: what the whole method must fit into with a 7B model in bfloat16."""


def moving_square(count: int, side: int) -> Frames:
    """Frames of a blue square that wanders over grey: something for the tracker to find."""
    info = VideoInfo("clip.mp4", side, side, 10.0, count / 10, np.arange(count) / 10)
    pixels = np.full((count, side, side, 3), 120, dtype=np.uint8)
    for number in range(count):
        left = number * (side // 2) // count
        pixels[number, side // 4 : side // 2, left : left + side // 4] = (30, 60, 220)
    return Frames(info, np.arange(count), pixels)


@dataclass(frozen=True)
class Reading:
    """What a model says about a clip, on the CPU in float64."""

    margins: Tensor
    gradient: Tensor
    rows: Tensor


def read(session: Session, frames: Frames) -> Reading:
    adapter = session.adapter
    clip = adapter.encode(frames, InputSettings(), tuple(range(len(frames))))
    prompt = torch.zeros_like(clip.visual_tokens, requires_grad=True)
    margins = adapter.answer_logits(clip, QUESTIONS, prompt).margins
    (gradient,) = torch.autograd.grad(margins[0] - margins[1], prompt)
    layers = tuple(range(adapter.description.layer_count))
    rows = adapter.attention_rows(AttentionRequest(clip, QUESTIONS, None, layers))
    for tensor in (clip.visual_tokens, margins, gradient, rows[0].rows):
        assert tensor.device.type == adapter.description.device.split(":")[0]
    everything = torch.cat([row.rows for row in rows])
    return Reading(*(tensor.detach().double().cpu() for tensor in (margins, gradient, everything)))


@pytest.fixture(params=sorted(TINY_FAMILIES))
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return save_tiny_model(request.param, tmp_path / request.param)


@pytest.fixture
def exact_products() -> None:
    """TensorFloat-32 would be fast and not float32."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def opened(folder: Path, device: str, dtype: str = "float32", **options: object) -> Session:
    return open_session(str(folder), LoadOptions(device, dtype, **options))  # type: ignore[arg-type]


@pytest.mark.usefixtures("exact_products")
def test_cuda_says_what_the_cpu_says(folder: Path) -> None:
    frames = moving_square(6, 48)
    on_cpu, on_cuda = (read(opened(folder, device), frames) for device in ("cpu", "cuda"))
    torch.testing.assert_close(on_cuda.margins, on_cpu.margins, rtol=0, atol=1e-3)
    torch.testing.assert_close(on_cuda.rows, on_cpu.rows, rtol=0, atol=1e-4)
    apart = torch.linalg.vector_norm(on_cuda.gradient - on_cpu.gradient)
    assert apart < 1e-3 * torch.linalg.vector_norm(on_cpu.gradient)


def test_bfloat16_ranks_as_float32_does(folder: Path, record_property: Callable[[str, object], None]) -> None:
    """Reported, not held to a bound beyond being better than chance: half precision is what it is."""
    frames = moving_square(6, 48)
    wide, narrow = (read(opened(folder, "cuda", dtype), frames).rows for dtype in ("float32", "bfloat16"))
    ranks = [rows.argsort(dim=1).argsort(dim=1).double() for rows in (wide, narrow)]
    agreement = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(*ranks, strict=True)])
    same_peak = (wide.argmax(dim=1) == narrow.argmax(dim=1)).double().mean()
    record_property("spearman_mean", float(agreement.mean()))
    record_property("same_peak_share", float(same_peak))
    assert agreement.mean() > 0.5


def grounded(session: Session, frames: Frames, settings: Settings) -> Grounding:
    (grounding,) = Pipeline(session, settings, RegionTracker()).ground(frames, (QUERY,))
    return grounding


def branch_maps(session: Session, seed: int) -> BranchMaps:
    frames = moving_square(6, 48)
    noisy = np.random.default_rng(seed).integers(0, 60, frames.pixels.shape, dtype=np.uint8) + frames.pixels // 2
    frames = replace(frames, pixels=noisy)
    clip = session.adapter.encode(frames, InputSettings(), tuple(range(6)))
    views = EncodedViews(frames, clip, session.augment_frames(frames, clip, InputSettings()))
    settings = load_settings("released", overrides={"prompt.step_size": 0.01})
    (maps,) = Pipeline(session, settings).compute_maps(views, (QUERY,))
    return maps


@pytest.mark.usefixtures("exact_products")
@pytest.mark.parametrize("recompute", ["none", "mlp", "layer"])
def test_recorded_passes_say_what_unrecorded_ones_do(folder: Path, recompute: str) -> None:
    plainly = opened(folder, "cuda", recompute=recompute, cuda_graphs="off")
    session = opened(folder, "cuda", recompute=recompute)
    adapter = session.adapter
    assert isinstance(adapter, HuggingFaceAdapter)
    assert adapter.replays is not None
    for turn in range(6):
        # Another clip each time: what a recording reads must be the newest.
        found, expected = branch_maps(session, turn), branch_maps(plainly, turn)
        for own, other in ((found.spatial, expected.spatial), (found.temporal, expected.temporal)):
            np.testing.assert_allclose(own.values, other.values, rtol=1e-3, atol=1e-3 * other.values.max())
        assert found.margins == pytest.approx(expected.margins, rel=1e-3, abs=1e-4)
    assert adapter.replays.count == 3, "three questions with gradients, two with gradients, and rows"


@pytest.mark.parametrize("recompute", ["none", "mlp", "layer"])
def test_nothing_in_a_gradient_step_waits_for_the_device(folder: Path, recompute: str) -> None:
    for graphs in ("off", "auto"):
        session = opened(folder, "cuda", recompute=recompute, cuda_graphs=graphs)
        frames = moving_square(6, 48)
        clip = session.adapter.encode(frames, InputSettings(), tuple(range(6)))

        def step(session: Session = session, clip: EncodedClip = clip) -> None:
            prompt = torch.zeros_like(clip.visual_tokens, requires_grad=True)
            margins = session.adapter.answer_logits(clip, QUESTIONS, prompt).margins
            torch.autograd.grad(margins[0] - margins[1], prompt)

        for _ in range(6):
            step()
        with warnings.catch_warnings():
            # It warns of being a prototype.
            warnings.simplefilter("ignore")
            torch.cuda.set_sync_debug_mode("error")
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_the_deterministic_option_gives_the_same_bits(folder: Path) -> None:
    session = opened(folder, "cuda", deterministic=True)
    frames = moving_square(8, 48)
    first, second = (grounded(session, frames, load_settings("released")) for _ in range(2))
    np.testing.assert_array_equal(first.spatial_maps.values, second.spatial_maps.values)
    np.testing.assert_array_equal(first.temporal_maps.values, second.temporal_maps.values)


@pytest.mark.parametrize("name", ["internvl3-8b", "llava-next-video-7b", "qwen2-vl-7b", "qwen2.5-vl-7b"])
@pytest.mark.parametrize("preset", ["paper", "released"])
def test_the_whole_method_runs_a_7b_model_on_one_card(
    name: str, preset: str, record_property: Callable[[str, object], None]
) -> None:
    session = random_session(name, LoadOptions("cuda"), device=torch.device("cuda"), dtype=torch.bfloat16)
    torch.cuda.reset_peak_memory_stats()
    # Random weights give no meaning; the linear loss keeps their large margins finite.
    settings = settings_of(session, preset, {"prompt.objective": "linear"})
    grounding = grounded(session, moving_square(20, 336), settings)
    peak = torch.cuda.max_memory_allocated()
    record_property("peak_gigabytes", peak / 1e9)
    record_property("seconds", dict(grounding.timings_seconds))
    assert np.isfinite(grounding.track_scores).all()
    assert peak < CARD_BYTES
    del session, grounding
    torch.cuda.empty_cache()


def test_out_of_memory_is_one_line_and_less_still_works(tmp_path: Path) -> None:
    session = opened(save_tiny_model("internvl", tmp_path / "internvl"), "cuda")
    small = replace(Settings(), input=InputSettings(frame_size_pixels=48))
    frames = moving_square(8, 48)
    grounded(session, frames, small)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    held = torch.cuda.memory_reserved()
    torch.cuda.set_per_process_memory_fraction(min(1.0, (held + 50_000_000) / total))
    try:
        with pytest.raises(DeviceMemoryError, match=r"out of memory in stage .*sampling\.frame_count") as raised:
            grounded(session, frames, Settings(input=InputSettings(frame_size_pixels=1024)))
        assert "\n" not in str(raised.value)
        grounded(session, frames, small)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
