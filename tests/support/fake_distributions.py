"""Installed distributions as pip would leave them, written in a moment; for tests and benchmarks/startup.py."""

from pathlib import Path

from stvg_core.host.registry import FoundBackend, find_backends

MANIFEST = """
name = "{name}"
display_name = "A family"
hook_api = {api}
architectures = ["{architecture}"]
"""
EXPLODING = "raise RuntimeError('imported')"
HOOKS = """
from stvg_core.plugin.hookspecs import hookimpl


class Backend:
    @hookimpl
    def stvg_create_adapter(self, reference, options): ...

    @hookimpl
    def stvg_capture_attention(self, adapter, request): ...

    @hookimpl
    def stvg_select_grounding_tokens(self, adapter, attention, relative, settings): ...

    @hookimpl
    def stvg_regularize_logits(self, adapter, logits, settings): ...

    @hookimpl
    def stvg_augment_frames(self, adapter, frames, clip, settings): ...
"""
FILE_MANIFEST = """
STVG_BACKEND = {{
    "name": "{name}",
    "display_name": "A family",
    "hook_api": 1,
    "architectures": ["FamilyModel"],
    "plugin": "Backend",
}}
"""


def manifest_text(name: str, api: int = 1, architecture: str = "FamilyModel") -> str:
    return MANIFEST.format(name=name, api=api, architecture=architecture)


def write_distribution(
    folder: Path,
    name: str,
    *,
    distribution: str = "",
    package: str = "",
    version: str = "1.0",
    manifest: str | bytes | None = "",
    requires: tuple[str, ...] = (),
    code: str = EXPLODING,
    hooks: str = HOOKS,
    entry_points: str | bytes | None = None,
    metadata: str | bytes | None = None,
) -> Path:
    """Write a package (its import explodes unless code says otherwise) and its metadata; return the latter's folder.

    manifest "" is a good one, None is none.
    """
    distribution = distribution or f"stvg-{name}"
    package = package or distribution.replace("-", "_")
    home = folder / package
    home.mkdir(parents=True, exist_ok=True)
    (home / "__init__.py").write_text(code, encoding="utf-8")
    (home / "hooks.py").write_text(hooks, encoding="utf-8")
    if manifest is not None:
        write(home / "stvg-backend.toml", manifest or manifest_text(name))
    info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    needs = "".join(f"Requires-Dist: {line}\n" for line in requires)
    told = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n{needs}"
    write(info / "METADATA", told if metadata is None else metadata)
    points = f"[stvg.backends]\n{name} = {package}.hooks:Backend\n"
    write(info / "entry_points.txt", points if entry_points is None else entry_points)
    return info


def write_plugin_file(path: Path, name: str = "single", body: str = HOOKS) -> Path:
    path.write_text(FILE_MANIFEST.format(name=name) + body, encoding="utf-8")
    return path


def write(path: Path, content: str | bytes) -> None:
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def rows(name: str = "family") -> list[FoundBackend]:
    """Every listed row of a backend."""
    return [backend for backend in find_backends() if backend.name == name]


def row(name: str = "family") -> FoundBackend:
    """The one listed row of a backend."""
    (found,) = rows(name)
    return found
