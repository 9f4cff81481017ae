"""What each preset changes of the settings' defaults, as plain data; light enough for a listing (no pydantic).

Preset `paper` is the defaults of `stvg_core.settings`: the text of arXiv 2509.15178. Preset `released` is what the
authors' code has in common for all families: their released tree, and their research tree where the released one
cannot run. Where that code treats a family in its own way, the family's backend says so in its manifest
(`[presets.released]`); docs/method.md holds both against the paper and both trees.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

_FIXED_TOKEN: Final = {"tokens": {"candidates": "role", "rule": "fixed"}}

PRESETS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "paper": {},
        "fast": {"prompt": {"steps": 0}, "augment": {"enabled": False}},
        "released": {
            "relative": {"neutral_question": "please describe this video"},
            "prompt": {"steps": 2, "objective": "linear", "contrast_neutral": True, "momentum": 0.5},
            "spatial": _FIXED_TOKEN,
            "temporal": _FIXED_TOKEN,
            "joint": {
                "track_cells": "centre",
                "frame_scores": "pixels",
                "boundary": "contiguous",
                "span_share": 11 / 20,
                "stop_growth_at_ties": True,
            },
        },
    }
)
CALIBRATED: Final = "calibrated"
"""The preset that is a checkpoint's own file, where it carries one."""
PRESET_NAMES: Final = (*PRESETS, CALIBRATED)
