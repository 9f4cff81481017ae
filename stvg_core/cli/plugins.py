"""`stvg plugins`: installed plugins of every kind, their status and fixes; imports no plugin and no torch."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stvg_core.cli.plugin_files import PluginFileOption
from stvg_core.cli.terminal import one_line, progress, table_lines
from stvg_core.errors import PluginError, UsageError

if TYPE_CHECKING:
    from stvg_core.host.import_check import CheckOutcome
    from stvg_core.host.registry import FoundBackend

JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON document and nothing else")]
CheckOption = Annotated[bool, typer.Option("--check", help="import each backend in a separate process; slow")]
OTHER_KINDS = ("trackers", "decomposers", "engines", "extensions")
"""Listed below the backends, by entry-point group: `stvg.trackers` and so on."""

TimeoutOption = Annotated[
    float | None,
    typer.Option("--timeout", min=0.1, help="timeout of each import in seconds, with --check (default: 60)"),
]


def plugins(
    action: Annotated[str | None, typer.Argument(metavar="show", help="show one backend", show_default=False)] = None,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="a backend, a distribution, or distribution:backend", show_default=False),
    ] = None,
    as_json: JsonOption = False,
    check: CheckOption = False,
    timeout_seconds: TimeoutOption = None,
    plugin: PluginFileOption = None,
) -> None:
    """List installed backends, trackers, decomposers, engines and extensions; or show details of one backend."""
    if action is None:
        _list(as_json, check, timeout_seconds)
    elif action == "show" and name is not None:
        _show(name, as_json, check, timeout_seconds)
    else:
        raise UsageError(f"expected stvg plugins, or stvg plugins show NAME, got {action!r}")


def _list(as_json: bool, check: bool, timeout_seconds: float | None) -> None:
    from stvg_core.host.registry import find_backends_and_warnings

    backends, warnings = find_backends_and_warnings()
    if check:
        backends = _checked(backends, timeout_seconds)[0]
    if as_json:
        document = {"plugins": [row(backend) for backend in backends], "warnings": list(warnings)}
        typer.echo(json.dumps(document | {kind: entry_rows(kind) for kind in OTHER_KINDS}))
    else:
        for line in listing(backends):
            typer.echo(line)
        for kind in OTHER_KINDS:
            for line in entry_listing(kind):
                typer.echo(line)
    for warning in warnings:
        typer.echo(f"warning: {one_line(warning)}", err=True)
    if check:
        _refuse_unusable(backends)


def _show(name: str, as_json: bool, check: bool, timeout_seconds: float | None) -> None:
    from stvg_core.host.registry import find_backends
    from stvg_core.host.registry.choice import matching_backends
    from stvg_core.host.registry.metadata import normalized

    everyone = find_backends()
    backends = matching_backends(name, everyone) or tuple(
        backend for backend in everyone if normalized(backend.distribution) == normalized(name)
    )
    if not backends:
        known = ", ".join(sorted({backend.name for backend in everyone})) or "none is installed"
        raise PluginError(f"expected a backend ({known}), got {name!r}; stvg plugins lists them")
    outcomes: Sequence[CheckOutcome | None] = [None] * len(backends)
    if check:
        backends, outcomes = _checked(backends, timeout_seconds)
    documents = [details(backend, outcome) for backend, outcome in zip(backends, outcomes, strict=True)]
    if as_json:
        typer.echo(json.dumps({"plugins": documents}))
    else:
        typer.echo("\n\n".join("\n".join(detail_lines(document)) for document in documents))
    if check:
        _refuse_unusable(backends)


def row(backend: "FoundBackend") -> dict[str, Any]:
    """Return a backend as `stvg plugins --json` writes it."""
    return {
        "name": backend.name,
        "distribution": backend.distribution,
        "version": backend.version,
        "status": backend.status,
        "reason": backend.reason,
        "fix": backend.fix,
        "hook_api": backend.hook_api,
        "architectures": list(backend.architectures),
    }


def listing(backends: Sequence["FoundBackend"]) -> list[str]:
    """Return a table of the backends, and below it the problems of those that are unusable, with fixes."""
    if not backends:
        return ["no backend is installed; try: pip install stvg-qwen2-vl"]
    cells = [("name", "distribution", "version", "status", "architectures")]
    for backend in backends:
        version = backend.version[:19] if backend.is_file else backend.version
        cells.append((backend.name, backend.distribution, version, backend.status, ", ".join(backend.architectures)))
    return table_lines(cells) + [
        one_line(f"{backend.name} of {backend.distribution} is {backend.status}: {backend.reason}; {backend.fix}")
        for backend in backends
        if backend.status != "ok"
    ]


def entry_rows(kind: str) -> list[dict[str, str]]:
    """Return the entry points of a kind other than backends, as `stvg plugins --json` writes them."""
    from stvg_core.host.registry.selection import find_entries

    return [
        {
            "name": one_line(entry.point.name),
            "distribution": one_line(entry.distribution.name),
            "version": one_line(entry.distribution.version),
            "status": "disabled" if disabled else "ok",
            "reason": one_line(disabled),
        }
        for entry, disabled in sorted(find_entries(f"stvg.{kind}"), key=lambda pair: pair[0].point.name)
    ]


def entry_listing(kind: str) -> list[str]:
    """Return the table of a kind other than backends, after an empty line; no line if none is installed."""
    rows = entry_rows(kind)
    names = ("name", "distribution", "version", "status")
    cells = [(kind, *names[1:]), *(tuple(each[name] for name in names) for each in rows)]
    return ["", *table_lines(cells)] if rows else []


def details(backend: "FoundBackend", outcome: "CheckOutcome | None" = None) -> dict[str, Any]:
    """Return a backend as `stvg plugins show --json` writes it."""
    from stvg_core.host.registry.manifest import MANIFEST_FILE
    from stvg_core.host.registry.metadata import find_installed
    from stvg_core.host.registry.requirements import requirement_states
    from stvg_core.host.registry.static_hooks import read_static_hooks
    from stvg_core.plugin.model_reference import HOOK_API, MIN_HOOK_API

    static = read_static_hooks(backend)
    place = backend.package_path
    manifest = place if place is None or backend.is_file else place / MANIFEST_FILE
    states = requirement_states(backend.requirements, find_installed().versions)
    return row(backend) | {
        "display_name": backend.display_name,
        "entry_point": one_line(backend.entry_point.value),
        "manifest": None if manifest is None else one_line(str(manifest)),
        "metadata": None if backend.metadata_path is None else one_line(str(backend.metadata_path)),
        "core_hook_apis": [MIN_HOOK_API, HOOK_API],
        "hooks": {
            "static": list(static.names),
            "static_is_complete": static.complete,
            "imported": None if outcome is None or not outcome.hooks else list(outcome.hooks),
        },
        "presets": {preset: dict(settings) for preset, settings in backend.presets.items()},
        "family_options": dict(backend.family_options),
        "requirements": [{"text": state.text, "installed": state.installed, "met": state.met} for state in states],
        "use": f"stvg ground VIDEO QUERY --model MODEL --backend {backend.selector}",
    }


def detail_lines(document: dict[str, Any]) -> list[str]:
    """Return what `details` gives as lines for a person."""
    hooks = document["hooks"]
    static = ", ".join(hooks["static"]) or "none seen"
    unread = "" if hooks["static_is_complete"] else " (some of its classes could not be read; --check imports them)"
    spoken = " to ".join(map(str, dict.fromkeys(document["core_hook_apis"])))
    pairs = [
        ("name", document["name"]),
        ("display name", document["display_name"] or "unknown"),
        ("status", document["status"]),
        ("reason", document["reason"]),
        ("fix", document["fix"]),
        ("distribution", f"{document['distribution']} {document['version']}"),
        ("metadata", document["metadata"]),
        ("manifest", document["manifest"] or "none"),
        ("entry point", document["entry_point"]),
        ("hook API", f"{document['hook_api'] or 'unknown'}; this core calls {spoken}"),
        ("architectures", ", ".join(document["architectures"]) or "unknown"),
        ("hooks, source", static + unread),
        ("hooks, import", None if hooks["imported"] is None else ", ".join(hooks["imported"])),
        ("input.family", ", ".join(document["family_options"]) or None),
        *((f"preset {name}", ", ".join(settings)) for name, settings in document["presets"].items()),
        *(
            (
                "needs" if place == 0 else "",
                f"{need['text']}: {need['installed'] or 'not installed'}{'' if need['met'] else ', NOT MET'}",
            )
            for place, need in enumerate(document["requirements"])
        ),
        ("use", document["use"]),
    ]
    return [f"{label:16}{one_line(str(text))}" for label, text in pairs if text]


def _checked(
    backends: Sequence["FoundBackend"], timeout_seconds: float | None
) -> "tuple[tuple[FoundBackend, ...], tuple[CheckOutcome, ...]]":
    from stvg_core.host.import_check import CHECK_SECONDS, check_backends, with_outcome

    with progress("stvg plugins --check"):
        outcomes = check_backends(backends, CHECK_SECONDS if timeout_seconds is None else timeout_seconds)
    return tuple(with_outcome(backend, outcome) for backend, outcome in zip(backends, outcomes, strict=True)), outcomes


def _refuse_unusable(backends: Sequence["FoundBackend"]) -> None:
    """Raise an error if a backend needs fixing."""
    from stvg_core.host.registry.found import HARMLESS

    unusable = [f"{backend.name} ({backend.status})" for backend in backends if backend.status not in HARMLESS]
    if unusable:
        raise PluginError(f"expected every backend to be usable, got {', '.join(unusable)}; the fixes are listed above")
