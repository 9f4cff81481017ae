"""The videos of a comparison's pages: each is read and placed once, whichever samples ask for it."""

import contextlib
import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from stvg_core.errors import VideoError
from stvg_core.inputs.datasets.paths import FileFinder, path_problem
from stvg_core.inputs.video import probe_video
from stvg_core.outputs.report.pages.media import MediaChoice, Medium, place_video
from stvg_core.outputs.report.pages.sample import unread_video_part, video_part

_NO_ROOT: Final = "The folder of the videos was not named; give it with --video-root."
_NOT_READ: Final = "The video cannot be shown: {}"


class PageVideos:
    """Places videos into the folder of a page, each once."""

    def __init__(self, root: Path | None, folder: Path, address: str, choice: MediaChoice) -> None:
        """Remember where videos are and where they go.

        Args:
            root: folder that no video may lie outside of; None: no video is shown.
            folder: of the pages' media.
            address: the same, relative to the page.
            choice: how videos get there.
        """
        self._finder = None if root is None else FileFinder(root, [""])
        self._root = root
        self._folder = folder
        self._address = address
        self._choice = choice
        self._place = functools.cache(self._uncached_place)

    def part(self, video: str, documents: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
        """Return the page's part about a video; None if there is neither a file nor a document about it.

        Raises:
            OutputError: the folder cannot be written to.
        """
        part = self._place(video)
        if isinstance(part, dict):
            return part
        for document in documents:
            with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
                return unread_video_part(video, document, part)
        return None

    def _uncached_place(self, video: str) -> dict[str, Any] | str:
        """Return the page's part, or why the video cannot be shown."""
        if self._finder is None or self._root is None:
            return _NO_ROOT
        wrong = path_problem(video, "video")
        if wrong is not None:
            return _NOT_READ.format(wrong.message)
        place = self._finder.find(video)
        if place.problem is not None:
            return _NOT_READ.format(place.problem.message)
        path = self._root / place.path
        try:
            info = probe_video(path)
            medium: Medium = place_video(path, info, self._folder, self._choice)
        except VideoError as error:
            # The message names the file as it was opened; a page names it as the data set does.
            return _NOT_READ.format(str(error).replace(str(path), video))
        return video_part(video, info, medium, self._address)
