"""Where the shipped checkpoints are; importing this module loads no model and no torch."""

from __future__ import annotations

from pathlib import Path

_CHECKPOINTS = Path(__file__).parent / "checkpoints"


def qwen2_vl() -> Path:
    """Return the folder of the shipped tiny Qwen2-VL checkpoint."""
    return _CHECKPOINTS / "qwen2-vl"


def llava_next() -> Path:
    """Return the folder of the shipped tiny LLaVA-NeXT-Video checkpoint."""
    return _CHECKPOINTS / "llava-next"


def internvl() -> Path:
    """Return the folder of the shipped tiny InternVL checkpoint."""
    return _CHECKPOINTS / "internvl"
