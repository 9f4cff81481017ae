"""Files appear in a folder all together or not at all.

They are written into a hidden folder on the same file system and then moved into place;
what stood there before comes back where a move fails. Knows nothing of what the files hold.
"""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stvg_core.errors import OutputError

_CURE = "choose another folder with --out"


@contextmanager
def own_errors(path: Path, cure: str = _CURE) -> Iterator[None]:
    """Turn the system's errors of writing into one that names the file or folder and the cure.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {path}: {str(error.strerror or error).lower()}; {cure}") from error


def check_output_folder(folder: Path) -> None:
    """Find out whether files could be written to a folder, without writing; worth it before long work.

    Raises:
        OutputError: it is a file, lies below a file, or may not be written to.
    """
    if "\0" in str(folder):
        raise OutputError(f"expected a folder name, got {str(folder)!r}; {_CURE}")
    with own_errors(folder):
        existing = folder.resolve()
        # exists() follows links and says False for what cannot be looked at.
        while not existing.exists() and existing != existing.parent:
            existing = existing.parent
        if not existing.is_dir():
            raise OutputError(f"expected a folder at {folder}, but {existing} is a file; {_CURE}")
        if not os.access(existing, os.W_OK | os.X_OK):
            raise OutputError(f"expected a writable folder, but {existing} may not be written to; {_CURE}")


@contextmanager
def staged_files(folder: Path) -> Iterator[Path]:
    """Hand out an empty folder to write to; move its files to `folder` when the block ends without an error.

    Missing parents are made. Other files in an existing folder stay, also those in folders that the block makes one
    of the same name of. When the block or a move fails, everything is as it was before.

    Args:
        folder: where the files shall be; made where it is missing.

    Raises:
        OutputError: the folder is a file, lies below one, or cannot be written to.
    """
    check_output_folder(folder)
    with contextlib.ExitStack() as undo:
        with own_errors(folder):
            target = folder.resolve()
            # Inside an existing folder, which may be a mount point: a rename does not cross file systems.
            home = target if target.exists() else target.parent
            for missing in reversed([path for path in (home, *home.parents) if not path.exists()]):
                missing.mkdir()
                undo.callback(_remove_if_empty, missing)
            stage = home / f".stvg-{secrets.token_hex(8)}"
            stage.mkdir()
            undo.callback(shutil.rmtree, stage, ignore_errors=True)
        yield stage
        with own_errors(folder):
            _move(stage, target)
        # All went well: only the stage itself has to go, and it goes with or without the parents.
        shutil.rmtree(stage, ignore_errors=True)
        undo.pop_all()


def _move(stage: Path, target: Path) -> None:
    """Move the stage's files to the target; one failure takes all moves back."""
    if not target.exists():
        # One rename, so that nobody ever sees half of the files.
        stage.replace(target)
        return
    files = sorted(path.relative_to(stage) for path in stage.rglob("*") if not path.is_dir())
    for name in files:
        if (target / name).is_dir():
            raise OutputError(f"expected a file or nothing at {target / name}, got a folder; {_CURE}")
        for folder in name.parents[:-1]:
            if os.path.lexists(target / folder) and not _is_own_folder(target / folder):
                raise OutputError(f"expected a folder or nothing at {target / folder}, got something else; {_CURE}")
    replaced = stage / f".replaced-{secrets.token_hex(8)}"
    replaced.mkdir()
    with contextlib.ExitStack() as undo:
        for number, name in enumerate(files):
            for folder in reversed(name.parents[:-1]):
                if not (target / folder).exists():
                    (target / folder).mkdir()
                    undo.callback(_remove_if_empty, target / folder)
            if os.path.lexists(target / name):
                (target / name).replace(replaced / str(number))
                undo.callback((replaced / str(number)).replace, target / name)
            else:
                undo.callback(_move_back, target / name, stage / name)
            (stage / name).replace(target / name)
        undo.pop_all()


def _move_back(moved: Path, staged: Path) -> None:
    """Take a file or folder back into the stage, which goes; nothing where it was not moved."""
    with contextlib.suppress(FileNotFoundError):
        moved.replace(staged)


def _is_own_folder(path: Path) -> bool:
    """Return whether a path is a folder and no link, which may lead out of the target."""
    return path.is_dir() and not path.is_symlink()


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
