"""Pixels against Pillow and against the definition."""

import numpy as np
import pytest
import torch
from PIL import Image

from stvg_core.errors import ModelError
from stvg_huggingface.pixels import PixelStatistics, normalize, read_statistics, square_frames


@pytest.mark.parametrize("shape", [(40, 64), (17, 9), (24, 24)])
def test_squashed_frames_are_pillows(shape: tuple[int, int]) -> None:
    """Within one level of 255: Pillow rounds between its two passes as well."""
    frames = np.random.default_rng(0).integers(0, 256, (3, *shape, 3), dtype=np.uint8)
    frames.flags.writeable = False
    own = square_frames(frames, 24)
    assert own.dtype == torch.uint8
    for number, frame in enumerate(frames):
        expected = np.asarray(Image.fromarray(frame).resize((24, 24), Image.Resampling.BICUBIC)).astype(int)
        difference = np.abs(own[number].permute(1, 2, 0).numpy().astype(int) - expected)
        assert difference.max() <= (0 if shape == (24, 24) else 1)


def test_normalising() -> None:
    pixels = torch.tensor([0, 128, 255], dtype=torch.uint8).reshape(1, 3, 1, 1)
    statistics = PixelStatistics((0.1, 0.2, 0.3), (0.5, 0.25, 2.0))
    expected = torch.tensor([(0 - 0.1) / 0.5, (128 / 255 - 0.2) / 0.25, (1 - 0.3) / 2.0]).reshape(1, 3, 1, 1)
    torch.testing.assert_close(normalize(pixels, statistics), expected)


def test_statistics_fall_back_to_clip() -> None:
    assert read_statistics([{}, {"size": 3}]) == PixelStatistics()
    assert read_statistics([]).mean[0] == pytest.approx(0.48145466)


@pytest.mark.parametrize(
    "damaged",
    [
        {"image_mean": [1, 2], "image_std": [1, 1, 1]},
        {"image_mean": "abc", "image_std": [1, 1, 1]},
        {"image_mean": [0, 0, float("nan")], "image_std": [1, 1, 1]},
        {"image_mean": [0, 0, 0], "image_std": [1, 0, 1]},
    ],
)
def test_damaged_statistics(damaged: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="damaged"):
        read_statistics([damaged])
