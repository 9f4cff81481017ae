"""Where the shipped checkpoints are; importing this module loads no model and no torch."""

from __future__ import annotations

from pathlib import Path

_CHECKPOINTS = Path(__file__).parent / "checkpoints"


def qwen2_vl() -> Path:
    """Return the folder of the shipped tiny Qwen2-VL checkpoint."""
    return _CHECKPOINTS / "qwen2-vl"


def demo_clips() -> Path:
    """Return the folder of the shipped clips with their true tubes (entry-point group `stvg.demos`)."""
    return Path(__file__).parent / "demo_clips"
