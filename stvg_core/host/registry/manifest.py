"""How a backend introduces itself: a static manifest, read without running any code of it.

An installed backend ships `stvg-backend.toml` inside its package; a backend in a single file
holds the same facts as a literal, `STVG_BACKEND = {...}` (stvg_core.host.registry.file_plugins).
"""

import importlib.util
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from stvg_core._internal.plain_text import one_line
from stvg_core._internal.presets import PRESETS

MANIFEST_FILE = "stvg-backend.toml"
_MANIFEST_BYTES = 64 * 1024
_LONGEST_REASON = 200
_LONGEST_TEXT = 128
_LONGEST_LIST = 64
_LARGEST_NUMBER = 2**53
_LONGEST_VALUE = 4096
_MOST_SETTINGS = 128
_DEEPEST_SETTING = 4
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SETTING_PART = re.compile(r"[a-z][a-z0-9_]{0,63}")
_ARCHITECTURE = re.compile(r"[A-Za-z0-9_.-]{1,128}")

_Manifest = TypeVar("_Manifest", bound="BackendManifest")


def _check_name(value: object) -> None:
    _check_text(value, _NAME)


def _check_display_name(value: object) -> None:
    check_texts((value,))


def _check_version(value: object) -> None:
    # A bool is an int to Python, and no version.
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"expected a whole number of at least 1, got {_shown(value)}")


def _check_architectures(value: object) -> None:
    check_texts(value)
    if not value:
        raise ValueError("expected at least one, got none")
    for architecture in value if isinstance(value, tuple) else ():
        _check_text(architecture, _ARCHITECTURE)


def _check_presets(value: object) -> None:
    read_presets(value)


def _check_family_options(value: object) -> None:
    read_family_options(value)


def checked_by(check: Callable[[object], None], **options: Any) -> Any:  # noqa: ANN401  # as dataclasses.field
    """Return a field of a manifest, with what raises a ValueError where a value is not possible."""
    return field(metadata={"check": check}, **options)


# No pydantic here: importing it would take half of what `stvg plugins` may.
@dataclass(frozen=True, kw_only=True)
class BackendManifest:
    """The static facts by which a backend introduces itself; made by `check_manifest`.

    Attributes:
        name: the entry point's name.
        display_name: which models it handles, in words.
        hook_api: version of hooks and adapter that it was written for.
        architectures: as in the `architectures` of config.json.
        presets: what its family has differently in presets, as it stands in the manifest; see `read_presets`.
        family_options: options of `input.family`, as they stand in the manifest; see `read_family_options`.
    """

    name: str = checked_by(_check_name)
    display_name: str = checked_by(_check_display_name)
    hook_api: int = checked_by(_check_version)
    architectures: tuple[str, ...] = checked_by(_check_architectures)
    presets: Mapping[str, Mapping[str, Any]] = checked_by(_check_presets, default_factory=dict, hash=False)
    family_options: Mapping[str, Any] = checked_by(_check_family_options, default_factory=dict, hash=False)


