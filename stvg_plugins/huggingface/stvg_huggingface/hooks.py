"""The base class of the backends that load transformers models."""

from stvg_core.plugin import (
    Backend,
    EncodedClip,
    Frames,
    InputSettings,
    LoadOptions,
    MLLMAdapter,
    ModelReference,
    reverse_by_encoding,
    reverse_by_flipping,
)
from stvg_huggingface.adapter import HuggingFaceAdapter
from stvg_huggingface.family import FamilyDifferences
from stvg_huggingface.loading import load_checkpoint


class HuggingFaceBackend(Backend):
    """A backend for one family of models; a subclass passes the family's table of differences."""

    def __init__(self, family: FamilyDifferences) -> None:
        """Bind the family; no model is loaded yet.

        Args:
            family: what sets its models apart.
        """
        self.family = family
        self.token_position = family.token_position

    @property
    def architectures(self) -> tuple[str, ...]:
        """Architectures of the family."""
        return self.family.architectures

    def stvg_create_adapter(self, reference: ModelReference, options: LoadOptions) -> MLLMAdapter | None:
        """Load the checkpoint.

        Raises:
            ModelError: the checkpoint is missing, damaged, or of another architecture.
        """
        return HuggingFaceAdapter(load_checkpoint(reference, options, self.family.architectures), self.family)

    def stvg_augment_frames(
        self, adapter: MLLMAdapter, frames: Frames, clip: EncodedClip, settings: InputSettings
    ) -> EncodedClip | None:
        """Reverse the clip as the family says: by flipping its tokens, or by encoding the reversed frames."""
        if self.family.reversal == "flip":
            return reverse_by_flipping(clip)
        return reverse_by_encoding(adapter, frames, clip, settings)
