"""A set of questions about one clip, as the language model reads it: made once, sent to the device once."""

from dataclasses import dataclass

from stvg_huggingface.packing import PackedQuestions
from stvg_huggingface.passes import PassKind, QuestionTensors


@dataclass(frozen=True, eq=False)
class PreparedQuestions:
    """What every pass with the same questions has in common.

    Attributes:
        packed: the prompts behind their shared prefix.
        tensors: what a pass reads beside the clip, on the clip's device.
        kind: of a pass that answers them.
        row_counts: how many rows are each question's, question after question.
    """

    packed: PackedQuestions
    tensors: QuestionTensors
    kind: PassKind
    row_counts: list[int]
