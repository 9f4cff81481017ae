"""The base class of backends: a factory to implement, and the four hooks with the paper's implementation."""

from abc import ABC, abstractmethod
from typing import Any

from jaxtyping import Float
from torch import Tensor

from stvg_core.plugin.adapter import AnswerLogits, AttentionRequest, EncodedClip, MLLMAdapter, QuestionAttention
from stvg_core.plugin.hookspecs import hookimpl
from stvg_core.plugin.model_reference import LoadOptions, ModelReference
from stvg_core.plugin.reference import DEFAULT_TOKEN_POSITION, margin_loss, reverse_by_encoding, select_tokens
from stvg_core.settings import InputSettings, PromptSettings, TokenSettings
from stvg_core.values import Frames


class Backend(ABC):
    """A backend: loads the checkpoints of one family of models and answers the hooks for them.

    Only `stvg_create_adapter` is abstract. A method of a subclass whose name starts with `stvg_` is marked
    as a hook implementation; `@hookimpl` is needed for pluggy's options alone. The hooks' contract is in
    stvg_core.plugin.hookspecs.
    """

    token_position: int = DEFAULT_TOKEN_POSITION
    """Position from the prompt's end of the grounding token under the rule `fixed`; -1 is the last token."""

    @property
    def architectures(self) -> tuple[str, ...] | None:
        """Architectures that the loaded code handles, compared with the manifest's; None skips the comparison."""
        return None

    def __init_subclass__(cls, **arguments: Any) -> None:  # noqa: ANN401  # whatever a class statement passes
        """Mark overridden hooks: pluggy silently ignores an override without `@hookimpl`."""
        super().__init_subclass__(**arguments)
        for name, member in vars(cls).items():
            if name.startswith("stvg_") and callable(member) and not hasattr(member, "stvg_impl"):
                hookimpl(member)

    @abstractmethod
    @hookimpl
    def stvg_create_adapter(self, reference: ModelReference, options: LoadOptions) -> MLLMAdapter | None:
        """Load a checkpoint and return the adapter around it; None if this backend does not support it.

        Raises:
            ModelError: the checkpoint is missing or cannot be loaded, or an option is not supported.
        """

    @hookimpl
    def stvg_capture_attention(
        self, adapter: MLLMAdapter, request: AttentionRequest
    ) -> tuple[QuestionAttention, ...] | None:
        """Return the adapter's attention rows."""
        return adapter.attention_rows(request)

    @hookimpl
    def stvg_select_grounding_tokens(
        self,
        adapter: MLLMAdapter,
        attention: QuestionAttention,
        relative: Float[Tensor, "token cell"],
        settings: TokenSettings,
    ) -> tuple[int, ...] | None:
        """Return the tokens that the paper's rule selects."""
        return select_tokens(attention, relative, settings, self.token_position)

    @hookimpl
    def stvg_regularize_logits(
        self, adapter: MLLMAdapter, logits: AnswerLogits, settings: PromptSettings
    ) -> Float[Tensor, ""] | None:
        """Return the paper's loss on the yes/no margin."""
        return margin_loss(logits, settings)

    @hookimpl
    def stvg_augment_frames(
        self, adapter: MLLMAdapter, frames: Frames, clip: EncodedClip, settings: InputSettings
    ) -> EncodedClip | None:
        """Encode the reversed frames; correct for every model. `reverse_by_flipping` is faster where it is exact."""
        return reverse_by_encoding(adapter, frames, clip, settings)
