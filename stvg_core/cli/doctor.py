"""`stvg doctor`: the environment on one page, with every problem and its cure."""

import json
from typing import Annotated, Any

import typer

from stvg_core.cli.terminal import one_line, progress, table_lines


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON document and nothing else")] = False,
    check: Annotated[bool, typer.Option("--check", help="import every backend in a child process; slow")] = False,
) -> None:
    """Show the environment, its problems and their cures; exit code 1 where something does not work."""
    from stvg_core.devtools.doctor import examine

    with progress("stvg doctor") as on_stage:
        on_stage("importing libraries")
        document = examine(check=check)
    # JSON in ASCII only: no character of a foreign name can steer a terminal.
    lines = [json.dumps(document)] if as_json else _lines(document)
    for line in lines:
        typer.echo(line)
    if not document["healthy"]:
        raise typer.Exit(1)


def _lines(document: dict[str, Any]) -> list[str]:
    facts = document["facts"]
    machine, torch, video = facts["machine"], facts["torch"], facts["video"]
    rows = [
        ("python", f"{machine['python']}, {machine['executable']}"),
        ("platform", f"{machine['platform']}, {machine['processors']} processors"),
        ("nvidia driver", machine["nvidia_driver"] or "none"),
        ("torch", _torch(torch) if _works(torch) else _why(torch)),
        *((f"cuda:{device['index']}", _device(device)) for device in torch.get("devices", ())),
        ("torchvision", "can be imported" if _works(facts["torchvision"]) else _why(facts["torchvision"])),
        ("video", _codecs(video) if _works(video) else _why(video)),
        *((folder["purpose"], _folder(folder)) for folder in facts["folders"]),
        *((name, version or "not installed") for name, version in facts["versions"].items()),
        *((f"backend {each['name']}", f"{each['distribution']}, {each['status']}") for each in facts["backends"]),
        *facts["environment"].items(),
    ]
    lines = [*table_lines(rows), ""]
    for problem in document["problems"]:
        lines.append(one_line(f"{problem['severity']}: {problem['message']}"))
        lines.append(f"  cure: {one_line(problem['cure'])}")
    return lines if document["problems"] else [*lines, "no problems"]


def _works(library: dict[str, Any]) -> bool:
    return bool(library["status"] == "ok")


def _why(library: dict[str, Any]) -> str:
    return "not installed" if library["status"] == "missing" else f"{library['status']}: {library['reason']}"


def _torch(torch: dict[str, Any]) -> str:
    return f"CUDA {torch['cuda_build'] or 'none'}, {torch['threads']} threads"


def _device(device: dict[str, Any]) -> str:
    free, total = (device[name] / 2**30 for name in ("memory_free_bytes", "memory_total_bytes"))
    kind = f"compute capability {device['compute_capability']}, bfloat16 {'yes' if device['bfloat16'] else 'no'}"
    return f"{device['name']}, {free:.1f} of {total:.1f} GiB free, {kind}"


def _codecs(video: dict[str, Any]) -> str:
    readable = ", ".join(kind for kind, works in video["decoders"].items() if works)
    return f"decodes {readable}; encodes with {video['encoder'] or 'nothing'}"


def _folder(folder: dict[str, Any]) -> str:
    free = "unknown" if folder["free_bytes"] is None else f"{folder['free_bytes'] / 1e9:.1f} GB"
    return f"{folder['path']}, {'' if folder['writable'] else 'not writable, '}{free} free"
