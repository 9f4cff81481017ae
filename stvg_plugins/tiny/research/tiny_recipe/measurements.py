"""Means over clips, their standard errors, and paired differences; knows no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from jaxtyping import Float64

from stvg_core.metrics import TubeOverlap

_THRESHOLDS: Final = (0.3, 0.5)
_DECIMALS: Final = 4
GROUP_OF_ALL: Final = "all"
GROUP_OF_NOTHING_NEW: Final = "none"


@dataclass(frozen=True)
class Row:
    """What one method reached on a list of clips.

    Attributes:
        name: the method, with its tracks.
        overlaps: one per clip, in the order of the clips; None where the method failed, which counts as zero.
    """

    name: str
    overlaps: tuple[TubeOverlap | None, ...]

    @property
    def failures(self) -> int:
        """On how many clips the method failed."""
        return self.overlaps.count(None)

    @property
    def temporal_ious(self) -> Float64[np.ndarray, " clip"]:
        """The tIoU of every clip, 0 where the method failed."""
        return np.array([overlap.temporal_iou if overlap else 0.0 for overlap in self.overlaps], dtype=np.float64)

    @property
    def video_ious(self) -> Float64[np.ndarray, " clip"]:
        """The vIoU of every clip, 0 where the method failed."""
        return np.array([overlap.video_iou if overlap else 0.0 for overlap in self.overlaps], dtype=np.float64)

    def part(self, places: Sequence[int]) -> Row:
        """Return the row of some of the clips."""
        return Row(self.name, tuple(self.overlaps[place] for place in places))

    def summary(self) -> dict[str, Any]:
        """Return means and shares in 0..1; `standard_error` is of m_vIoU, thresholds are exceeded strictly."""
        temporal, video = self.temporal_ious, self.video_ious
        recalls = {
            f"vIoU@{threshold}": round(float((video > threshold).mean()), _DECIMALS) for threshold in _THRESHOLDS
        }
        return {
            "name": self.name,
            "scenes": len(self.overlaps),
            "failures": self.failures,
            "m_tIoU": round(float(temporal.mean()), _DECIMALS),
            "m_tIoU_standard_error": standard_error(temporal),
            "m_vIoU": round(float(video.mean()), _DECIMALS),
            "standard_error": standard_error(video),
            **recalls,
        }


def standard_error(values: Float64[np.ndarray, " clip"]) -> float | None:
    """Return the standard error of the mean (sample standard deviation over root n); None of fewer than two.

    >>> standard_error(np.array([0.0, 1.0, 2.0, 3.0]))
    0.6455
    """
    if len(values) < 2:  # noqa: PLR2004  # one value has no spread
        return None
    return round(float(values.std(ddof=1) / np.sqrt(len(values))), _DECIMALS)


def paired_difference(first: Row, second: Row) -> dict[str, Any]:
    """Return the mean of `first` minus `second` on the same clips, with the standard error of that difference."""
    temporal, video = first.temporal_ious - second.temporal_ious, first.video_ious - second.video_ious
    return {
        "name": first.name,
        "control": second.name,
        "scenes": len(video),
        "m_tIoU_difference": round(float(temporal.mean()), _DECIMALS),
        "m_tIoU_standard_error": standard_error(temporal),
        "m_vIoU_difference": round(float(video.mean()), _DECIMALS),
        "m_vIoU_standard_error": standard_error(video),
    }


def groups(tags: Sequence[Sequence[str]]) -> dict[str, list[int]]:
    """Return the places of the clips of each group: all, without tags, and with each tag that occurs.

    >>> groups([(), ("pair",), ("pair", "background")])
    {'all': [0, 1, 2], 'none': [0], 'background': [2], 'pair': [1, 2]}
    """
    result: dict[str, list[int]] = {GROUP_OF_ALL: list(range(len(tags)))}
    result[GROUP_OF_NOTHING_NEW] = [place for place, clip_tags in enumerate(tags) if not clip_tags]
    for tag in sorted({tag for clip_tags in tags for tag in clip_tags}):
        result[tag] = [place for place, clip_tags in enumerate(tags) if tag in clip_tags]
    return {name: places for name, places in result.items() if places}


@dataclass(frozen=True)
class Comparison:
    """Rows on the same clips, and which row is to be held against which.

    Attributes:
        rows: every method by name.
        pairs: names of a method and its control.
        tags: the tags of each clip.
    """

    rows: Mapping[str, Row]
    pairs: Sequence[tuple[str, str]]
    tags: Sequence[Sequence[str]] = field(default=())

    def by_group(self) -> dict[str, dict[str, list[dict[str, Any]]]]:
        """Return the summaries and the paired differences of every group of clips."""
        result = {}
        for group, places in groups(self.tags).items():
            rows = {name: row.part(places) for name, row in self.rows.items()}
            result[group] = {
                "rows": [row.summary() for row in rows.values()],
                "paired": [paired_difference(rows[first], rows[second]) for first, second in self.pairs],
            }
        return result


def as_table(header: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table, its columns aligned.

    >>> print(as_table(["row", "m_vIoU"], [["random", ".10"]]))
    | row    | m_vIoU |
    |--------|--------|
    | random | .10    |
    """
    texts = [[str(cell) for cell in line] for line in (header, *lines)]
    widths = [max(len(line[column]) for line in texts) for column in range(len(header))]
    padded = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in texts
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([padded[0], rule, *padded[1:]])


def figure(mean: float, error: float | None, sign: Literal["-", "+"] = "-") -> str:
    """Return a mean with its standard error in brackets; sign "+" writes a plus too.

    >>> figure(0.5, 0.0214), figure(0.5, None), figure(0.5, 0.02, "+")
    ('0.500 (0.021)', '0.500 (-)', '+0.500 (0.020)')
    """
    return f"{mean:{sign}.3f} ({'-' if error is None else f'{error:.3f}'})"