def read_presets(value: object) -> dict[str, dict[str, Any]]:
    """Return a manifest's presets: for each, dotted names of settings and their values.

    Names may be dotted, nested, or both. Whether there is a setting of a name, and whether it can have that value, is
    told where the preset is used (`stvg_core.settings.load_settings`).

    Raises:
        ValueError: there is no preset of a name, or what is under one are no names and values.

    >>> read_presets({"released": {"augment": {"enabled": False}, "joint.span_share": 0.6}})
    {'released': {'augment.enabled': False, 'joint.span_share': 0.6}}
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"expected presets and their settings, got {_shown(value)}")  # noqa: TRY004  # as above
    found: dict[str, dict[str, Any]] = {}
    for preset, settings in value.items():
        if preset not in PRESETS:
            raise ValueError(f"{_shown(preset)}: expected a preset ({', '.join(PRESETS)})")
        try:
            found[preset] = _dotted(settings, ())
        except ValueError as error:
            raise ValueError(f"{preset}: {error}") from error
        if len(found[preset]) > _MOST_SETTINGS:
            raise ValueError(f"{preset}: expected at most {_MOST_SETTINGS} settings, got {len(found[preset])}")
    return found


def read_family_options(value: object) -> dict[str, Any]:
    """Return a manifest's options of `input.family`: each one's default, or its choices with the default first.

    Raises:
        ValueError: a name or a value is not possible.

    >>> read_family_options({"pooling_stride": 4, "pooling_order": ["before_projector", "after_projector"]})
    {'pooling_stride': 4, 'pooling_order': ('before_projector', 'after_projector')}
    """
    if not isinstance(value, Mapping) or len(value) > _MOST_SETTINGS:
        raise ValueError(f"expected at most {_MOST_SETTINGS} options and their defaults, got {_shown(value)}")
    options: dict[str, Any] = {}
    for name, default in value.items():
        _check_text(name, _SETTING_PART)
        choices = default if isinstance(default, list | tuple) else (default,)
        if not 1 <= len(choices) <= _LONGEST_LIST:
            raise ValueError(f"{name}: expected 1 to {_LONGEST_LIST} choices, got {len(choices)}")
        for choice in choices:
            _check_value(name, choice)
        options[name] = tuple(default) if isinstance(default, list | tuple) else default
    return options


def _dotted(settings: object, parents: tuple[str, ...]) -> dict[str, Any]:
    """Return nested settings under dotted names."""
    if not isinstance(settings, Mapping):
        raise ValueError(f"expected settings and their values, got {_shown(settings)}")  # noqa: TRY004  # as above
    found: dict[str, Any] = {}
    for key, value in settings.items():
        parts = (*parents, *(key.split(".") if isinstance(key, str) else (key,)))
        for part in parts:
            _check_text(part, _SETTING_PART)
        name = ".".join(parts)
        if len(parts) > _DEEPEST_SETTING:
            raise ValueError(f"{_shown(name)}: expected at most {_DEEPEST_SETTING} parts, got {len(parts)}")
        if not isinstance(value, Mapping):
            _check_value(name, value)
        own = _dotted(value, parts) if isinstance(value, Mapping) else {name: value}
        twice = [known for known in own if known in found]
        if twice:
            raise ValueError(f"{_shown(twice[0])}: expected one value, got two")
        found |= own
    return found


def _check_value(name: str, value: object) -> None:
    if (
        value is None
        or isinstance(value, bool | float)
        or (isinstance(value, int) and abs(value) <= _LARGEST_NUMBER)
        or (isinstance(value, str) and len(value) <= _LONGEST_VALUE)
    ):
        return
    raise ValueError(f"{_shown(name)}: expected a number, a truth value or text, got {_shown(value)}")


def find_package(package: str) -> tuple[Path, ...]:
    """Return the folders of a top-level package; runs no code of it.

    Raises:
        FileNotFoundError: no such package is on Python's path.
    """
    # find_spec of a top-level package reads no code of it, so a broken plugin stays asleep.
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"package {package} is not importable")
    return tuple(Path(location) for location in spec.submodule_search_locations)


def read_manifest(locations: tuple[Path, ...]) -> tuple[BackendManifest, Path]:
    """Return a package's manifest and the folder that holds it.

    Raises:
        OSError: there is none, or it cannot be read.
        ValueError: it is malformed, too large, or leads out of the package.
    """
    for location in locations:
        path = location / MANIFEST_FILE
        if not path.is_file():
            continue
        if path.resolve().parent not in {location.resolve(), (location / "__init__.py").resolve().parent}:
            raise ValueError(f"{path} is a link that leads out of its package, to {path.resolve()}")
        if path.stat().st_size > _MANIFEST_BYTES:
            raise ValueError(f"{path} is larger than {_MANIFEST_BYTES} bytes")
        try:
            text = path.read_text(encoding="utf-8")
            return check_manifest(BackendManifest, tomllib.loads(text)), location
        except RecursionError as error:
            raise ValueError(f"{path} is nested too deeply") from error
        except ValueError as error:
            raise ValueError(f"{path}: {one_line(str(error), _LONGEST_REASON)}") from error
    raise FileNotFoundError(f"package {locations[0].name if locations else ''} holds no {MANIFEST_FILE}")


def check_manifest(kind: type[_Manifest], data: object) -> _Manifest:
    """Return foreign data as a manifest.

    Raises:
        ValueError: it is none; the message names the first field that is wrong.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"expected names and values, got {_shown(data)}")  # noqa: TRY004  # all that ails it is one kind
    known = {each.name: each for each in fields(kind)}
    unknown = [name for name in data if name not in known]
    if unknown:
        raise ValueError(f"{_shown(unknown[0])}: expected one of {', '.join(known)}")
    values: dict[str, Any] = {}
    for name, each in known.items():
        if name not in data:
            if each.default is MISSING and each.default_factory is MISSING:
                raise ValueError(f"{name}: expected a value, got none")
            continue
        value = data[name]
        values[name] = tuple(value) if isinstance(value, list) else value
        try:
            each.metadata["check"](values[name])
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    return kind(**values)


def check_texts(value: object) -> None:
    """Check a list of texts.

    Raises:
        ValueError: it is none, or one of its texts is none or too long.
    """
    if not isinstance(value, tuple) or len(value) > _LONGEST_LIST:
        raise ValueError(f"expected a list of at most {_LONGEST_LIST}, got {_shown(value)}")
    for text in value:
        if not isinstance(text, str) or not 1 <= len(text) <= _LONGEST_TEXT:
            raise ValueError(f"expected text of 1 to {_LONGEST_TEXT} characters, got {_shown(text)}")


def _check_text(text: object, pattern: re.Pattern[str]) -> None:
    if not isinstance(text, str) or not pattern.fullmatch(text):
        raise ValueError(f"expected text of the form {pattern.pattern}, got {_shown(text)}")


def _shown(value: object) -> str:
    # Python refuses to write out numbers of thousands of digits.
    if isinstance(value, int) and abs(value) > _LARGEST_NUMBER:
        return f"a number of {value.bit_length()} bits"
    return one_line(repr(value)[: 4 * _LONGEST_TEXT], _LONGEST_TEXT)
