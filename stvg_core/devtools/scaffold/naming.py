"""What a new backend is called, and whether something installed is called that already."""

import importlib.metadata
import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass

from stvg_core._internal.plain_text import one_line
from stvg_core.errors import UsageError
from stvg_core.host.known_models import PUBLISHED_BACKENDS
from stvg_core.host.registry import FoundBackend

_PREFIX = "stvg-"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST_NAME = 30
_ARCHITECTURE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_SHOWN_CHARACTERS = 80
_OURS = frozenset({"stvg-core", "stvg-huggingface", "stvg-tiny", "stvg-sam", "stvg-ray", *PUBLISHED_BACKENDS.values()})


@dataclass(frozen=True)
class BackendNames:
    """Every name that a new backend has, made of the one that the user gave.

    Attributes:
        name: of the backend and its entry points; normalized as package indexes do (PEP 503).
        architecture: as in `architectures` of config.json; None: the family's example.

    Raises:
        UsageError: the name or the architecture is not possible; the message says what would be.

    >>> names = BackendNames("my-model")
    >>> names.distribution, names.package, names.class_name
    ('stvg-my-model', 'stvg_my_model', 'MyModel')
    """

    name: str
    architecture: str | None = None

    def __post_init__(self) -> None:
        """Check both names."""
        if not _NAME.fullmatch(self.name) or len(self.name) > _LONGEST_NAME or self.name.startswith(_PREFIX):
            near = _nearest(self.name)
            raise UsageError(
                f"expected a name of at most {_LONGEST_NAME} lower-case letters, digits and single hyphens that begins "
                f"with a letter, without {_PREFIX!r}, got {_shown(self.name)}; use {near or 'one such as my-model'}"
            )
        if self.architecture is not None and not _ARCHITECTURE.fullmatch(self.architecture):
            raise UsageError(
                "expected an architecture such as LlavaForConditionalGeneration (a class name, as in architectures of "
                f"config.json), got {_shown(self.architecture)}; copy it from the checkpoint's config.json"
            )

    @property
    def distribution(self) -> str:
        """What is installed with pip."""
        return f"{_PREFIX}{self.name}"

    @property
    def package(self) -> str:
        """What is imported."""
        return self.distribution.replace("-", "_")

    @property
    def class_name(self) -> str:
        """What the classes' names begin with."""
        return "".join(part.capitalize() for part in self.name.split("-"))


def check_names(names: BackendNames, backends: Sequence[FoundBackend]) -> tuple[str, ...]:
    """Refuse names that are taken, and return what is worth knowing of the rest, a sentence each.

    Args:
        names: of the new backend.
        backends: what is installed, as the registry tells it.

    Raises:
        UsageError: an installed backend, distribution or package has the name, or it is one of ours.
    """
    for found in backends:
        if found.name == names.name:
            raise UsageError(
                f"backend {names.name!r} is installed already (by {found.distribution}); choose another name, or "
                f"pip uninstall {found.distribution}"
            )
    if names.distribution in _OURS:
        raise UsageError(f"{names.distribution} is a distribution of this project; choose another name")
    try:
        importlib.metadata.distribution(names.distribution)
    except importlib.metadata.PackageNotFoundError:
        pass
    else:
        raise UsageError(
            f"distribution {names.distribution} is installed already; choose another name, or pip uninstall "
            f"{names.distribution}"
        )
    # The spec of a top-level package is found without running it.
    if importlib.util.find_spec(names.package) is not None:
        raise UsageError(f"a package {names.package} is importable already; choose another name")
    owners = [found.name for found in backends if names.architecture in found.architectures]
    return tuple(
        f"{names.architecture} is read by the installed backend {owner!r} as well: while both are installed, "
        f"stvg ground needs --backend {names.name}"
        for owner in owners
    )


def _nearest(name: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-").removeprefix(_PREFIX).lstrip("0123456789-")
    near = words[:_LONGEST_NAME].strip("-")
    return near if _NAME.fullmatch(near) and near != name else ""


def _shown(text: str) -> str:
    return repr(one_line(text, _SHOWN_CHARACTERS))
