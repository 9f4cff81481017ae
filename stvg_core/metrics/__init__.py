"""How well a predicted tube fits the true one; the only package that is given ground truth.

Metrics are pure functions of two tubes and a `Rules` value. A protocol is a named preset over
rules that gives the numbers of one published evaluation code (docs/metrics.md compares them).
"""

from stvg_core.metrics.bootstrap import Bootstrap, bootstrap_intervals
from stvg_core.metrics.overlap import TubeOverlap, box_iou, tube_overlap
from stvg_core.metrics.protocols import PROTOCOLS, ScoringProtocol, find_protocol
from stvg_core.metrics.rules import Rules
from stvg_core.metrics.sample_tube import SampleTruth, SampleTube
from stvg_core.metrics.scoring import SampleScores, score_sample
from stvg_core.metrics.summary import METRIC_NAMES, SampleResult, summarize

__all__ = [
    "METRIC_NAMES",
    "PROTOCOLS",
    "Bootstrap",
    "Rules",
    "SampleResult",
    "SampleScores",
    "SampleTruth",
    "SampleTube",
    "ScoringProtocol",
    "TubeOverlap",
    "bootstrap_intervals",
    "box_iou",
    "find_protocol",
    "score_sample",
    "summarize",
    "tube_overlap",
]
