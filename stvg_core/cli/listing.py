"""`stvg models`: which named checkpoints are installed, and what a preset holds for one; imports no torch."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any

import typer

from stvg_core.cli.plugin_files import PluginFileOption
from stvg_core.cli.run_options import BackendOption
from stvg_core.cli.terminal import one_line, table_lines
from stvg_core.errors import ModelError, UsageError

JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON document and nothing else")]


def models(
    action: Annotated[
        str | None, typer.Argument(metavar="show", help="show the settings of one", show_default=False)
    ] = None,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="a named model, a folder, or a hub id", show_default=False)
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            help="paper, released, fast or calibrated",
            show_default="calibrated if shipped, else paper",
        ),
    ] = None,
    revision: Annotated[str | None, typer.Option("--revision", help="branch, tag or commit of a hub id")] = None,
    backend: BackendOption = None,
    as_json: JsonOption = False,
    plugin: PluginFileOption = None,
) -> None:
    """List the installed named checkpoints, or show every setting of a preset for a model."""
    if action is None:
        if (preset, revision, backend) != (None, None, None):
            raise UsageError("expected stvg models show NAME beside --preset, --revision or --backend, got no NAME")
        _list(as_json)
    elif action == "show" and name is not None:
        document = details(name, preset, revision, backend)
        typer.echo(json.dumps(document) if as_json else "\n".join(detail_lines(document)))
    else:
        got = "no NAME" if action == "show" else repr(action)
        raise UsageError(f"expected stvg models, or stvg models show NAME, got {got}")


def details(name: str, preset: str | None, revision: str | None, backend: str | None) -> dict[str, Any]:
    """Return the settings of a preset for a model, as `stvg models show --json` prints them.

    Raises:
        StvgError: what was expected, what came, and the cure.
    """
    from stvg_core.host.model_settings import family_presets, find_backend, settings_before_loading
    from stvg_core.host.models import resolve_model
    from stvg_core.settings import PROVENANCE, load_settings

    resolved = resolve_model(name, revision)
    found = find_backend(resolved, backend)
    settings = settings_before_loading(resolved, found.selector, preset)
    calibrated = settings.preset == "calibrated"
    base_name = "paper" if calibrated else settings.preset
    # The family's options are in the base as well, with their defaults: what differs is what a preset or file sets.
    options = replace(family_presets(found), presets={})
    base = dict(_leaves(load_settings(base_name, family=options).model_dump(mode="json")))
    folder = resolved.reference.folder
    return {
        "model": name,
        "architecture": resolved.architecture,
        "backend": {"name": found.name, "distribution": found.distribution, "version": found.version},
        "checkpoint": None if folder is None else str(folder),
        "preset": settings.preset,
        "base_preset": base_name,
        "settings": settings.model_dump(mode="json"),
        "differences": [
            {"setting": setting, "value": value, "base": base[setting], "by": "calibration" if calibrated else "family"}
            for setting, value in _leaves(settings.model_dump(mode="json"))
            if setting not in PROVENANCE and value != base[setting]
        ],
    }


def detail_lines(document: Mapping[str, Any]) -> list[str]:
    """Return the output of `details` as lines of text."""
    from stvg_core.settings import PROVENANCE

    backend, base_name = document["backend"], document["base_preset"]
    differences = {one["setting"]: one for one in document["differences"]}
    pairs = [
        ("model", document["model"]),
        ("architecture", document["architecture"]),
        ("backend", f"{backend['name']} of {backend['distribution']} {backend['version']}"),
        ("checkpoint", document["checkpoint"] or "on the hub"),
        ("preset", document["preset"]),
    ]
    rows = [("setting", "set by", "value")]
    for setting, value in _leaves(document["settings"]):
        if setting in PROVENANCE:
            continue
        one, shown = differences.get(setting), _json(value)
        rows.append(
            (setting, "", shown)
            if one is None
            else (setting, one["by"], f"{shown} ({base_name}: {_json(one['base'])})")
        )
    return [*(f"{label:14}{one_line(text)}" for label, text in pairs), "", *table_lines(rows)]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield nested settings under dotted names."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _list(as_json: bool) -> None:
    from stvg_core.host.models import named_entries, resolve_model

    rows = []
    for name, entry in named_entries().items():
        row = {
            "name": name,
            "distribution": entry.distribution.name,
            "status": "ok",
            "architecture": "",
            "folder": "",
            "reason": "",
        }
        try:
            resolved = resolve_model(name)
        except ModelError as error:
            row |= {"status": "broken", "reason": one_line(str(error))}
        else:
            row |= {"architecture": resolved.architecture, "folder": str(resolved.reference.folder)}
        rows.append(row)
    if as_json:
        typer.echo(json.dumps({"models": rows}))
        return
    if not rows:
        typer.echo("no named model is installed; try: pip install stvg-tiny")
        return
    lines = table_lines(
        [("name", "distribution", "status", "architecture")]
        + [(row["name"], row["distribution"], row["status"], row["architecture"] or row["reason"]) for row in rows]
    )
    for line in lines:
        typer.echo(line)
    typer.echo("A folder or a hub id (Qwen/Qwen2-VL-7B-Instruct) is a model as well.")
