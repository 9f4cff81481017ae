"""Every error that a user of the framework may meet.

A message says what was expected, what came, and the cure. The command line prints it
as one line; a programming error is never one of these and keeps its traceback.
"""


class StvgError(Exception):
    """Base of all errors that the framework raises on purpose."""


class UsageError(StvgError):
    """A command or function was called with arguments that do not go together."""


class SettingsError(StvgError):
    """A setting or preset is unknown or out of range."""


class VideoError(StvgError):
    """A video is missing, unreadable, or holds no picture."""


class QueryError(StvgError):
    """A query is empty, or its decomposition cannot be read."""


class TrackError(StvgError):
    """An object track is malformed, or a tracker found nothing to score."""


class NoTracksError(TrackError):
    """A tracker worked and found no object; the method falls back to the tracker `attention`."""


class TokenLayoutError(StvgError):
    """Visual tokens do not match the grid that the backend declares."""


class TubeError(StvgError):
    """A tube's frames, times and boxes contradict each other."""


class PluginError(StvgError):
    """A plugin is missing, incompatible, incomplete, or failed while loading."""


class ModelError(StvgError):
    """A checkpoint is missing, unreadable, or of an unknown architecture."""


class DeviceMemoryError(StvgError):
    """A device has too little memory for what was asked; smaller requests still work."""


class OutputError(StvgError):
    """A result cannot be written."""


class DatasetError(StvgError):
    """A data set is not where it was looked for, or some of its samples cannot be used."""


class ScoreError(StvgError):
    """Predictions or annotations cannot be read or scored, in whole or for one sample."""


class RunError(StvgError):
    """A benchmark run cannot start, go on or be read; what was recorded stays."""
