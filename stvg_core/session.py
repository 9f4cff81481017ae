"""One backend, opened: its plugin, a manager of its own, its adapter, and typed hook calls.

One session holds one backend in one fresh manager, because a firstresult hook is answered
by the last plugin registered, whichever model runs.
"""

from dataclasses import dataclass
from typing import Any

import pluggy
from jaxtyping import Float
from torch import Tensor

from stvg_core import hookspecs
from stvg_core.backend import AnswerLogits, AttentionRequest, EncodedClip, MLLMAdapter, QuestionAttention
from stvg_core.config import InputSettings, PromptSettings, TokenSettings
from stvg_core.errors import ModelError, PluginError, StvgError
from stvg_core.identity import HOOK_API, LoadOptions, ModelReference
from stvg_core.memory import LOADING_CURE, memory_errors
from stvg_core.models import ResolvedModel, resolve_model
from stvg_core.registry import FoundBackend, backend_for, find_backends
from stvg_core.values import Frames

REQUIRED_HOOKS = tuple(name for name in vars(hookspecs) if name.startswith("stvg_"))


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
    ) -> None:
        """Hold an opened backend; the manager must hold this backend alone."""
        self._hooks = manager.hook
        self.adapter = adapter
        self.identity = identity
        self.options = options or LoadOptions()

    def capture_attention(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        """Call `stvg_capture_attention`."""
        answer: tuple[QuestionAttention, ...] = self._answer(
            "stvg_capture_attention", self._hooks.stvg_capture_attention(adapter=self.adapter, request=request)
        )
        if len(answer) != len(request.questions):
            raise PluginError(
                f"backend {self.identity.backend!r} gave attention for {len(answer)} of "
                f"{len(request.questions)} questions; see docs/hooks.md"
            )
        return answer

    def select_grounding_tokens(
        self, attention: QuestionAttention, relative: Float[Tensor, "token cell"], settings: TokenSettings
    ) -> tuple[int, ...]:
        """Call `stvg_select_grounding_tokens`."""
        answer: tuple[int, ...] = self._answer(
            "stvg_select_grounding_tokens",
            self._hooks.stvg_select_grounding_tokens(
                adapter=self.adapter, attention=attention, relative=relative, settings=settings
            ),
        )
        if not answer or not all(0 <= position < len(attention.tokens) for position in answer):
            raise PluginError(
                f"backend {self.identity.backend!r} selected tokens {answer} of {len(attention.tokens)}; "
                "see docs/hooks.md"
            )
        return answer

    def regularize_logits(self, logits: AnswerLogits, settings: PromptSettings) -> Float[Tensor, ""]:
        """Call `stvg_regularize_logits`."""
        answer: Float[Tensor, ""] = self._answer(
            "stvg_regularize_logits",
            self._hooks.stvg_regularize_logits(adapter=self.adapter, logits=logits, settings=settings),
        )
        return answer

    def augment_frames(self, frames: Frames, clip: EncodedClip, settings: InputSettings) -> EncodedClip:
        """Call `stvg_augment_frames`."""
        answer: EncodedClip = self._answer(
            "stvg_augment_frames",
            self._hooks.stvg_augment_frames(adapter=self.adapter, frames=frames, clip=clip, settings=settings),
        )
        return answer

    def _answer(self, hook: str, answer: Any) -> Any:  # noqa: ANN401  # pluggy's calls are untyped
        if answer is None:
            raise PluginError(
                f"backend {self.identity.backend!r} ({self.identity.distribution}) answered None to {hook}; "
                "see docs/hooks.md"
            )
        return answer

    def __enter__(self) -> "Session":
        """Return the session."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Let go of the model, so that its memory can be freed."""
        del self.adapter


def open_session(model: str | ResolvedModel, options: LoadOptions | None = None, backend: str | None = None) -> Session:
    """Open the backend that handles a model, and load it.

    Args:
        model: a named checkpoint, a folder, a hub id, or what `resolve_model` made of one.
        options: device, dtype and the rest of how it is loaded.
        backend: name of the backend; None: the one that declares the checkpoint's architecture.

    Raises:
        ModelError: the checkpoint is missing or cannot be loaded.
        PluginError: no healthy backend handles it, or the backend is incomplete.
    """
    resolved = model if isinstance(model, ResolvedModel) else resolve_model(model)
    backends = find_backends()
    found = _named(backend, backends) if backend is not None else backend_for(resolved.architecture, backends)
    return open_backend(_load_plugin(found), found, resolved.reference, options or LoadOptions())


def open_backend(plugin: object, found: FoundBackend, reference: ModelReference, options: LoadOptions) -> Session:
    """Open a session on a plugin object: check its hooks, then create the adapter.

    Raises:
        PluginError: a hook is missing or takes other arguments than its specification.
        ModelError: the checkpoint cannot be loaded.
        DeviceMemoryError: the device is too small for it.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(plugin, name=found.name)
        manager.check_pending()
    except (pluggy.PluginValidationError, ValueError) as error:
        raise PluginError(
            f"backend {found.name!r} of {found.distribution} does not fit the hooks: {' '.join(str(error).split())}; "
            "see docs/hooks.md"
        ) from error
    missing = [name for name in REQUIRED_HOOKS if not getattr(manager.hook, name).get_hookimpls()]
    if missing:
        raise PluginError(
            f"backend {found.name!r} of {found.distribution} lacks {', '.join(missing)}; "
            "every hook of docs/hooks.md is needed"
        )
    with memory_errors(f"loading {reference.id}", LOADING_CURE):
        adapter = manager.hook.stvg_create_adapter(reference=reference, options=options)
    if adapter is None:
        raise ModelError(f"backend {found.name!r} of {found.distribution} does not take {reference.id!r}")
    identity = SessionIdentity(reference.id, found.name, found.distribution, found.version)
    return Session(manager, adapter, identity, options)


def _named(name: str, backends: tuple[FoundBackend, ...]) -> FoundBackend:
    matching = [backend for backend in backends if backend.name == name]
    if not matching:
        raise PluginError(
            f"unknown backend {name!r}; installed: {', '.join(backend.name for backend in backends) or 'none'}"
        )
    if matching[0].status != "ok":
        raise PluginError(f"backend {name!r} is {matching[0].status}: {matching[0].reason}; {matching[0].fix}")
    return matching[0]


def _load_plugin(found: FoundBackend) -> object:
    try:
        return found.entry_point.load()()
    except StvgError:
        raise
    except Exception as error:  # a plugin is foreign code: whatever it raises is its failure, named as such
        raise PluginError(
            f"backend {found.name!r} of {found.distribution} {found.version} failed while loading: "
            f"{type(error).__name__}: {' '.join(str(error).split())[:300]}; pip install --upgrade {found.distribution}"
        ) from error
