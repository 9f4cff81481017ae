"""The errors of this distribution."""

from stvg_core.errors import StvgError


class TinyError(StvgError):
    """Base of every error raised here on purpose."""


class SceneError(TinyError):
    """A scene, or a question about one, was asked for that cannot exist."""
