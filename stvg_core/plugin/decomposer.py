"""The base class of query decomposers (entry-point group `stvg.decomposers`)."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from stvg_core.errors import UsageError
from stvg_core.values import SubQueries

GenerateText = Callable[[str, int], str]
"""Text generation of the loaded model: (instruction, maximum new tokens) -> answer."""


class Decomposer(ABC):
    """Splits a query into an attribute and an action sub-query (paper section 3.3, DSTH).

    An entry point names a subclass. `name` and `decompose` are abstract.
    """

    @classmethod
    def open(cls, argument: str, generate: GenerateText | None, video_name: str | None) -> "Decomposer":
        """Return the decomposer for what the user typed: NAME or NAME:ARGUMENT.

        Args:
            argument: the text after the first colon; empty without one.
            generate: text generation of the loaded model; None if no model is loaded.
            video_name: file name of the video; None if there is none.

        Raises:
            UsageError: the argument is malformed, or `generate` is required. By default there is no argument.
        """
        decomposer = cls()
        if argument:
            raise UsageError(f"decomposer {decomposer.name} takes no argument, got {argument!r}; leave it out")
        return decomposer

    @property
    @abstractmethod
    def name(self) -> str:
        """Name as the user types it."""

    @abstractmethod
    def decompose(self, text: str) -> SubQueries:
        """Return both sub-queries, lower case, without final stop.

        Raises:
            QueryError: the text is empty, or too long to be a sentence.
        """
