"""The errors of the recipe."""

from stvg_tiny.errors import TinyError


class RecipeError(TinyError):
    """A training run was started with settings or files that do not fit together."""


class CheckpointError(TinyError):
    """A checkpoint folder is missing or lacks a file."""
