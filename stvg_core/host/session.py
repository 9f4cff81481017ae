"""One backend, opened: its plugin, a manager of its own, its adapter, and typed hook calls.

One session holds one backend in one fresh manager, because a firstresult hook is answered
by the last plugin registered, whichever model runs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pluggy
from jaxtyping import Float
from torch import Tensor

from stvg_core._internal.out_of_memory import LOADING_CURE, memory_errors
from stvg_core.errors import ModelError, UsageError
from stvg_core.host.extensions import CHECKS, HookExtension, add_checks, open_hook_extensions
from stvg_core.host.hooks import REQUIRED_HOOKS, hook_manager
from stvg_core.host.loading import load_backend
from stvg_core.host.model_settings import family_presets, find_backend
from stvg_core.host.models import ResolvedModel, resolve_model
from stvg_core.host.registry import FoundBackend
from stvg_core.host.tracing import HookCall, trace_calls
from stvg_core.plugin.adapter import AnswerLogits, AttentionRequest, EncodedClip, MLLMAdapter, QuestionAttention
from stvg_core.plugin.model_reference import HOOK_API, LoadOptions, ModelReference
from stvg_core.settings import FamilyPresets, InputSettings, PromptSettings, TokenSettings
from stvg_core.values import Frames

__all__ = ["REQUIRED_HOOKS", "Session", "SessionIdentity", "open_backend", "open_session"]


@dataclass(frozen=True)
class SessionIdentity:
    """Which model runs in which backend; written into every result."""

    id: str
    backend: str
    distribution: str
    version: str
    hook_api: int = HOOK_API


class Session:
    """A loaded model with its backend's hooks; make one with `open_session`."""

    def __init__(
        self,
        manager: pluggy.PluginManager,
        adapter: MLLMAdapter,
        identity: SessionIdentity,
        options: LoadOptions | None = None,
        extensions: tuple[HookExtension, ...] = (),
        family: FamilyPresets | None = None,
    ) -> None:
        """Hold an opened backend; the manager must hold this backend alone, wrapped by its extensions."""
        self._hooks = manager.hook
        self._adapter: MLLMAdapter | None = adapter
        self.identity = identity
        self.options = options or LoadOptions()
        self.extensions = extensions
        self.family = family or FamilyPresets()

    @property
    def closed(self) -> bool:
        """Whether the model was freed."""
        return self._adapter is None

    @property
    def adapter(self) -> MLLMAdapter:
        """The loaded model.

        Raises:
            UsageError: the session is closed.
        """
        if self._adapter is None:
            raise UsageError("expected an open model, got one that was closed; load it again")
        return self._adapter

    def capture_attention(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        """Call `stvg_capture_attention`."""
        answer: tuple[QuestionAttention, ...] = self._hooks.stvg_capture_attention(
            adapter=self.adapter, request=request
        )
        return answer

    def select_grounding_tokens(
        self, attention: QuestionAttention, relative: Float[Tensor, "token cell"], settings: TokenSettings
    ) -> tuple[int, ...]:
        """Call `stvg_select_grounding_tokens`."""
        answer: tuple[int, ...] = self._hooks.stvg_select_grounding_tokens(
            adapter=self.adapter, attention=attention, relative=relative, settings=settings
        )
        return answer

    def regularize_logits(self, logits: AnswerLogits, settings: PromptSettings) -> Float[Tensor, ""]:
        """Call `stvg_regularize_logits`."""
        answer: Float[Tensor, ""] = self._hooks.stvg_regularize_logits(
            adapter=self.adapter, logits=logits, settings=settings
        )
        return answer

    def augment_frames(self, frames: Frames, clip: EncodedClip, settings: InputSettings) -> EncodedClip:
        """Call `stvg_augment_frames`."""
        answer: EncodedClip = self._hooks.stvg_augment_frames(
            adapter=self.adapter, frames=frames, clip=clip, settings=settings
        )
        return answer

    def __enter__(self) -> "Session":
        """Return the session."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Let go of the model, so that its memory can be freed."""
        self._adapter = None


def open_session(
    model: str | ResolvedModel,
    options: LoadOptions | None = None,
    backend: str | None = None,
    *,
    extensions: Sequence[str | HookExtension] = (),
    trace: Callable[[HookCall], None] | None = None,
) -> Session:
    """Open the backend that handles a model, and load it.

    Args:
        model: a named checkpoint, a folder, a hub id, or what `resolve_model` made of one.
        options: device, dtype and the rest of how it is loaded.
        backend: name of the backend, or "distribution:backend" where several claim the name; None: the one
            that declares the checkpoint's architecture.
        extensions: names of installed extensions that wrap its hooks (or opened ones), the outermost first.
        trace: called with every hook call, in shapes and types; see `host.tracing.format_call`.

    Raises:
        ModelError: the checkpoint is missing or cannot be loaded.
        PluginError: no healthy backend handles it, the backend is incomplete, or an extension does not fit.
        UsageError: an extension is unknown.
    """
    wrappers = open_hook_extensions(extensions)
    resolved = model if isinstance(model, ResolvedModel) else resolve_model(model)
    found = find_backend(resolved, backend)
    return open_backend(
        load_backend(found), found, resolved.reference, options or LoadOptions(), extensions=wrappers, trace=trace
    )


def open_backend(
    plugin: object,
    found: FoundBackend,
    reference: ModelReference,
    options: LoadOptions,
    *,
    extensions: tuple[HookExtension, ...] = (),
    trace: Callable[[HookCall], None] | None = None,
) -> Session:
    """Open a session on a plugin object: check its hooks, wrap them, then create the adapter.

    Raises:
        PluginError: a hook is missing or takes other arguments than its specification.
        ModelError: the checkpoint cannot be loaded.
        DeviceMemoryError: the device is too small for it.
    """
    manager = hook_manager(plugin, found)
    add_checks(manager, f"backend {found.name!r} ({found.distribution})", extensions)
    if trace is not None:
        trace_calls(manager, trace, unnamed=(CHECKS,))
    with memory_errors(f"loading {reference.id}", LOADING_CURE):
        adapter = manager.hook.stvg_create_adapter(reference=reference, options=options)
    if adapter is None:
        raise ModelError(f"backend {found.name!r} of {found.distribution} does not take {reference.id!r}")
    identity = SessionIdentity(reference.id, found.name, found.distribution, found.version, found.hook_api or HOOK_API)
    return Session(manager, adapter, identity, options, extensions, family_presets(found))
