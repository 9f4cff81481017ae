"""Visual tokens as the language model receives them, taken at its door.

The ordinary multimodal forward runs up to the language model and is stopped there, so no
family's feature functions (whose results change with every transformers version) are called.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from stvg_core.errors import ModelError, TokenLayoutError
from stvg_huggingface.family import VisualInputs
from stvg_huggingface.loading import language_model_of


class _AtTheDoor(Exception):  # noqa: N818 - it ends a pass early and is no error
    def __init__(self, embeddings: Tensor) -> None:
        super().__init__()
        self.embeddings = embeddings


def intercept_visual_tokens(
    model: PreTrainedModel, ids: Int[Tensor, " token"], visual_token_id: int, inputs: VisualInputs
) -> Float[Tensor, "clip_token width"]:
    """Return what a model puts at the visual tokens' places of a prompt.

    Args:
        model: a multimodal model of transformers.
        ids: the prompt up to its last visual token.
        visual_token_id: id that stands for a visual token.
        inputs: the clip, on the model's device.

    Raises:
        TokenLayoutError: the vision tower gives another number of tokens than the layout says.
        ModelError: the model never calls its language model.
    """
    visual = ids == visual_token_id
    positions = as_position_ids(inputs.positions(visual))
    handle = language_model_of(model).register_forward_pre_hook(_stop, with_kwargs=True)
    try:
        with torch.no_grad():
            model(input_ids=ids[None], position_ids=positions, use_cache=False, **inputs.tensors)
    except _AtTheDoor as door:
        return door.embeddings[0].index_select(0, visual.nonzero()[:, 0])
    except ValueError as error:
        raise TokenLayoutError(f"the vision tower and the layout {inputs.layout.shape} disagree: {error}") from error
    finally:
        handle.remove()
    raise ModelError(f"{type(model).__name__} did not call its language model; check the transformers version")


def as_position_ids(positions: Int[Tensor, "axis token"]) -> Int[Tensor, "..."]:
    """Return positions as language models take them: (1, token), or (axis, 1, token) for several axes."""
    return positions if positions.shape[0] == 1 else positions[:, None]


def _stop(_module: nn.Module, _arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
    raise _AtTheDoor(keywords["inputs_embeds"])
