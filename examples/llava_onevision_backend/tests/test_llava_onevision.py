"""What the conformance kit does not ask: the newline by itself, published sizes and names, the processor's inputs."""

import math
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from stvg_llava_onevision.family import LlavaOnevisionBackend, LlavaOnevisionFamily, pool_frames
from stvg_llava_onevision.tiny_model import FRAME_PIXELS, STATISTICS, TEMPLATE, save_tiny_model
from transformers import LlavaOnevisionConfig

from stvg_core import ground, open_session
from stvg_core.errors import SettingsError
from stvg_core.method.pipeline import EncodedViews, Pipeline
from stvg_core.plugin import reverse_by_flipping
from stvg_core.plugin.adapter import EncodedClip
from stvg_core.plugin.model_reference import LoadOptions, ModelReference
from stvg_core.settings import InputSettings, PromptSettings, load_settings
from stvg_core.values import Frames, SubQueries, VideoInfo
from stvg_huggingface.adapter import HuggingFaceAdapter
from stvg_huggingface.clips import clip_embeddings, clip_prompt
from stvg_huggingface.questions import tokenize_question
from stvg_huggingface.testing.plain_procedure import PlainProcedure

QUESTIONS = ["Is there a man standing by the stairs in this video?", "please describe this video"]
TRAINED = InputSettings(family={"pooling_stride": 2})


def opened(folder: Path) -> HuggingFaceAdapter:
    adapter = LlavaOnevisionBackend().stvg_create_adapter(ModelReference(str(folder), folder), LoadOptions("cpu"))
    assert isinstance(adapter, HuggingFaceAdapter)
    return adapter


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def adapter(folder: Path) -> HuggingFaceAdapter:
    return opened(folder)


def noise(count: int, height: int = 48, width: int = 72) -> Frames:
    info = VideoInfo("noise", width, height, 1.0, float(count), np.arange(count, dtype=np.float64))
    pixels = np.random.default_rng(7).integers(0, 255, (count, height, width, 3), dtype=np.uint8)
    return Frames(info, np.arange(count), pixels)


def encoded(adapter: HuggingFaceAdapter, count: int = 4, settings: InputSettings = TRAINED) -> EncodedClip:
    return adapter.encode(noise(count), settings, tuple(range(count)))


@pytest.mark.parametrize("stride", [None, 1, 2, 3, 64])
def test_the_newline_is_the_models_own_behind_the_last_frame_and_no_cell(
    adapter: HuggingFaceAdapter, stride: int | None
) -> None:
    clip = encoded(adapter, settings=InputSettings(family={} if stride is None else {"pooling_stride": stride}))
    newline = adapter.checkpoint.model.model.image_newline
    prompt = torch.full_like(clip.visual_tokens, 3.0)
    for seen in (clip, reverse_by_flipping(clip)):
        for added in (None, prompt):
            received = clip_embeddings(seen, added)
            assert received.shape[0] == clip.layout.cell_count + 1
            assert torch.equal(received[-1], newline)
            assert torch.equal(received[:-1], seen.visual_tokens if added is None else seen.visual_tokens + added)


def test_the_newline_is_read_by_the_language_model(adapter: HuggingFaceAdapter, tmp_path: Path) -> None:
    """Another newline, other answers: it is not dropped on the way."""
    clip = encoded(adapter)
    before = adapter.answer_logits(clip, QUESTIONS, None).margins
    weights = load_file(save_tiny_model(tmp_path) / "model.safetensors")
    save_file(
        weights | {"image_newline": weights["image_newline"] * -5}, tmp_path / "model.safetensors", {"format": "pt"}
    )
    other = opened(tmp_path)
    changed = encoded(other)
    assert torch.equal(changed.visual_tokens, clip.visual_tokens)
    assert (other.answer_logits(changed, QUESTIONS, None).margins - before).abs().max() > 1e-3


@settings(max_examples=30)
@given(st.integers(1, 3), st.integers(1, 13), st.integers(1, 6), st.integers(0, 1000))
def test_pooling_is_bilinear_between_the_patches_around_each_cells_middle(
    frames: int, side: int, stride: int, seed: int
) -> None:
    values = np.random.default_rng(seed).normal(size=(frames, side, side, 2))
    count = math.ceil(side / stride)
    pooled = pool_frames(torch.tensor(values).reshape(frames, side * side, 2), stride)
    assert pooled.shape == (frames, count * count, 2)
    middles = np.clip((np.arange(count) + 0.5) * side / count - 0.5, 0, None)
    for frame in range(frames):
        for channel in range(2):
            plane = values[frame, :, :, channel]
            rows = np.stack([np.interp(middles, np.arange(side), column) for column in plane.T], axis=1)
            expected = np.stack([np.interp(middles, np.arange(side), row) for row in rows])
            np.testing.assert_allclose(pooled[frame, :, channel].reshape(count, count), expected, atol=1e-12)


