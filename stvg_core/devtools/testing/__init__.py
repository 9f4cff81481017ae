"""The conformance kit: proves a backend on a tiny random model; see docs/conformance.md.

`stvg conformance BACKEND` runs it; `BackendConformance` is the same as a pytest class.
"""

from stvg_core.devtools.testing.pytest_form import BackendConformance
from stvg_core.devtools.testing.report import CheckResult, ConformanceReport, Measurement
from stvg_core.devtools.testing.runner import run_conformance
from stvg_core.devtools.testing.subject import ConformanceSubject, PlainAnswer, ShownClip

__all__ = [
    "BackendConformance",
    "CheckResult",
    "ConformanceReport",
    "ConformanceSubject",
    "Measurement",
    "PlainAnswer",
    "ShownClip",
    "run_conformance",
]
