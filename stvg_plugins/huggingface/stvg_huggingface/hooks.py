"""The hooks of a transformers-based backend: the core's reference implementations, bound.

A backend plugin derives from `HuggingFaceHooks` and hands its table of differences over. A
hook that a backend overrides must carry `@hookimpl` again, or pluggy drops it silently.
"""

from jaxtyping import Float
from torch import Tensor

from stvg_core.method.attention import select_tokens
from stvg_core.method.prompts import margin_loss
from stvg_core.method.reversed_view import reverse_by_encoding, reverse_by_flipping
from stvg_core.plugin.adapter import AnswerLogits, AttentionRequest, EncodedClip, MLLMAdapter, QuestionAttention
from stvg_core.plugin.hookspecs import hookimpl
from stvg_core.plugin.model_reference import LoadOptions, ModelReference
from stvg_core.settings import InputSettings, PromptSettings, TokenSettings
from stvg_core.values import Frames
from stvg_huggingface.adapter import HuggingFaceAdapter
from stvg_huggingface.family import FamilyDifferences
from stvg_huggingface.loading import load_checkpoint


class HuggingFaceHooks:
    """All hooks of a backend, for one family of models.

    Args:
        family: the backend's table of differences.
    """

    def __init__(self, family: FamilyDifferences) -> None:
        """Remember the family; nothing is loaded yet."""
        self.family = family

    @property
    def architectures(self) -> tuple[str, ...]:
        """What the loaded code handles; the core compares it with what the manifest says."""
        return self.family.architectures

    @hookimpl
    def stvg_create_adapter(self, reference: ModelReference, options: LoadOptions) -> MLLMAdapter | None:
        """Load the checkpoint.

        Raises:
            ModelError: the checkpoint is missing, damaged, or of another architecture.
        """
        return HuggingFaceAdapter(load_checkpoint(reference, options, self.family.architectures), self.family)

    @hookimpl
    def stvg_capture_attention(
        self, adapter: MLLMAdapter, request: AttentionRequest
    ) -> tuple[QuestionAttention, ...] | None:
        """Capture the wanted rows in one packed pass."""
        return adapter.attention_rows(request)

    @hookimpl
    def stvg_select_grounding_tokens(
        self,
        adapter: MLLMAdapter,
        attention: QuestionAttention,
        relative: Float[Tensor, "token cell"],
        settings: TokenSettings,
    ) -> tuple[int, ...] | None:
        """Select tokens as the core does; the family names the place that the rule `fixed` means."""
        return select_tokens(attention, relative, settings, self.family.token_position)

    @hookimpl
    def stvg_regularize_logits(
        self,
        adapter: MLLMAdapter,
        logits: AnswerLogits,
        settings: PromptSettings,
    ) -> Float[Tensor, ""] | None:
        """Return the core's loss on the yes/no margin."""
        return margin_loss(logits, settings)

    @hookimpl
    def stvg_augment_frames(
        self, adapter: MLLMAdapter, frames: Frames, clip: EncodedClip, settings: InputSettings
    ) -> EncodedClip | None:
        """Reverse the clip: by flipping tokens where encoding is per frame, else by encoding again."""
        if self.family.reversal == "flip":
            return reverse_by_flipping(clip)
        return reverse_by_encoding(adapter, frames, clip, settings)
