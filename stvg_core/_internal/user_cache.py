"""Where things that can be made again are kept for the user."""

import os
import sys
from pathlib import Path


def cache_folder(kind: str, variable: str) -> Path:
    """Return the folder that an environment variable names, else the one of this kind in the user's cache.

    Args:
        kind: name of the folder, such as "tracks".
        variable: name of the environment variable.
    """
    named = os.environ.get(variable)
    if named:
        return Path(named)
    if sys.platform == "win32":
        home = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    else:
        home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "stvg" / kind
