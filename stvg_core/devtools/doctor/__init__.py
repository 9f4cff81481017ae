"""What is installed and what it runs on, and everything in it that needs mending: `stvg doctor`.

Facts are looked at first, each on its own, so that one that fails hides no other; rules over
them are pure functions. Nothing is imported in this process that could harm it, torch least of
all, and nothing is sent anywhere.
"""

import os
from pathlib import Path

from stvg_core.devtools.doctor.document import DoctorDocument, Facts, Problem
from stvg_core.devtools.doctor.installed import (
    look_at_backends,
    look_at_extensions,
    look_at_models,
    look_at_requirements,
    look_at_versions,
)
from stvg_core.devtools.doctor.libraries import look_at_libraries
from stvg_core.devtools.doctor.machine import (
    hub_cache,
    look_at_environment,
    look_at_folder,
    look_at_hub,
    look_at_machine,
)
from stvg_core.devtools.doctor.problems import find_problems
from stvg_core.host.registry.metadata import find_installed

__all__ = ["DoctorDocument", "Facts", "Problem", "examine", "look_around"]


def examine(*, check: bool = False) -> DoctorDocument:
    """Return what is installed here, and what needs mending.

    Args:
        check: import every backend in a process of its own; slow.
    """
    facts = look_around(check=check)
    problems = find_problems(facts)
    healthy = all(problem.severity != "error" for problem in problems)
    return DoctorDocument(healthy=healthy, problems=problems, facts=facts)


def look_around(*, check: bool = False) -> Facts:
    """Return the facts alone.

    Args:
        check: import every backend in a process of its own; slow.
    """
    installed = find_installed()
    libraries = look_at_libraries()
    backends, plugin_warnings = look_at_backends(check)
    return Facts(
        versions=look_at_versions(installed),
        unmet=look_at_requirements(installed),
        machine=look_at_machine(),
        torch=libraries.torch,
        torchvision=libraries.torchvision,
        video=libraries.video,
        folders=(
            look_at_folder("hub cache", hub_cache(os.environ, _home())),
            look_at_folder("current folder", Path.cwd()),
        ),
        hub=look_at_hub(os.environ),
        environment=look_at_environment(os.environ),
        backends=backends,
        extensions=look_at_extensions(),
        models=look_at_models(),
        plugin_warnings=plugin_warnings,
        checked=check,
    )


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        return Path("/")
