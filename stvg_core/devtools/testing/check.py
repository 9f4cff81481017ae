"""A check: a name, what it proves, and a function that writes down what it finds."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from stvg_core.devtools.testing.report import Measurement

if TYPE_CHECKING:
    from stvg_core.devtools.testing.context import ConformanceContext

PAGE: Final = "docs/conformance.md"


class NotApplicable(Exception):  # noqa: N818 - it is no error
    """Raised by a check that says nothing about this backend; the message is the reason."""


@dataclass(eq=False)
class Findings:
    """What one check measured and found wrong, in the author's terms."""

    measurements: list[Measurement] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def at_most(self, name: str, value: float, bound: float, wrong: str) -> None:
        """Write a number down; above its bound (or no number at all) it is a failure that says what is wrong."""
        self._measured(Measurement(name=name, value=value, relation="at most", bound=bound), wrong)

    def at_least(self, name: str, value: float, bound: float, wrong: str) -> None:
        """Write a number down; below its bound it is a failure that says what is wrong."""
        self._measured(Measurement(name=name, value=value, relation="at least", bound=bound), wrong)

    def expect(self, condition: bool, wrong: str) -> None:
        """Note a failure where a condition does not hold."""
        if not condition:
            self.failures.append(wrong)

    def _measured(self, measurement: Measurement, wrong: str) -> None:
        self._keep(measurement)
        numbers = f"{measurement.name} {measurement.value:.2g}, expected {measurement.relation} {measurement.bound:.2g}"
        self.expect(measurement.kept, f"{wrong} ({numbers})")

    def _keep(self, measurement: Measurement) -> None:
        """Keep the worst of the numbers of one name."""
        for place, kept in enumerate(self.measurements):
            if kept.name == measurement.name:
                sign = 1 if kept.relation == "at most" else -1
                if sign * measurement.value > sign * kept.value or not math.isfinite(measurement.value):
                    self.measurements[place] = measurement
                return
        self.measurements.append(measurement)


CheckFunction = Callable[["ConformanceContext", Findings], None]


@dataclass(frozen=True)
class Check:
    """One thing that a backend must do.

    Attributes:
        name: also the anchor of its section in docs/conformance.md.
        statement: what it proves, in the author's terms.
        function: writes its findings down.
        needs_session: whether it is asked only where a session opens.
        needs_tiny: whether it makes sense on the tiny random model alone, not on a real checkpoint.
        advisory: whether a failure is told but does not count; for new checks, for one minor version.
    """

    name: str
    statement: str
    function: CheckFunction
    needs_session: bool = True
    needs_tiny: bool = False
    advisory: bool = False

    @property
    def page(self) -> str:
        """Where the check is explained."""
        return f"{PAGE}#{self.name}"


def check(
    name: str, statement: str, *, needs_session: bool = True, needs_tiny: bool = False, advisory: bool = False
) -> Callable[[CheckFunction], Check]:
    """Make a check of a function; stvg_core.devtools.testing.suite lists them all."""

    def wrap(function: CheckFunction) -> Check:
        return Check(name, statement, function, needs_session, needs_tiny, advisory)

    return wrap
