"""Opens a tracker by the name that the user types, with settings behind a colon where it takes any.

Reads entry-point group `stvg.trackers`; imports the chosen one and no other.
"""

import difflib
from typing import Final

from stvg_core.errors import UsageError
from stvg_core.host.entry_points import extension_names, open_extension
from stvg_core.plugin.tracker import Tracker

GROUP: Final = "stvg.trackers"
_FILE: Final = "file:"
_BUILT_IN: Final = ("attention", "file:PATH", "regions")


def tracker_names() -> tuple[str, ...]:
    """Return every name that `open_tracker` takes, sorted; imports none of them."""
    return extension_names(GROUP, _BUILT_IN)


def read_settings(text: str) -> dict[str, str]:
    """Return settings as the user types them behind a tracker's name.

    Raises:
        UsageError: a part is not `name=value`, or a name comes twice.

    >>> read_settings("classes=dog+cat,box_threshold=0.3")
    {'classes': 'dog+cat', 'box_threshold': '0.3'}
    """
    settings: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not equals or not name.strip() or name.strip() in settings:
            raise UsageError(f"expected a tracker's settings as NAME:setting=value,setting=value, got {part!r}")
        settings[name.strip()] = value.strip()
    return settings


def open_tracker(name: str) -> Tracker:
    """Return the tracker of this name.

    Args:
        name: "attention", "regions", "file:PATH", or a name that a plugin registers; "NAME:setting=value" sets
            one that has a method `configure(settings: Mapping[str, str]) -> Tracker`.

    Raises:
        UsageError: the name or a setting is unknown.
        TrackError: the file is not there.
        PluginError: a plugin cannot be imported, is no tracker, or two claim the name.

    >>> open_tracker("attention").name
    'attention'
    """
    if name.startswith(_FILE):
        from stvg_core.inputs.tracks.from_file import FileTracker

        return FileTracker(name.removeprefix(_FILE))
    base, _, text = name.partition(":")
    tracker = _open_by_name(base)
    settings = read_settings(text)
    if not settings:
        return tracker
    configure = getattr(tracker, "configure", None)
    if not callable(configure):
        raise UsageError(f"tracker {base} takes no settings, got {text!r}; leave out what follows the colon")
    configured: object = configure(settings)
    if not isinstance(configured, Tracker):
        raise UsageError(f"expected a tracker of {base} with settings, got {type(configured).__name__}")
    return configured


def check_settings(tracker: str, settings: dict[str, str], known: tuple[str, ...]) -> None:
    """Find out whether a tracker has all settings; for a `configure` method.

    Raises:
        UsageError: one is unknown, with the nearest known one.

    >>> check_settings("mine", {"size": "1"}, ("size",))
    """
    for name in settings:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {nearest[0]}?" if nearest else ""
            raise UsageError(f"expected a setting of tracker {tracker} ({', '.join(known)}), got {name!r}{hint}")


def _open_by_name(name: str) -> Tracker:
    if name == "attention":
        from stvg_core.inputs.tracks.from_attention import AttentionTracker

        return AttentionTracker()
    if name == "regions":
        from stvg_core.inputs.tracks.regions import RegionTracker

        return RegionTracker()
    # mypy takes a Protocol for abstract here; isinstance does not.
    return open_extension(GROUP, "tracker", Tracker, name, tracker_names())  # type: ignore[type-abstract]
