"""Attention maps as a run keeps them and a page shows them: one byte a cell, with and without the learned prompt.

The text is JSON, so that it travels and is stored like a grounding's document:

    {"frames": [0, 11], "seconds": [0.0, 0.44], "branches": [
        {"name": "attribute", "rows": 8, "columns": 8, "prompted": MAPS, "unprompted": MAPS or null}, ...]}

where MAPS is {"tokens": ["..."], "low": 0.0, "high": 3.2, "codes": "..."}; codes are the bytes of (frame, row, column)
in base64, and a code c stands for low + (high - low) (c / 255)^2: attention is peaked, so small values need the finer
steps.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from jaxtyping import Float64, UInt8

from stvg_core.errors import RunError
from stvg_core.values import FrameMaps, Grounding

BRANCH_NAMES: Final = ("attribute", "action")
_LARGEST_CODE: Final = 255
_SECOND_DIGITS: Final = 6
_NUMBER_DIGITS: Final = 9


def dump_maps(grounding: Grounding) -> str:
    """Return a grounding's maps as JSON text."""
    pairs = (
        (grounding.spatial_maps, grounding.unprompted_spatial_maps),
        (grounding.temporal_maps, grounding.unprompted_temporal_maps),
    )
    return json.dumps(
        {
            "frames": grounding.frames.indices.tolist(),
            "seconds": grounding.frames.seconds.round(_SECOND_DIGITS).tolist(),
            "branches": [
                {
                    "name": name,
                    "rows": maps.values.shape[1],
                    "columns": maps.values.shape[2],
                    "prompted": _dumped(maps),
                    "unprompted": None if without is None else _dumped(without),
                }
                for name, (maps, without) in zip(BRANCH_NAMES, pairs, strict=True)
            ],
        }
    )


def encode_values(
    values: Float64[np.ndarray, "frame row column"],
) -> tuple[float, float, UInt8[np.ndarray, "frame row column"]]:
    """Return lowest and highest value, and a code for each.

    >>> encode_values(np.array([[[0.0, 1.0, 4.0]]]))[2].tolist()
    [[[0, 128, 255]]]
    """
    low, high = float(values.min()), float(values.max())
    shares = np.sqrt((values - low) / max(high - low, np.finfo(np.float64).tiny))
    return low, high, np.rint(_LARGEST_CODE * shares).astype(np.uint8)


def decode_values(
    low: float, high: float, codes: UInt8[np.ndarray, "frame row column"]
) -> Float64[np.ndarray, "frame row column"]:
    """Return the values that codes stand for; a half step off at most, which is (high - low) / 255 at the top."""
    values: Float64[np.ndarray, "frame row column"] = low + (high - low) * (codes.astype(np.float64) / 255) ** 2
    return values


def check_maps(record: Mapping[str, Any]) -> None:
    """Check a record that was read from a run, which may come from anywhere.

    Raises:
        RunError: it is not what `dump_maps` makes.
    """
    try:
        count = len(record["frames"])
        sound = 0 < count == len(record["seconds"]) and all(map(_is_number, (*record["frames"], *record["seconds"])))
        for branch in record["branches"]:
            size = count * int(branch["rows"]) * int(branch["columns"])
            sound = sound and size > 0 and branch["name"] in BRANCH_NAMES
            for maps in (branch["prompted"], branch["unprompted"] or branch["prompted"]):
                sound = sound and len(base64.b64decode(maps["codes"], validate=True)) == size
                sound = sound and _is_number(maps["low"]) and _is_number(maps["high"])
                sound = sound and all(isinstance(token, str) for token in maps["tokens"])
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"expected attention maps as stvg evaluate keeps them, got damaged ones: {error!r}") from error
    if not sound:
        raise RunError("expected attention maps as stvg evaluate keeps them, got numbers that do not fit together")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))


def _dumped(maps: FrameMaps) -> dict[str, Any]:
    low, high, codes = encode_values(maps.values)
    return {
        "tokens": list(maps.grounding_tokens),
        "low": float(f"{low:.{_NUMBER_DIGITS}g}"),
        "high": float(f"{high:.{_NUMBER_DIGITS}g}"),
        "codes": base64.b64encode(codes.tobytes()).decode("ascii"),
    }
