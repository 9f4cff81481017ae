"""What is told of a backend before it runs, and whether what runs is that."""

import importlib.resources
import json
import subprocess
import sys
import tomllib
from typing import Any, Final

from stvg_core.devtools.testing.check import Findings, NotApplicable, check
from stvg_core.devtools.testing.context import QUESTIONS, ConformanceContext
from stvg_core.errors import SettingsError, StvgError
from stvg_core.host.model_settings import family_presets
from stvg_core.plugin.adapter import AttentionRequest, MLLMAdapter
from stvg_core.plugin.model_reference import HOOK_API
from stvg_core.settings import load_settings

_LISTING: Final = """
import json, sys
from stvg_core.host.registry import find_backends
rows = [[found.name, found.distribution, found.status, found.reason, found.fix] for found in find_backends()]
print(json.dumps({"rows": rows, "imported": sorted({name.split(".")[0] for name in sys.modules})}))
"""
_LONGEST_SECONDS: Final = 120


@check(
    "discovery",
    "the backend is listed as healthy without importing it, or torch",
    needs_session=False,
)
def discovery(context: ConformanceContext, findings: Findings) -> None:
    """List the backends in a fresh interpreter, and look at what that imported."""
    told = run_fresh(_LISTING, {})
    mine = [row for row in told["rows"] if row[:2] == [context.found.name, context.found.distribution]]
    findings.expect(
        bool(mine),
        f"a fresh interpreter does not find {context.found.name!r} of {context.found.distribution}: the entry point in "
        "group stvg.backends is missing from the installed distribution (pip install again after changing pyproject)",
    )
    for _, _, status, reason, fix in mine:
        findings.expect(status == "ok", f"it is listed as {status}: {reason}; {fix}")
    heavy = sorted({"torch", "transformers", context.found.entry_point.module.split(".")[0]} & set(told["imported"]))
    findings.expect(not heavy, f"listing backends imports {', '.join(heavy)}: leave that to the entry point's module")


@check(
    "manifest",
    "stvg-backend.toml says what runs: its name, its hook API, the checkpoint's architecture, settings that there are",
    needs_session=False,
)
def manifest(context: ConformanceContext, findings: Findings) -> None:
    """Compare the static manifest with the entry point and the checkpoint."""
    if context.found.is_file:
        raise NotApplicable("a backend in a single file has no manifest file")
    package = context.found.entry_point.module.split(".")[0]
    file = importlib.resources.files(package).joinpath("stvg-backend.toml")
    if not file.is_file():
        findings.expect(False, f"package {package} holds no stvg-backend.toml; ship it inside the package")
        return
    told = tomllib.loads(file.read_text(encoding="utf-8"))
    for preset in context.found.presets:
        try:
            load_settings(preset, family=family_presets(context.found))
        except SettingsError as error:
            findings.expect(False, str(error))
    findings.expect(
        told.get("name") == context.found.entry_point.name,
        f"the manifest's name is {told.get('name')!r}, the entry point's {context.found.entry_point.name!r}",
    )
    findings.expect(
        told.get("hook_api") == HOOK_API, f"the manifest's hook_api is {told.get('hook_api')}, this core has {HOOK_API}"
    )
    config = context.checkpoint / "config.json"
    if not config.is_file():
        findings.expect(False, "save_checkpoint wrote no config.json, by which `stvg ground --model` picks the backend")
        return
    architectures = json.loads(config.read_text(encoding="utf-8")).get("architectures") or []
    for name in architectures:
        findings.expect(
            name in told.get("architectures", ()),
            f"the checkpoint is a {name}, the manifest knows {', '.join(told.get('architectures', ()))}",
        )
    findings.expect(bool(architectures), "config.json names no architecture, so no backend can be picked by it")


@check(
    "hooks",
    "all five hooks are there, take what their specification says, and give an adapter",
    needs_session=False,
)
def hooks(context: ConformanceContext, findings: Findings) -> None:
    """Open a session, which checks the hooks, and look at the adapter's members."""
    adapter = context.session.adapter
    members = [name for name in vars(MLLMAdapter) if not name.startswith("_") and not hasattr(adapter, name)]
    findings.expect(not members, f"the adapter lacks {', '.join(members)} of MLLMAdapter (docs/hooks.md)")
    description = adapter.description
    findings.expect(description.layer_count > 0, f"description.layer_count is {description.layer_count}")
    findings.expect(
        description.yes_id != description.no_id, f"description has one id, {description.yes_id}, for yes and for no"
    )


@check("refusals", "what cannot be done is refused with an error of stvg_core.errors, not done wrongly")
def refusals(context: ConformanceContext, findings: Findings) -> None:
    """Ask for a layer, a prompt, an order and a number of questions that do not exist."""
    clip = context.clip()
    layer = context.adapter.description.layer_count
    wide = context.prompt(clip)[:-1]
    asked: dict[str, Any] = {
        f"layer {layer} of {layer}": lambda: context.adapter.attention_rows(
            AttentionRequest(clip.encoded, QUESTIONS[:1], None, (layer,))
        ),
        "a prompt with one row too few": lambda: context.logits(clip, QUESTIONS[:1], wide),
        "no question": lambda: context.logits(clip, []),
        "a frame_order that shows one frame twice": lambda: context.show(clip.frames, order=(0, 0, 1, 2, 3)),
    }
    for what, ask in asked.items():
        try:
            ask()
        except StvgError:
            continue
        except Exception as error:  # noqa: BLE001 - any other error is the finding
            findings.expect(False, f"{what} ends in {type(error).__name__} instead of an error of stvg_core.errors")
        else:
            findings.expect(False, f"{what} is accepted")


def run_fresh(program: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return what a Python program prints as JSON in a fresh interpreter with this one's import path.

    Args:
        program: its source; it reads `given` as JSON from standard input.
        given: what it needs.

    Raises:
        RuntimeError: it failed; with its last line of error.
    """
    head = f"import sys\nsys.path[:] = {sys.path!r}\n"
    done = subprocess.run(  # noqa: S603 - our own interpreter and program
        [sys.executable, "-c", head + program],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=_LONGEST_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise RuntimeError(f"a fresh interpreter failed: {lines[-1]}")
    told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return told
