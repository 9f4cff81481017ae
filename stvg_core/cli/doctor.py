"""`stvg doctor`: what is installed, what it runs on, and what needs mending."""

from typing import TYPE_CHECKING, Annotated

import typer

from stvg_core.cli.terminal import one_line, progress

if TYPE_CHECKING:
    from rich.table import Table

    from stvg_core.devtools.doctor import DoctorDocument, Facts, Problem

_GIBI, _GIGA = 2**30, 1e9
_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON document and nothing else")] = False,
    check: Annotated[bool, typer.Option("--check", help="import every backend in a process of its own; slow")] = False,
) -> None:
    """Tell what is installed and what needs mending; exit code 1 where something does not work."""
    from stvg_core.devtools.doctor import examine

    with progress("stvg doctor") as on_stage:
        on_stage("looking at libraries, devices and plugins")
        document = examine(check=check)
    if as_json:
        # ASCII alone: no character of a foreign name can steer a terminal.
        typer.echo(_as_ascii(document))
    else:
        _show(document)
    if not document.healthy:
        raise typer.Exit(1)


def _as_ascii(document: "DoctorDocument") -> str:
    import json

    return json.dumps(document.model_dump(mode="json"))


def _show(document: "DoctorDocument") -> None:
    from rich.console import Console

    console = Console(highlight=False)
    for table in (*_tables(document.facts), _problem_table(document.problems)):
        if table.row_count:
            console.print(table)
    if not document.problems:
        console.print("nothing to mend")


def _table(title: str, *columns: str) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, show_header=bool(any(columns)), pad_edge=False
    )
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _add(table: "Table", *cells: str, style: str | None = None) -> None:
    """Add a row of foreign text: no markup, no control characters."""
    from rich.text import Text

    table.add_row(*(Text(one_line(cell)) for cell in cells), style=style)


def _tables(facts: "Facts") -> "tuple[Table, ...]":
    return (_machine_table(facts), _version_table(facts), _plugin_table(facts), _environment_table(facts))


def _machine_table(facts: "Facts") -> "Table":
    machine, torch, video = facts.machine, facts.torch, facts.video
    table = _table("machine", "", "")
    _add(table, "python", f"{machine.python}, {machine.executable}")
    _add(table, "platform", machine.platform)
    threads = f", torch takes {torch.threads} threads" if torch.threads is not None else ""
    _add(table, "processors", f"{machine.usable_processors} usable of {machine.processors}{threads}")
    _add(
        table, "memory", f"{_size(machine.memory_available_bytes)} available of {_size(machine.memory_total_bytes)} GiB"
    )
    _add(table, "nvidia driver", machine.nvidia_driver or "none")
    cuda = f", built for CUDA {torch.cuda_build}" if torch.cuda_build else ", built without CUDA"
    _add(table, "torch", f"{torch.version}{cuda}" if torch.status == "ok" else f"{torch.status} {torch.reason}")
    for device in torch.devices:
        _add(
            table,
            f"cuda:{device.index}",
            f"{device.name}, {_size(device.memory_free_bytes)} free of {_size(device.memory_total_bytes)} GiB, "
            f"compute capability {device.compute_capability}, bfloat16 {'yes' if device.bfloat16 else 'no'}",
        )
    if video.status == "ok":
        read = ", ".join(f"{kind} {'yes' if able else 'NO'}" for kind, able in video.decoders.items())
        _add(table, "video", f"reads {read}; writes {f'h264 ({video.encoder})' if video.encoder else 'nothing'}")
    else:
        _add(table, "video", f"{video.status} {video.reason}")
    for folder in facts.folders:
        room = "unknown" if folder.free_bytes is None else f"{folder.free_bytes / _GIGA:.1f} GB"
        state = "writable" if folder.writable else "NOT writable"
        _add(
            table,
            folder.purpose,
            f"{folder.path}, {state}, {'there' if folder.exists else 'not made yet'}, {room} free",
        )
    hub = f"switched off by {facts.hub.offline_by}" if facts.hub.offline else "not switched off"
    _add(table, "hub", f"{hub}, token {'set' if facts.hub.token else 'not set'} in the environment")
    return table


def _size(count: int | None) -> str:
    return "?" if count is None else f"{count / _GIBI:.1f}"


def _version_table(facts: "Facts") -> "Table":
    table = _table("versions", "distribution", "installed")
    for name, version in facts.versions.items():
        _add(table, name, version or "not installed")
    return table


def _plugin_table(facts: "Facts") -> "Table":
    table = _table(f"plugins and named models{', imported' if facts.checked else ''}", "kind", "name", "of", "status")
    for kind, rows in (("backend", facts.backends), ("extension", facts.extensions)):
        for row in rows:
            _add(table, kind, row.name, f"{row.distribution} {row.version}", row.status)
    for model in facts.models:
        _add(table, "model", model.name, model.distribution, model.status)
    return table


def _environment_table(facts: "Facts") -> "Table":
    table = _table("environment", "variable", "value")
    for name, value in facts.environment.items():
        if value is not None:
            _add(table, name, value)
    return table


def _problem_table(problems: "tuple[Problem, ...]") -> "Table":
    table = _table("to mend", "severity", "what", "cure")
    for problem in problems:
        _add(table, problem.severity, problem.message, problem.cure, style=_COLOURS[problem.severity])
    return table