def test_the_trained_stride_is_transformers_own(adapter: HuggingFaceAdapter) -> None:
    patches = torch.randn(3, 81, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(pool_frames(patches, 2), adapter.checkpoint.model.model.apply_pooling(patches))


@pytest.mark.parametrize(("stride", "side"), [(2, 14), (None, 6), (1, 27)])
def test_published_checkpoints_show_this_many_tokens_a_frame(stride: int | None, side: int) -> None:
    """The configuration that transformers has by default is the published 7B's tower: 384 pixels, patches of 14."""
    family, config = LlavaOnevisionFamily(), LlavaOnevisionConfig()
    size = family.frame_size_pixels(config, None)
    assert size == 384
    layout = family.layout(config, 20, size, InputSettings(family={} if stride is None else {"pooling_stride": stride}))
    assert layout.shape == (20, side, side)
    assert family.cells_of_clip(layout).tolist() == [True] * 20 * side * side + [False]


def test_another_frame_size_is_refused(adapter: HuggingFaceAdapter) -> None:
    with pytest.raises(SettingsError, match=r"expected input.frame_size_pixels=38, .* got 48"):
        encoded(adapter, settings=InputSettings(frame_size_pixels=48))
    assert encoded(adapter, settings=InputSettings(frame_size_pixels=FRAME_PIXELS)).layout.shape == (4, 2, 2)


def test_a_checkpoint_with_the_hubs_weight_names_is_the_same_model(
    adapter: HuggingFaceAdapter, folder: Path, tmp_path: Path
) -> None:
    """Named as transformers' conversion script of the family named them."""
    save_tiny_model(tmp_path)
    weights = load_file(folder / "model.safetensors")
    older = {name.replace("vision_tower.", "vision_tower.vision_model.", 1): weight for name, weight in weights.items()}
    assert {"image_newline", "language_model.lm_head.weight", "language_model.model.norm.weight"} < set(older)
    assert "vision_tower.vision_model.embeddings.patch_embedding.weight" in older
    save_file(older, tmp_path / "model.safetensors", {"format": "pt"})
    found, wanted = (one.answer_logits(encoded(one), QUESTIONS, None).margins for one in (opened(tmp_path), adapter))
    assert torch.equal(found, wanted)


def video_processor(folder: Path) -> Any:
    library: Any = transformers
    given: dict[str, Any] = {"size": {"height": FRAME_PIXELS, "width": FRAME_PIXELS}, **STATISTICS}
    return library.LlavaOnevisionProcessor(
        image_processor=library.LlavaOnevisionImageProcessor(**given),
        tokenizer=library.AutoTokenizer.from_pretrained(folder),
        video_processor=library.LlavaOnevisionVideoProcessor(**given),
        num_image_tokens=81,
        vision_feature_select_strategy="full",
        chat_template=TEMPLATE,
    )


def test_inputs_are_the_processors_own(adapter: HuggingFaceAdapter, folder: Path) -> None:
    """Ids and pixels as LlavaOnevisionProcessor makes them; its video processor needs torchvision."""
    pytest.importorskip("torchvision")
    processor = video_processor(folder)
    model = adapter.checkpoint.model
    clip, video = encoded(adapter), torch.tensor(noise(4).pixels).permute(0, 3, 1, 2)
    for question in QUESTIONS:
        turn: list[Any] = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": question}]}]
        text = processor.apply_chat_template(turn, add_generation_prompt=True)
        inputs = processor(text=text, videos=[video], return_tensors="pt")
        prompt = tokenize_question(adapter.checkpoint.tokenizer, clip_prompt(clip).frame, question)
        assert inputs["input_ids"][0].tolist() == list(prompt.ids)
        logits = model(**inputs, use_cache=False).logits[0, -1]
        ours = adapter.answer_logits(clip, [question], None)
        told = adapter.description
        torch.testing.assert_close(torch.cat([ours.yes, ours.no]), logits[[told.yes_id, told.no_id]], atol=1e-4, rtol=0)


def test_maps_are_those_of_the_plain_procedure(folder: Path) -> None:
    """The plain procedure generates answers; it puts the newline into its prompts as well."""
    prompting = PromptSettings(objective="linear", contrast_neutral=True, momentum=0.5, steps=2, step_size=0.05)
    chosen = load_settings("released").model_copy(update={"input": TRAINED, "prompt": prompting})
    queries = SubQueries("The man in red walks to the car.", "the man in red", "the man walks to the car", "given")
    with open_session(str(folder), LoadOptions("cpu")) as session:
        frames = noise(3)
        clip = session.adapter.encode(frames, TRAINED, (0, 1, 2))
        views = clip, session.augment_frames(frames, clip, TRAINED)
        (own,) = Pipeline(session, chosen).compute_maps(EncodedViews(frames, *views), (queries,))
        plain = PlainProcedure(session, chosen).maps(*views, queries)
    for found, expected in zip((own.spatial, own.temporal), plain, strict=True):
        assert np.abs(found.values - expected.values).max() < 1e-4 * np.abs(expected.values).max()


def test_a_clip_is_grounded(folder: Path, tmp_path: Path) -> None:
    """The backend is found by the checkpoint's architecture; a random model knows nothing: only the form counts."""
    video = tmp_path / "clip.mp4"
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(10):
            picture = np.full((48, 64, 3), 90, dtype=np.uint8)
            picture[10:30, 3 * number : 3 * number + 20] = (40, 60, 220)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    result = ground(
        video,
        "The man in blue walks to the sofa.",
        model=str(folder),
        tracks="attention",
        overrides={"sampling.frame_count": 4},
        device="cpu",
    )
    assert result.document.model.backend == "llava-onevision"
    assert np.isfinite(result.tube.boxes_xyxy).all()
    assert len(result.tube.boxes_xyxy) > 0
