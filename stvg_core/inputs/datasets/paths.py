"""Paths that annotation files name: they never leave the root."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from stvg_core.inputs.datasets.problems import Problem, problem, shown, unsafe_text

_LONGEST_NAME: Final = 255
_LONGEST_PATH: Final = 1024


def path_problem(text: str, field: str) -> Problem | None:
    r"""Return why a path from a file may not be used, or None.

    >>> path_problem("clips/a.mp4", "video") is None
    True
    >>> path_problem("../a.mp4", "video").message
    "expected video to stay inside the root, got '../a.mp4'"
    """
    if unsafe_text(text):
        return problem("control-characters", field, f"expected {field} to be plain text, got {shown(text)}")
    parts = text.split("/")
    if not text or len(text) > _LONGEST_PATH or max(map(len, parts)) > _LONGEST_NAME:
        return problem("out-of-range", field, f"expected {field} to be a file name, got {shown(text)}")
    # A backslash and a colon leave the root on Windows alone; a benchmark is the same everywhere.
    outside = text.startswith("/") or "\\" in text or (len(text) > 1 and text[1] == ":") or ".." in parts
    if outside or "" in parts or "." in parts:
        return problem("unsafe-path", field, f"expected {field} to stay inside the root, got {shown(text)}")
    return None


@dataclass(frozen=True)
class FilePlace:
    """Where a file is, or would be.

    Attributes:
        path: relative to the root, with "/".
        there: whether a file lies there.
        problem: a link out of the root; None where all is well.
    """

    path: str
    there: bool
    problem: Problem | None = None


class FileFinder:
    """Finds files by name in the folders of a layout, and never outside the root."""

    def __init__(self, root: Path, folders: Sequence[str], what: str = "video") -> None:
        """Remember where to look.

        Args:
            root: folder that no file may lie outside of.
            folders: relative folders, "" for the root itself; a last part `*` stands for every folder there.
            what: name of what is looked for, in messages.
        """
        self._what = what
        self._root = root.resolve()
        self._folders = tuple(folders)
        self._expanded: tuple[str, ...] | None = None

    def find(self, name: str) -> FilePlace:
        """Return where the file of this name is; the name was checked by `path_problem`."""
        for folder in self._existing_folders():
            path = str(PurePosixPath(folder, name))
            try:
                there = (self._root / path).is_file()
                inside = (self._root / path).resolve().is_relative_to(self._root)
            except (OSError, RuntimeError) as error:
                return FilePlace(path, False, problem("unsafe-path", self._what, f"cannot look at {path}: {error}"))
            if not inside:
                return FilePlace(
                    path,
                    there,
                    problem("unsafe-path", self._what, f"expected {path} inside the root, got a link out of it"),
                )
            if there:
                return FilePlace(path, True)
        first = next((folder for folder in self._folders if "*" not in folder), self._folders[0].removesuffix("*"))
        return FilePlace(str(PurePosixPath(first, name)), False)

    def _existing_folders(self) -> tuple[str, ...]:
        if self._expanded is None:
            expanded: list[str] = []
            for folder in self._folders:
                if not folder.endswith("*"):
                    expanded.append(folder)
                    continue
                parent = self._root / folder.removesuffix("*")
                if parent.is_dir():
                    expanded += sorted(
                        child.relative_to(self._root).as_posix() for child in parent.iterdir() if child.is_dir()
                    )
            self._expanded = tuple(expanded)
        return self._expanded
