"""Video decoding: metadata of a file, and its frames as displayed.

Only plain local files are opened. This package knows no model and no torch.
"""

from stvg_core.inputs.video.reading import iterate_frames, probe_video, read_frames
from stvg_core.inputs.video.sampling import lost_frame_count, sample_indices
from stvg_core.inputs.video.windows import Window, WindowedVideo, lay_windows, read_video

__all__ = [
    "Window",
    "WindowedVideo",
    "iterate_frames",
    "lay_windows",
    "lost_frame_count",
    "probe_video",
    "read_frames",
    "read_video",
    "sample_indices",
]
