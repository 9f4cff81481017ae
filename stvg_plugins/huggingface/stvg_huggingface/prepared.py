"""A set of questions about one clip, as the language model reads it: made once, sent to the device once."""

from dataclasses import dataclass

from jaxtyping import Bool, Int
from torch import Tensor

from stvg_huggingface.packing import PackedQuestions
from stvg_huggingface.recompute import Recompute


@dataclass(frozen=True, eq=False)
class PreparedQuestions:
    """What every pass with the same questions has in common; tensors lie on the clip's device.

    Attributes:
        packed: the prompts behind their shared prefix.
        ids: tokens of the packed sequence.
        places: where the clip's tokens lie in it.
        positions: rotary positions of the packed sequence.
        mask: what each token behind the prefix sees.
        last_tokens: where each prompt ends.
        rows: where each question's tokens lie, question after question.
        row_counts: how many of the rows are each question's.
        columns: where the clip's cells lie, in raster order.
        recompute: what a backward pass computes again.
    """

    packed: PackedQuestions
    ids: Int[Tensor, " token"]
    places: Int[Tensor, " clip_token"]
    positions: Int[Tensor, "axis token"]
    mask: Bool[Tensor, "1 1 suffix_token token"]
    last_tokens: Int[Tensor, " question"]
    rows: Int[Tensor, " row"]
    row_counts: list[int]
    columns: Int[Tensor, " cell"]
    recompute: Recompute
