"""Names and versions that travel with a result; light enough for a listing (no torch).

Hub ids, folders and named checkpoints (entry-point group `stvg.models`) all become a
ModelReference.
"""

from dataclasses import dataclass
from pathlib import Path

HOOK_API = 1
"""Version of hooks and adapter; a backend's manifest names the one it was written for."""


@dataclass(frozen=True)
class ModelReference:
    """Which model is wanted: a checkpoint on disk, and how the user named it.

    Attributes:
        id: what the user typed ("tiny:qwen2-vl", a folder, a hub id).
        folder: the checkpoint's folder, or None for a hub id that transformers resolves.
        revision: hub revision, or None.
    """

    id: str
    folder: Path | None = None
    revision: str | None = None

    @property
    def source(self) -> str:
        """What a loader should open: the folder where there is one, else the id."""
        return str(self.folder) if self.folder is not None else self.id


@dataclass(frozen=True)
class LoadOptions:
    """How a model is loaded.

    Attributes:
        device: "cpu", "cuda", "cuda:1", or "auto" (CUDA where there is one).
        dtype: "auto" (float32 on the CPU, the checkpoint's own elsewhere) or a torch dtype's name.
    """

    device: str = "auto"
    dtype: str = "auto"
