"""The errors of this distribution."""

from stvg_core.errors import StvgError


class TinyError(StvgError):
    """Base of every error raised here on purpose."""


class SceneError(TinyError):
    """A scene, or a question about one, was asked for that cannot exist."""


class RecipeError(TinyError):
    """A training run was started with settings or files that do not fit together."""


class CheckpointError(TinyError):
    """A checkpoint folder is missing or lacks a file."""
