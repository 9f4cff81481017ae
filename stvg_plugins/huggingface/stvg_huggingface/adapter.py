"""The adapter around any multimodal model of transformers.

One packed pass answers all questions of a call: the prefix with the visual tokens is computed
once, and the visual prompt enters by index at the visual tokens' places. Nothing here knows a
family: differences come from a `FamilyDifferences`.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from stvg_core.backend import AnswerLogits, AttentionRequest, EncodedClip, ModelDescription, QuestionAttention
from stvg_core.config import InputSettings
from stvg_core.errors import SettingsError, TokenLayoutError, UsageError
from stvg_core.values import Frames
from stvg_huggingface.answers import answer_ids
from stvg_huggingface.capture import AttentionCapture, LastLayerReached, PackedPass
from stvg_huggingface.chat import PromptFrame, render_frame
from stvg_huggingface.family import FamilyDifferences, PositionRule
from stvg_huggingface.generation import generate_greedily
from stvg_huggingface.interception import as_position_ids
from stvg_huggingface.loading import LoadedCheckpoint
from stvg_huggingface.packing import PackedQuestions, pack, suffix_mask
from stvg_huggingface.pixels import normalize, square_frames
from stvg_huggingface.questions import tokenize_question

_STATE: Final = "huggingface"


@dataclass(frozen=True, eq=False)
class _ClipPrompt:
    """What later questions about a clip need: its chat frame and its position rule."""

    frame: PromptFrame
    positions: PositionRule


class HuggingFaceAdapter:
    """Implements `MLLMAdapter` for one loaded checkpoint.

    Args:
        checkpoint: what `load_checkpoint` returned.
        family: the backend's table of differences.

    Raises:
        ModelError: the checkpoint has no usable chat template, or no words for yes and no.
    """

    def __init__(self, checkpoint: LoadedCheckpoint, family: FamilyDifferences) -> None:
        """Ask the tokenizer for its answers, and the template for its frame."""
        self._checkpoint = checkpoint
        self._family = family
        self._frame = render_frame(checkpoint.tokenizer, checkpoint.chat_template, video=True)
        self._visual_token_id = family.visual_token_id(checkpoint.model.config)
        yes_id, no_id = answer_ids(checkpoint.tokenizer)
        self._description = ModelDescription(
            id=checkpoint.reference.id,
            layer_count=checkpoint.text_config.num_hidden_layers,
            yes_id=yes_id,
            no_id=no_id,
            checkpoint=checkpoint.reference.folder,
        )

    @property
    def description(self) -> ModelDescription:
        """What was loaded."""
        return self._description

    @property
    def checkpoint(self) -> LoadedCheckpoint:
        """The model and its tokenizer, for hooks that need more than the adapter offers."""
        return self._checkpoint

    def encode(self, frames: Frames, settings: InputSettings, frame_order: tuple[int, ...]) -> EncodedClip:
        """Return the visual tokens of frames, shown to the model in the given order.

        Raises:
            UsageError: frame_order is no permutation of the frames.
            TokenLayoutError: the prompt or the vision tower disagrees with the family's layout.
        """
        if sorted(frame_order) != list(range(len(frames))):
            raise UsageError(f"expected each of {len(frames)} frames once in frame_order, got {frame_order}")
        model, tokenizer, family = self._checkpoint.model, self._checkpoint.tokenizer, self._family
        size = family.frame_size_pixels(model.config, settings.frame_size_pixels)
        pixels = normalize(square_frames(frames.pixels[list(frame_order)], size), self._checkpoint.statistics)
        inputs = family.visual_inputs(model.config, tokenizer, pixels, frames.seconds, settings)
        frame = self._frame.with_clip(family.placeholder(model.config, tokenizer), inputs.placeholder)
        encoded = tokenizer(frame.head, add_special_tokens=frame.add_special_tokens, return_attention_mask=False)
        ids = torch.tensor(encoded["input_ids"])
        places = self._visual_places(ids, inputs.layout.cell_count)
        tensors = {
            name: tensor.to(model.device, model.dtype if tensor.is_floating_point() else tensor.dtype)
            for name, tensor in inputs.tensors.items()
        }
        tokens = family.visual_tokens(
            model, ids[: int(places[-1]) + 1].to(model.device), replace(inputs, tensors=tensors)
        )
        return EncodedClip(tokens, inputs.layout, frame_order, {_STATE: _ClipPrompt(frame, inputs.positions)})

    def answer_logits(
        self, clip: EncodedClip, questions: Sequence[str], prompt: Float[Tensor, "cell width"] | None
    ) -> AnswerLogits:
        """Return yes and no logits of each question, with gradients to the prompt.

        Only the two rows of the head that matter are multiplied, in float32 at least.

        Raises:
            UsageError: there is no question, or the clip was encoded by another backend.
            QueryError: a question is empty or holds the model's own markup.
            TokenLayoutError: the prompt's shape is not the visual tokens'.
        """
        packed = self._pack(clip, questions)
        hidden = self._run(clip, packed, prompt, None)
        last = hidden[torch.tensor(packed.last_tokens, device=hidden.device)]
        model: Any = self._checkpoint.model
        head = model.get_output_embeddings()
        answers = torch.tensor([self._description.yes_id, self._description.no_id], device=hidden.device)
        wide = torch.promote_types(hidden.dtype, torch.float32)
        logits = last.to(wide) @ head.weight[answers].to(wide).T
        if head.bias is not None:
            logits = logits + head.bias[answers].to(wide)
        return AnswerLogits(yes=logits[:, 0], no=logits[:, 1])

    def attention_rows(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        """Return attention rows of each question; no gradients.

        The pass ends inside the last wanted layer.

        Raises:
            SettingsError: a layer is not one of the model's.
            UsageError: there is no question, or the clip was encoded by another backend.
            QueryError: a question is empty or holds the model's own markup.
            TokenLayoutError: the prompt's shape is not the visual tokens'.
        """
        count = self._description.layer_count
        if not request.layers or not set(request.layers) <= set(range(count)):
            raise SettingsError(f"expected layers within 0..{count - 1}, got {request.layers}")
        packed = self._pack(request.clip, request.questions)
        spans = [packed.question_rows(number) for number in range(len(packed.prompts))]
        ids = torch.tensor(packed.ids)
        device = request.clip.visual_tokens.device
        capture = AttentionCapture(
            request.layers,
            rows=torch.tensor([row for span in spans for row in span], device=device),
            columns=self._visual_places(ids, request.clip.layout.cell_count).to(device),
        )
        with torch.no_grad(), suppress(LastLayerReached):
            self._run(request.clip, packed, request.prompt, capture)
        rows = torch.split(capture.mean(), [len(span) for span in spans])
        return tuple(
            QuestionAttention(question, prompt.tokens, own)
            for question, prompt, own in zip(request.questions, packed.prompts, rows, strict=True)
        )

    def generate_text(self, instruction: str, maximum_tokens: int) -> str:
        """Return the model's greedy answer to an instruction, without any video.

        Raises:
            UsageError: maximum_tokens is below 1.
            QueryError: the instruction is empty or holds the model's own markup.
        """
        return generate_greedily(self._checkpoint, instruction, maximum_tokens)

    def _pack(self, clip: EncodedClip, questions: Sequence[str]) -> PackedQuestions:
        if not questions:
            raise UsageError("expected at least one question, got none")
        frame = _clip_prompt(clip).frame
        prompts = [tokenize_question(self._checkpoint.tokenizer, frame, question) for question in questions]
        for prompt in prompts:
            last_visual = int(self._visual_places(torch.tensor(prompt.ids), clip.layout.cell_count)[-1])
        return pack(prompts, last_visual)

    def _visual_places(self, ids: Int[Tensor, " token"], expected: int) -> Int[Tensor, " cell"]:
        places = (ids == self._visual_token_id).nonzero()[:, 0]
        if places.numel() != expected:
            raise TokenLayoutError(
                f"expected {expected} visual tokens in the prompt, got {places.numel()}; "
                "the question must not hold the video's placeholder, nor the tokenizer lack it"
            )
        return places

    def _run(
        self,
        clip: EncodedClip,
        packed: PackedQuestions,
        prompt: Float[Tensor, "cell width"] | None,
        capture: AttentionCapture | None,
    ) -> Float[Tensor, "packed_token width"]:
        tokens = clip.visual_tokens
        if prompt is not None and prompt.shape != tokens.shape:
            raise TokenLayoutError(f"expected a prompt of shape {tuple(tokens.shape)}, got {tuple(prompt.shape)}")
        device = tokens.device
        ids = torch.tensor(packed.ids, device=device)
        places = self._visual_places(ids, clip.layout.cell_count)
        embed: Any = self._checkpoint.model.get_input_embeddings()
        text = embed(ids)
        shown = tokens if prompt is None else tokens + prompt
        embeddings = text.index_put((places,), shown.to(text.dtype))
        longest = torch.zeros(packed.prefix_length + max(packed.suffix_lengths), dtype=torch.bool, device=device)
        longest[places] = True
        positions = _clip_prompt(clip).positions(longest)[:, torch.tensor(packed.own_places(), device=device)]
        mask = suffix_mask(packed.prefix_length, packed.suffix_lengths, device)
        # A mask of four axes is handed through unread; without it transformers would guess packed
        # sequences from the positions and build a square mask.
        output = self._checkpoint.language_model(
            inputs_embeds=embeddings[None],
            position_ids=as_position_ids(positions),
            attention_mask=mask,
            use_cache=False,
            stvg=PackedPass(packed.prefix_length, mask, capture),
        )
        hidden: Tensor = output.last_hidden_state[0]
        return hidden


def _clip_prompt(clip: EncodedClip) -> _ClipPrompt:
    state = clip.state.get(_STATE)
    if not isinstance(state, _ClipPrompt):
        raise UsageError("expected a clip that this adapter encoded, got another backend's; encode the frames again")
    return state
