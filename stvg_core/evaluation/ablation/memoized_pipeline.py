"""The method for many settings on one clip: what settings share is computed once."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from stvg_core._internal.memo import Memo
from stvg_core.method.pipeline import Pipeline
from stvg_core.method.prompts import LearnedPrompt, PromptGradient
from stvg_core.plugin.adapter import AttentionRequest, EncodedClip, QuestionAttention
from stvg_core.values import Frames


@dataclass(frozen=True, eq=False)
class MemoizedPipeline(Pipeline):
    """A pipeline whose visual tokens, learned prompts and attention rows come from a memo, if it has them.

    Pipelines with other settings may share the memo, as long as they share the session. Frames, clips and prompts
    count as the same if they are the same object. Prompts are learned one by one, with results that equal those of
    shared passes up to rounding.

    Attributes:
        memo: results by what decides them.
    """

    memo: Memo = field(default_factory=Memo)

    def encode_clip(self, frames: Frames) -> EncodedClip:
        """Return the visual tokens of frames in source order."""
        return self.memo(("clip", frames, self.settings.input), lambda: Pipeline.encode_clip(self, frames))

    def reverse_clip(self, frames: Frames, clip: EncodedClip) -> EncodedClip:
        """Return the visual tokens of frames in reversed order."""
        return self.memo(("reversed", clip, self.settings.input), lambda: Pipeline.reverse_clip(self, frames, clip))

    def learn_prompts(
        self,
        clip: EncodedClip,
        questions: Sequence[tuple[str, ...]],
        start: Sequence[PromptGradient] | None = None,
    ) -> tuple[LearnedPrompt, ...]:
        """Return each prompt from the memo, or learn it; all step sizes and rules share the first gradient."""
        return tuple(self._learn_prompt(clip, own) for own in questions)

    def _learn_prompt(self, clip: EncodedClip, questions: tuple[str, ...]) -> LearnedPrompt:
        settings = self.settings.prompt
        objective = settings.objective, settings.contrast_neutral
        start = self.memo(
            ("gradient", clip, questions, objective), lambda: Pipeline.first_gradients(self, clip, [questions])
        )
        return self.memo(
            ("prompt", clip, questions, settings), lambda: Pipeline.learn_prompts(self, clip, [questions], start)[0]
        )

    def capture_attention(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        """Return the attention rows of each question."""
        # The request has no value of its own: its fields decide.
        key = ("rows", request.clip, request.questions, request.prompt, request.layers, request.answers)
        return self.memo(key, lambda: Pipeline.capture_attention(self, request))
