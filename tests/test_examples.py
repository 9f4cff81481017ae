"""The example script runs every family; between two runs only the model's name changes."""

import runpy
import sys
from pathlib import Path

import pytest

from stvg_huggingface.testing import TINY_FAMILIES, save_tiny_model

ROOT = Path(__file__).parents[1]
CLIP = ROOT / "stvg_plugins" / "tiny" / "stvg_tiny" / "demo_clips" / "easy.mp4"


@pytest.mark.parametrize("family", [*TINY_FAMILIES, "tiny:qwen2-vl"])
def test_ground_clip(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(save_tiny_model(family, tmp_path / family, layers=2)) if family in TINY_FAMILIES else family
    monkeypatch.setattr(sys, "argv", ["ground_clip.py", str(CLIP), "The red circle moves left.", model])
    runpy.run_path(str(ROOT / "examples" / "ground_clip.py"), run_name="__main__")
    when, where = capsys.readouterr().out.splitlines()
    start, end = (float(part.removesuffix(" s")) for part in when.split(" to "))
    assert 0 <= start < end
    assert where.startswith("first box [")
