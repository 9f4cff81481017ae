"""Video files as numbers: what a file says of itself, and its pictures as displayed.

Only plain local files are opened. This package knows no model and no torch.
"""

from stvg_core.video.reading import iterate_frames, probe_video, read_frames
from stvg_core.video.sampling import sample_indices

__all__ = ["iterate_frames", "probe_video", "read_frames", "sample_indices"]
