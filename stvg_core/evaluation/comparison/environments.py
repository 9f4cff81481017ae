"""Virtual environments for rows whose requirements conflict: made once, kept in the user's cache, used by key.

An environment counts when its last file is there, so that one whose making was broken off is never used; a lock keeps
two processes from making one at once.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

from filelock import FileLock

from stvg_core._internal.plain_text import one_line
from stvg_core._internal.user_cache import cache_folder
from stvg_core.errors import EnvironmentMakingError, OutputError

FOLDER_VARIABLE: Final = "STVG_ENVIRONMENTS"
"""Environment variable that names the folder; without it a folder in the user's cache is taken."""

_DONE: Final = "stvg-environment.json"
_LONGEST_REASON: Final = 500
_LAST_LINES: Final = 3
_PIP_INSTALL: Final = ("install", "--no-input", "--disable-pip-version-check", "-r")
_SOURCES: Final = ("INDEX_URL", "EXTRA_INDEX_URL", "FIND_LINKS", "NO_INDEX", "CONSTRAINT", "PRE", "CONFIG_FILE")
"""Variables of pip (PIP_...) and uv (UV_...) that say where distributions come from."""


@dataclass(frozen=True)
class RowEnvironment:
    """A virtual environment that is ready.

    Attributes:
        python: its interpreter.
        requirements: what it was made from.
    """

    python: str
    requirements: tuple[str, ...]


def default_folder() -> Path:
    """Return the folder of environments where none is named."""
    return cache_folder("environments", FOLDER_VARIABLE)


def open_environment(
    requirements: Sequence[str], folder: Path | None = None, on_make: Callable[[Path], None] | None = None
) -> RowEnvironment:
    """Return the environment of these requirements; it is made where there is none yet.

    Args:
        requirements: lines of a requirements file, as `row_requirements` gives them.
        folder: where environments are kept; None: the user's cache.
        on_make: told the environment's folder before it is made, which may take minutes.

    Raises:
        EnvironmentMakingError: it cannot be made; the message has what the installer said.
        OutputError: the folder cannot be written to.
    """
    folder = default_folder() if folder is None else folder
    home = folder.absolute() / environment_key(requirements)
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(home.with_suffix(".lock")):
            if not ((home / _DONE).is_file() and python.is_file()):
                if on_make is not None:
                    on_make(home)
                shutil.rmtree(home, ignore_errors=True)
                _make(home, python, requirements)
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(
            f"cannot make an environment in {folder}: {reason}; name another folder in {FOLDER_VARIABLE}"
        ) from error
    return RowEnvironment(str(python), tuple(requirements))


def environment_key(requirements: Sequence[str]) -> str:
    """Return the name of an environment: what was asked for, by which Python, and from which sources.

    Of a folder its pyproject.toml counts, of an archive size and time of change. What an index has published since
    does not: an environment stays as it was made.
    """
    asked = {
        "python": [sys.version, sysconfig.get_platform(), sys.base_prefix],
        "requirements": list(requirements),
        "local": {line: _stamp(line) for line in requirements if "file:" in line},
        "sources": {f"{tool}_{name}": os.environ.get(f"{tool}_{name}") for tool in ("PIP", "UV") for name in _SOURCES},
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:24]


def _stamp(line: str) -> str:
    url = urlsplit(line[line.index("file:") :])
    path = Path(url2pathname(url.path))
    try:
        if path.is_dir():
            return hashlib.sha256((path / "pyproject.toml").read_bytes()).hexdigest()
        status = path.stat()
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"


def _make(home: Path, python: Path, requirements: Sequence[str]) -> None:
    """Make an environment; of one that fails nothing stays but its log."""
    log, wanted = home.with_suffix(".log"), home / "requirements.txt"
    installers = _installers(python, wanted)
    # Where something outside installs into it, an environment needs no pip of its own, which takes seconds to set up.
    pip = ["--without-pip"] if installers else []
    try:
        _call([sys.executable, "-m", "venv", *pip, str(home)], log)
        wanted.write_text("".join(f"{line}\n" for line in requirements), encoding="utf-8")
        _install(installers or [_Installer([str(python), "-m", "pip", *_PIP_INSTALL, str(wanted)])], log)
        draft = home / f"{_DONE}.draft"
        draft.write_text(json.dumps({"requirements": list(requirements)}, indent=1) + "\n", encoding="utf-8")
        draft.replace(home / _DONE)
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise


@dataclass(frozen=True)
class _Installer:
    command: list[str]
    variables: Mapping[str, str] = field(default_factory=dict)


def _installers(python: Path, wanted: Path) -> list[_Installer]:
    """Return what can install into an environment from outside, the fastest first."""
    found = []
    uv = shutil.which("uv")
    if uv is not None:
        command = [uv, "pip", "install", "--python", str(python), *_pip_sources_for_uv(), "-r", str(wanted)]
        found.append(_Installer(command, _indexes_for_uv()))
    if find_spec("pip") is not None:
        found.append(_Installer([sys.executable, "-m", "pip", "--python", str(python), *_PIP_INSTALL, str(wanted)]))
    return found


def _install(installers: Sequence[_Installer], log: Path) -> None:
    """Install with the first of them that can: pip reads configuration files that uv does not."""
    for installer in installers[:-1]:
        try:
            _call(installer.command, log, installer.variables)
        except EnvironmentMakingError:
            continue
        return
    _call(installers[-1].command, log, installers[-1].variables)


def _pip_sources_for_uv() -> list[str]:
    """Return what pip's variables say as options of uv, which does not read them."""
    options = ["--no-index"] if os.environ.get("PIP_NO_INDEX", "").lower() in {"1", "true", "yes", "on"} else []
    for variable, option in (("PIP_FIND_LINKS", "--find-links"), ("PIP_CONSTRAINT", "--constraint")):
        for place in os.environ.get(variable, "").split():
            options += [option, place]
    return options


def _indexes_for_uv() -> dict[str, str]:
    """Return addresses of indexes as variables of uv: they may hold passwords, which no command line should show."""
    names = ("INDEX_URL", "EXTRA_INDEX_URL")
    return {
        f"UV_{name}": os.environ[f"PIP_{name}"]
        for name in names
        if f"PIP_{name}" in os.environ and f"UV_{name}" not in os.environ
    }


def _call(command: list[str], log: Path, variables: Mapping[str, str] | None = None) -> None:
    with log.open("w", encoding="utf-8") as output:
        ended = subprocess.run(  # noqa: S603  # our own interpreter and installer; what is installed the user asked for
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**isolated_variables(), **(variables or {})},
            check=False,
        )
    if ended.returncode:
        told = _told(log.read_text(encoding="utf-8", errors="replace"))
        title = "uv" if Path(command[0]).stem == "uv" else command[2]
        raise EnvironmentMakingError(
            f"expected {title} to make an environment, it failed: {told}; all it said is in {log}"
        )


def isolated_variables() -> dict[str, str]:
    """Return this process's variables without those that lead Python to modules outside of an environment."""
    return {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}


def _told(output: str) -> str:
    """Return what of an installer's output says why it failed."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    # pip's first complaint names the packages, later ones what to read about it.
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return one_line(errors[0] if errors else " ".join(lines[-_LAST_LINES:]), _LONGEST_REASON) or "it said nothing"
