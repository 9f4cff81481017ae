"""A healthy machine as the doctor sees it, and the same with one thing changed."""

from pathlib import Path

from stvg_core.devtools.doctor.document import (
    Device,
    Facts,
    Folder,
    Hub,
    Library,
    Machine,
    NamedModel,
    Plugin,
    Torch,
    Video,
)

DOCS = Path(__file__).parents[2] / "docs"
GIGA, GIBI = 10**9, 2**30
GPU = Device(
    index=0,
    name="NVIDIA H200",
    compute_capability="9.0",
    memory_total_bytes=140 * GIBI,
    memory_free_bytes=139 * GIBI,
    bfloat16=True,
    supported=True,
)
BACKEND = Plugin(
    name="qwen2-vl",
    distribution="stvg-qwen2-vl",
    version="1.0",
    status="ok",
    reason="",
    fix="",
    architectures=("Qwen2VLForConditionalGeneration",),
)
MODEL = NamedModel(
    name="tiny:qwen2-vl",
    distribution="stvg-tiny",
    status="ok",
    reason="",
    architecture="Qwen2VLForConditionalGeneration",
    folder="/models/tiny",
)
CACHE = Folder(purpose="hub cache", path="/cache", exists=True, writable=True, reason="", free_bytes=900 * GIGA)
HERE = CACHE.model_copy(update={"purpose": "current folder", "path": "/here"})
HEALTHY = Facts(
    versions={"torch": "2.9.0+cu126", "flash-attn": None},
    unmet=(),
    machine=Machine(
        python="3.11.7",
        executable="/usr/bin/python",
        platform="Linux",
        processors=16,
        usable_processors=8,
        memory_total_bytes=64 * GIBI,
        memory_available_bytes=60 * GIBI,
        nvidia_driver="550.54.15",
    ),
    torch=Torch(status="ok", version="2.9.0+cu126", cuda_build="12.6", threads=8, devices=(GPU,)),
    torchvision=Library(status="ok", version="0.24.0+cu126"),
    video=Video(status="ok", version="18.0", decoders={"h264": True, "hevc": True}, encoder="libx264"),
    folders=(CACHE, HERE),
    hub=Hub(offline=False, offline_by="", token=True),
    environment={"OMP_NUM_THREADS": None, "CUDA_VISIBLE_DEVICES": None, "HF_TOKEN": "set"},
    backends=(BACKEND,),
    extensions=(),
    models=(MODEL,),
    plugin_warnings=(),
    checked=False,
)


def changed(part: str, **values: object) -> Facts:
    """Return healthy facts but for some fields of a part."""
    return HEALTHY.model_copy(update={part: getattr(HEALTHY, part).model_copy(update=values)})


def with_(**values: object) -> Facts:
    return HEALTHY.model_copy(update=values)


def with_device(**values: object) -> Facts:
    return changed("torch", devices=(GPU.model_copy(update=values),))


def without_gpu(**values: object) -> Facts:
    return changed("torch", **{"devices": (), **values})


def with_threads(value: str) -> Facts:
    return with_(environment={"OMP_NUM_THREADS": value})


def with_backend(**values: object) -> Facts:
    ill = BACKEND.model_copy(update={"name": "ill", "distribution": "stvg-ill", "architectures": (), **values})
    return with_(backends=(BACKEND, ill))


def with_folder(folder: Folder, **values: object) -> Facts:
    return with_(folders=(folder.model_copy(update=values),))


def install(folder: Path, name: str, *, points: str = "", needs: str = "", version: str = "1.5") -> None:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    requires = f"Requires-Dist: {needs}\n" if needs else ""
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}", "utf-8")
    if points:
        (info / "entry_points.txt").write_text(points, encoding="utf-8")
