"""Whether a sample's video is there, opens, and is the one that the annotation speaks of."""

from pathlib import Path
from typing import Literal

from stvg_core.errors import VideoError
from stvg_core.inputs.datasets.entries import Entry
from stvg_core.inputs.datasets.problems import Problem, problem
from stvg_core.values import VideoInfo

VideoCheck = Literal["none", "exists", "open"]
"""How closely videos are looked at: not at all, whether the file is there, whether it opens."""


class VideoInspector:
    """Looks at the videos of a data set; each file once."""

    def __init__(self, root: Path, check: VideoCheck) -> None:
        """Remember where videos lie and how closely to look.

        Args:
            root: folder that the samples' video paths are relative to.
            check: how closely.
        """
        self._root = root
        self._check = check
        self.there: set[str] = set()
        self.missing: set[str] = set()
        self.unreadable: set[str] = set()
        self._facts: dict[str, tuple[int, int, int] | Problem] = {}

    def problems(self, entry: Entry) -> tuple[Problem, ...]:
        """Return what is wrong with the video of an entry, as far as the check goes."""
        if self._check == "none" or entry.video is None or entry.video.problem is not None:
            return ()
        path = entry.video.path
        if not entry.video.there:
            self.missing.add(path)
            return (problem("missing-video", "video", f"expected the video {path}, got no such file"),)
        self.there.add(path)
        if self._check == "exists":
            return ()
        if path not in self._facts:
            self._facts[path] = self._look(path)
        facts = self._facts[path]
        if isinstance(facts, Problem):
            self.unreadable.add(path)
            return (facts,)
        return _compare(entry, *facts)

    def _look(self, path: str) -> tuple[int, int, int] | Problem:
        from stvg_core.inputs.video import probe_video

        try:
            info: VideoInfo = probe_video(self._root / path)
        except VideoError as error:
            # The message names the file as it was opened; a report names it as the data set does.
            return problem("unreadable-video", "video", str(error).replace(str(self._root / path), path))
        return info.frame_count, info.width, info.height


def _compare(entry: Entry, frame_count: int, width: int, height: int) -> tuple[Problem, ...]:
    """Return where a video and what is said of it differ."""
    sample = entry.sample
    if sample is None:
        return ()
    problems = []
    if sample.frame_count is not None:
        step = sample.frame_step
        # A thinned file may count every tenth frame of a clip that is cut off a little earlier or later.
        counted = frame_count if step == 1 else -(-frame_count // step)
        if sample.truth is not None and sample.truth.end_frame * step >= frame_count:
            last = sample.truth.end_frame * step
            message = f"expected a video of at least {last + 1} frames, got {frame_count} in {sample.video}"
            problems.append(problem("span-beyond-video", "video", message))
        elif sample.frame_count != counted:
            message = f"expected {sample.frame_count} frames in {sample.video}, got {counted}"
            problems.append(problem("frame-count-differs", "video", message))
    if sample.width is not None and sample.height is not None and (sample.width, sample.height) != (width, height):
        message = f"expected {sample.width}x{sample.height} pixels in {sample.video}, got {width}x{height}"
        problems.append(problem("size-differs", "video", message))
    return tuple(problems)
