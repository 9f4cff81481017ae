"""Names and versions that travel with a result; light enough for a listing (no torch).

Hub ids, folders and named checkpoints (entry-point group `stvg.models`) all become a
ModelReference.
"""

from dataclasses import dataclass
from pathlib import Path

from stvg_core.errors import UsageError

DEVICE_MAPS = ("auto", "balanced", "sequential")
QUANTIZATIONS = ("8bit", "4bit")
RECOMPUTE_LEVELS = ("auto", "none", "mlp", "layer")
CUDA_GRAPHS = ("auto", "off")
ATTENTION_KERNELS = ("auto", "sdpa", "eager", "flash_attention_2")

HOOK_API = 1
"""Version of hooks and adapter; a backend's manifest names the one it was written for."""

MIN_HOOK_API = 1
"""The oldest version that this core still calls; a backend of any version up to HOOK_API is let in."""

EXTENSION_GROUP = "stvg.extensions"
"""Entry-point group of distributions that wrap the hooks of any backend, where the user names them."""


@dataclass(frozen=True)
class ModelReference:
    """Which model to load: a checkpoint on disk, and how the user named it.

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
    """How a model is loaded, and how it computes.

    Attributes:
        device: "cpu", "cuda", "cuda:1", or "auto" (CUDA where there is one).
        dtype: "auto" (float32 on the CPU, the checkpoint's own elsewhere) or a torch dtype's name.
        device_map: spreads the weights over several devices ("auto", "balanced", "sequential");
            None: all on `device`.
        quantization: "8bit" or "4bit" weights; None: as dtype says.
        attn_implementation: kernel of vision tower and language model. "sdpa" (and "auto"): torch picks the
            fastest; "eager": plain matrix products; "flash_attention_2": the vision tower's, while
            the language model stays with SDPA (whose flash kernel needs no package).
        deterministic: only algorithms that give the same bits on every run; slower, and an error
            where torch has none.
        recompute: what a gradient step computes twice instead of keeping it: "none", "mlp" (the widest
            tensors), "layer" (all but each layer's input), or "auto": the first that fits the free memory.
        cuda_graphs: "auto": on CUDA, passes that recur are recorded once and replayed whole; "off": never.
    """

    device: str = "auto"
    dtype: str = "auto"
    device_map: str | None = None
    quantization: str | None = None
    attn_implementation: str = "auto"
    deterministic: bool = False
    recompute: str = "auto"
    cuda_graphs: str = "auto"

    def __post_init__(self) -> None:
        """Check the names; whether a device or package is there is the loader's question."""
        # What torch's users write: torch.device("cuda"), torch.bfloat16. Torch itself is not imported here.
        for name in ("device", "dtype"):
            if type(getattr(self, name)).__module__ == "torch":
                object.__setattr__(self, name, str(getattr(self, name)).removeprefix("torch."))
        if not isinstance(self.deterministic, bool):
            raise UsageError(f"expected deterministic of True or False, got {self.deterministic!r}")
        for name, value, known in (
            ("device_map", self.device_map, (None, *DEVICE_MAPS)),
            ("quantization", self.quantization, (None, *QUANTIZATIONS)),
            ("attn_implementation", self.attn_implementation, ATTENTION_KERNELS),
            ("recompute", self.recompute, RECOMPUTE_LEVELS),
            ("cuda_graphs", self.cuda_graphs, CUDA_GRAPHS),
        ):
            if value not in known:
                wanted = ", ".join(str(option) for option in known if option is not None)
                raise UsageError(f"expected {name} of {wanted}, got {value!r}")
        if self.device_map is not None and self.device != "auto":
            raise UsageError(
                f"expected device 'auto' beside device_map {self.device_map!r}, got {self.device!r}; give one of them"
            )
