"""Everything that the author of a backend, tracker, decomposer or extension imports.

>>> from stvg_core.plugin import Backend, MLLMAdapter, hookimpl

Imports settings, values and errors alone. Names are imported on first use, so that importing this
package needs no torch.
"""

from typing import TYPE_CHECKING

from stvg_core._internal.lazy_names import lazy_names

if TYPE_CHECKING:
    from stvg_core._internal.masks import RunLengthMask
    from stvg_core.errors import (
        DeviceMemoryError,
        ModelError,
        NoTracksError,
        PluginError,
        QueryError,
        SettingsError,
        StvgError,
        TokenLayoutError,
        TrackError,
        UsageError,
    )
    from stvg_core.plugin.adapter import (
        AnswerLogits,
        AttentionRequest,
        EncodedClip,
        MLLMAdapter,
        ModelDescription,
        PromptToken,
        QuestionAttention,
        TokenDecoder,
    )
    from stvg_core.plugin.backend import Backend
    from stvg_core.plugin.decomposer import Decomposer, GenerateText
    from stvg_core.plugin.hookspecs import hookimpl
    from stvg_core.plugin.model_reference import HOOK_API, LoadOptions, ModelReference
    from stvg_core.plugin.reference import (
        candidate_tokens,
        margin_loss,
        reverse_by_encoding,
        reverse_by_flipping,
        select_tokens,
    )
    from stvg_core.plugin.tracker import Tracker, TrackRequest, check_settings
    from stvg_core.settings import InputSettings, PromptSettings, TokenSettings
    from stvg_core.values import FrameMaps, Frames, SubQueries, TokenLayout, Track, VideoInfo

__all__ = [
    "HOOK_API",
    "AnswerLogits",
    "AttentionRequest",
    "Backend",
    "Decomposer",
    "DeviceMemoryError",
    "EncodedClip",
    "FrameMaps",
    "Frames",
    "GenerateText",
    "InputSettings",
    "LoadOptions",
    "MLLMAdapter",
    "ModelDescription",
    "ModelError",
    "ModelReference",
    "NoTracksError",
    "PluginError",
    "PromptSettings",
    "PromptToken",
    "QueryError",
    "QuestionAttention",
    "RunLengthMask",
    "SettingsError",
    "StvgError",
    "SubQueries",
    "TokenDecoder",
    "TokenLayout",
    "TokenLayoutError",
    "TokenSettings",
    "Track",
    "TrackError",
    "TrackRequest",
    "Tracker",
    "UsageError",
    "VideoInfo",
    "candidate_tokens",
    "check_settings",
    "hookimpl",
    "margin_loss",
    "reverse_by_encoding",
    "reverse_by_flipping",
    "select_tokens",
]

_MODULES = {
    "stvg_core._internal.masks": "RunLengthMask",
    "stvg_core.errors": "DeviceMemoryError ModelError NoTracksError PluginError QueryError SettingsError StvgError "
    "TokenLayoutError TrackError UsageError",
    "stvg_core.plugin.adapter": "AnswerLogits AttentionRequest EncodedClip MLLMAdapter ModelDescription PromptToken "
    "QuestionAttention TokenDecoder",
    "stvg_core.plugin.backend": "Backend",
    "stvg_core.plugin.decomposer": "Decomposer GenerateText",
    "stvg_core.plugin.hookspecs": "hookimpl",
    "stvg_core.plugin.model_reference": "HOOK_API LoadOptions ModelReference",
    "stvg_core.plugin.reference": "candidate_tokens margin_loss reverse_by_encoding reverse_by_flipping select_tokens",
    "stvg_core.plugin.tracker": "TrackRequest Tracker check_settings",
    "stvg_core.settings": "InputSettings PromptSettings TokenSettings",
    "stvg_core.values": "FrameMaps Frames SubQueries TokenLayout Track VideoInfo",
}

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
