"""The kit as a pytest class: one test per check. Imports no pytest before a test runs."""

from typing import Any, ClassVar

from stvg_core.devtools.testing.context import ConformanceContext
from stvg_core.devtools.testing.runner import open_context, run_check, select_checks
from stvg_core.devtools.testing.suite import CHECKS


class BackendConformance:
    """Derive from it, name the subject, and pytest runs every check.

    ::

        from stvg_core.devtools.testing import BackendConformance

        class TestMine(BackendConformance):
            backend = "mine"

    Attributes:
        backend: name of the subject: the backend's, or BACKEND/MODEL.
    """

    backend: ClassVar[str]
    _context: ClassVar[ConformanceContext | None] = None

    def pytest_generate_tests(self, metafunc: Any) -> None:  # noqa: ANN401 - pytest's own type
        """Make one test of every check."""
        if "conformance_check" in metafunc.fixturenames:
            metafunc.parametrize("conformance_check", [check.name for check in CHECKS])

    def test_conformance(self, conformance_check: str, tmp_path_factory: Any) -> None:  # noqa: ANN401 - the same
        """Run one check."""
        import pytest

        kind = type(self)
        if kind._context is None:
            kind._context = open_context(self.backend, tmp_path_factory.mktemp("conformance"))
        (check,) = select_checks([conformance_check])
        result = run_check(check, kind._context)
        if result.outcome == "failed":
            pytest.fail(f"{result.statement}: {result.message}; see {result.page}", pytrace=False)
        if result.outcome != "passed":
            pytest.skip(f"{result.outcome}: {result.message}")
