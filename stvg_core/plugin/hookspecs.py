"""The contract between the method and a backend: one factory and four hooks.

All are firstresult, and a session opens only if its backend implements all of them; `Backend`
(stvg_core.plugin) does. They are called once per step of the method, never per layer.
Hook arguments are positional and have no defaults (pluggy drops keyword-only ones).
"""

import pluggy
from jaxtyping import Float
from torch import Tensor

from stvg_core.plugin.adapter import (
    AnswerLogits,
    AttentionRequest,
    EncodedClip,
    LoadOptions,
    MLLMAdapter,
    ModelReference,
    QuestionAttention,
)
from stvg_core.settings import InputSettings, PromptSettings, TokenSettings
from stvg_core.values import Frames

PROJECT = "stvg"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec(firstresult=True)
def stvg_create_adapter(reference: ModelReference, options: LoadOptions) -> MLLMAdapter | None:
    """Load a checkpoint and return the adapter around it.

    Called once, when a session opens. None: this backend does not support the checkpoint; the session
    then fails with an error that names the distribution.

    Raises:
        ModelError: the checkpoint is missing or cannot be loaded.
    """


@hookspec(firstresult=True)
def stvg_capture_attention(adapter: MLLMAdapter, request: AttentionRequest) -> tuple[QuestionAttention, ...] | None:
    """Return, per question, attention from its prompt tokens to the visual tokens.

    Called once per branch and view, after its prompt is learned; branches without a prompt share a call.
    Rows are softmax shares (each row sums to at most 1), averaged over request.layers and all heads. None
    is an error.
    """


@hookspec(firstresult=True)
def stvg_select_grounding_tokens(
    adapter: MLLMAdapter,
    attention: QuestionAttention,
    relative: Float[Tensor, "token cell"],
    settings: TokenSettings,
) -> tuple[int, ...] | None:
    """Return which rows of `relative` ground the query; they are averaged.

    Called once per question and view. Positions index attention.tokens, 0-based. None is an error.
    """


@hookspec(firstresult=True)
def stvg_regularize_logits(
    adapter: MLLMAdapter, logits: AnswerLogits, settings: PromptSettings
) -> Float[Tensor, ""] | None:
    """Return the scalar that the visual prompt minimises.

    Called once per gradient step. Question 0 is the sub-query; question 1, present when
    settings.contrast_neutral, is the neutral question. Logits are float64 leaves, apart from the model. None is
    an error.
    """


@hookspec(firstresult=True)
def stvg_augment_frames(
    adapter: MLLMAdapter, frames: Frames, clip: EncodedClip, settings: InputSettings
) -> EncodedClip | None:
    """Return the clip seen in reversed frame order.

    Called once per video when TAS is on. Where encoding is per frame the tokens can be
    flipped; where a token covers several frames the reversed frames must be encoded
    again. `frame_order` of the result says which frame stands where. None is an error.
    """
