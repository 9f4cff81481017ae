"""The interface of query decomposers (entry-point group `stvg.decomposers`).

An entry point names a callable without arguments that returns a Decomposer.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from stvg_core.values import SubQueries

GenerateText = Callable[[str, int], str]
"""Text generation of the loaded model: (instruction, maximum new tokens) -> answer."""


@runtime_checkable
class Decomposer(Protocol):
    """Splits a query into an attribute and an action sub-query (paper section 3.3, DSTH)."""

    @property
    def name(self) -> str:
        """Name as the user types it."""
        ...

    def decompose(self, text: str) -> SubQueries:
        """Return both sub-queries, lower case, without final stop.

        Raises:
            QueryError: the text is empty, or too long to be a sentence.
        """
        ...
