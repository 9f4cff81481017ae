"""Links boxes found in single pictures into tracks of one object each.

Tracking by detection in the manner of SORT (Bewley et al. 2016, arXiv 1602.00763): a
constant-velocity prediction and an optimal assignment per picture, with colour (or any other
appearance vector) in the cost, because sampled frames are far apart in time. This module knows
neither how boxes were found nor what is in the picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64
from scipy.optimize import linear_sum_assignment

from stvg_core.inputs.tracks.boxes import areas, centers, diagonals, intersection_over_union


@dataclass(frozen=True, eq=False)
class Detections:
    """Boxes found in one picture.

    Attributes:
        boxes_xyxy: in pixels of the picture that was searched.
        appearances: what each looks like, for example its mean Lab colour; may have 0 columns.
        scores: how much each stands out, higher is better.
    """

    boxes_xyxy: Float64[np.ndarray, "box 4"]
    appearances: Float64[np.ndarray, "box feature"]
    scores: Float64[np.ndarray, " box"]


@dataclass(frozen=True)
class LinkRules:
    """When two boxes may be the same object.

    Attributes:
        longest_gap: for how many pictures in a row an object may go unseen.
        reach: how far a centre may lie from its prediction, in diagonals of the box.
        growth: largest ratio of areas from one sighting to the next.
        appearance_distance: largest Euclidean distance of appearances.
    """

    longest_gap: int = 3
    reach: float = 0.7
    growth: float = 2.2
    appearance_distance: float = 22.0


@dataclass(eq=False)
class Chain:
    """One object's sightings: positions of pictures (strictly increasing), and a box and score for each."""

    positions: list[int] = field(default_factory=list)
    boxes: list[Float64[np.ndarray, " 4"]] = field(default_factory=list)
    appearances: list[Float64[np.ndarray, " feature"]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def see(self, position: int, detections: Detections, index: int) -> None:
        """Add a sighting."""
        self.positions.append(position)
        self.boxes.append(detections.boxes_xyxy[index])
        self.appearances.append(detections.appearances[index])
        self.scores.append(float(detections.scores[index]))

    def predict(self, position: int) -> Float64[np.ndarray, " 4"]:
        """Return where the box should be: its last size, its centre moved on at the last velocity."""
        last = self.boxes[-1]
        if len(self.boxes) == 1:
            return last
        middle = centers(np.stack(self.boxes[-2:]))
        velocity = (middle[1] - middle[0]) / (self.positions[-1] - self.positions[-2])
        return np.asarray(last + np.tile(velocity * (position - self.positions[-1]), 2), dtype=np.float64)


def link(pictures: Sequence[Detections], rules: LinkRules) -> tuple[Chain, ...]:
    """Join boxes over time; every box belongs to exactly one chain.

    Args:
        pictures: boxes of each picture, in order of time.
        rules: when two boxes may be the same object.

    Returns:
        Chains in the order of their first sighting; a gap of up to `rules.longest_gap` pictures
        is bridged.
    """
    chains: list[Chain] = []
    for position, detections in enumerate(pictures):
        alive = [chain for chain in chains if position - chain.positions[-1] <= rules.longest_gap + 1]
        taken: set[int] = set()
        for chain_index, index in _assign(alive, detections, position, rules):
            alive[chain_index].see(position, detections, index)
            taken.add(index)
        for index in range(len(detections.scores)):
            if index not in taken:
                chain = Chain()
                chain.see(position, detections, index)
                chains.append(chain)
    return tuple(chains)


def _assign(chains: Sequence[Chain], detections: Detections, position: int, rules: LinkRules) -> list[tuple[int, int]]:
    """Return pairs (chain, box) of least total cost, without those that break a rule."""
    if not chains or not len(detections.scores):
        return []
    cost, allowed = _costs(chains, detections, position, rules)
    # More than all real costs together, so that no allowed pair is given up for a cheaper sum.
    forbidden = 4.0 * (min(cost.shape) + 1)
    rows, columns = linear_sum_assignment(np.where(allowed, cost, forbidden))
    return [(int(row), int(column)) for row, column in zip(rows, columns, strict=True) if allowed[row, column]]


def _costs(
    chains: Sequence[Chain], detections: Detections, position: int, rules: LinkRules
) -> tuple[np.ndarray, np.ndarray]:
    """Return the cost of each pair (each of its four terms within 0..1) and whether the rules allow it."""
    boxes = detections.boxes_xyxy
    last = np.stack([chain.boxes[-1] for chain in chains])
    predicted = np.stack([chain.predict(position) for chain in chains])
    unseen = np.array([position - chain.positions[-1] for chain in chains], dtype=np.float64)

    scale = np.maximum(diagonals(last)[:, None], diagonals(boxes)[None, :]) * np.sqrt(unseen)[:, None]
    # An object that stops or turns is near its last place, not its prediction.
    away = np.minimum(_distances(predicted, boxes), _distances(last, boxes)) / scale
    off_course = _distances(predicted, boxes) / scale
    growth = np.abs(np.log(areas(last)[:, None] / areas(boxes)[None, :]))
    seen = np.stack([np.mean(chain.appearances[-3:], axis=0) for chain in chains])
    contrast = np.linalg.norm(seen[:, None] - detections.appearances[None], axis=-1)

    allowed = (away <= rules.reach) & (growth <= np.log(rules.growth)) & (contrast <= rules.appearance_distance)
    cost = (
        np.minimum(off_course / (2 * rules.reach), 1.0)
        + np.minimum(growth / np.log(rules.growth), 1.0)
        + np.minimum(contrast / rules.appearance_distance, 1.0)
        + 1.0
        - intersection_over_union(predicted, boxes)
    )
    return cost, allowed


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the distance of every centre of one set from every centre of the other."""
    return np.asarray(np.linalg.norm(centers(first)[:, None] - centers(second)[None], axis=-1))
