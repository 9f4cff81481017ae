"""The adapter around any multimodal model of transformers.

One packed pass answers all questions of a call: the prefix with the visual tokens is computed once, and the visual
prompt is added by index at the visual tokens' places. Differences between families come from a `FamilyDifferences`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedConfig

from stvg_core.errors import ModelError, QueryError, SettingsError, TokenLayoutError, UsageError
from stvg_core.plugin.adapter import AnswerLogits, AttentionRequest, EncodedClip, ModelDescription, QuestionAttention
from stvg_core.settings import InputSettings
from stvg_core.values import Frames, TokenLayout
from stvg_huggingface.acceleration.fused import fuse_norms
from stvg_huggingface.acceleration.recompute import choose_recompute
from stvg_huggingface.acceleration.replay import Replays, cuda_replays
from stvg_huggingface.answers import answer_logits, answer_tokens, generate_greedily
from stvg_huggingface.chat import PromptFrame, render_frame
from stvg_huggingface.clips import (
    STATE,
    ClipPrompt,
    clip_embeddings,
    clip_prompt,
    split_clip_tokens,
)
from stvg_huggingface.devices import send
from stvg_huggingface.family import FamilyDifferences, VisualInputs, cells_of_clip
from stvg_huggingface.loading import LoadedCheckpoint, token_without_embedding
from stvg_huggingface.passes import PassKind, PreparedQuestions, QuestionTensors, run_pass, split_result
from stvg_huggingface.pixels import normalize, square_frames
from stvg_huggingface.questions import check_embeddings, pack, refuse_markers, suffix_mask, tokenize_question

_QUESTION_TOKENS: Final = 48
"""Reserved for a question when an error states how many frames fit."""
_PREPARED_SETS: Final = 32
"""Cached question sets per clip; each holds one mask of suffix rows and a few index tensors."""
_FILLED_UP: Final = 32
"""Where passes are recorded, the suffix is padded to a multiple of this, so that passes of other lengths recur."""
_STRETCHING: Final = ("linear", "dynamic")


class HuggingFaceAdapter:
    """Implements `MLLMAdapter` for one loaded checkpoint.

    Args:
        checkpoint: what `load_checkpoint` returned.
        family: the backend's table of differences.

    Raises:
        ModelError: the checkpoint has no usable chat template, no words for yes and no, or no embedding for what
            the template writes.
    """

    def __init__(self, checkpoint: LoadedCheckpoint, family: FamilyDifferences) -> None:
        """Render the chat template, and look up the answers' tokens."""
        self._checkpoint = checkpoint
        self._family = family
        self._frame = self._render(None)
        self._visual_token_id = family.visual_token_id(checkpoint.model.config)
        self._context_tokens = context_tokens(checkpoint.text_config)
        self._template_tokens = len(checkpoint.tokenizer(self._frame.head + self._frame.tail)["input_ids"])
        answers = answer_tokens(checkpoint.tokenizer, "lowercase", self._frame.tail, checkpoint.embedding_rows)
        self._check_template_embeddings()
        if checkpoint.device.type == "cuda":
            fuse_norms(checkpoint.model)
        self._replays = cuda_replays(self._pass, checkpoint)
        self._prepared: WeakKeyDictionary[ClipPrompt, dict[tuple[str, ...], PreparedQuestions]] = WeakKeyDictionary()
        self._description = ModelDescription(
            id=checkpoint.reference.id,
            layer_count=checkpoint.text_config.num_hidden_layers,
            yes_id=answers.yes[0],
            no_id=answers.no[0],
            checkpoint=checkpoint.folder,
            device=str(checkpoint.device),
            dtype=str(checkpoint.dtype).removeprefix("torch."),
        )

    @property
    def description(self) -> ModelDescription:
        """What was loaded."""
        return self._description

    @property
    def checkpoint(self) -> LoadedCheckpoint:
        """The model and its tokenizer, for hooks that need more than the adapter offers."""
        return self._checkpoint

    @property
    def replays(self) -> Replays | None:
        """The recorded passes, or None where none are recorded."""
        return self._replays

    @contextmanager
    def unrecorded(self) -> Iterator[None]:
        """Run passes without recording or padding while inside, such as to count operations."""
        replays, prepared = self._replays, self._prepared
        self._replays, self._prepared = None, WeakKeyDictionary()
        try:
            yield
        finally:
            self._replays, self._prepared = replays, prepared

    @property
    def visual_token_id(self) -> int:
        """The token id that stands for a visual token."""
        return self._visual_token_id

    def encode(self, frames: Frames, settings: InputSettings, frame_order: tuple[int, ...]) -> EncodedClip:
        """Return the visual tokens of frames, in the order `frame_order`.

        Raises:
            UsageError: frame_order is no permutation of the frames.
            SettingsError: the frames make more tokens than the model's context holds, the family
                cannot encode them with these settings, or the chat template has no place for a system turn.
            TokenLayoutError: the prompt or the vision tower disagrees with the family's layout.
        """
        if sorted(frame_order) != list(range(len(frames))):
            raise UsageError(f"expected each of {len(frames)} frames once in frame_order, got {frame_order}")
        model, tokenizer, family = self._checkpoint.model, self._checkpoint.tokenizer, self._family
        family.options.of(settings)
        size = family.frame_size_pixels(model.config, settings.frame_size_pixels)
        layout = family.layout(model.config, len(frames), size, settings)
        cells = cells_of_clip(family, layout)
        frame = self._frame if settings.system_prompt is None else self._render(settings.system_prompt)
        frame = self._with_clip(frame, layout)
        rows = self._checkpoint.embedding_rows
        answers = answer_tokens(tokenizer, settings.answer_words, frame.tail, rows)
        encoded = tokenizer(frame.head, add_special_tokens=frame.add_special_tokens, return_attention_mask=False)
        # Without a system turn it was checked when the checkpoint was loaded.
        beyond = token_without_embedding(tokenizer, encoded["input_ids"], rows)
        if beyond is not None:
            raise SettingsError(
                f"setting input.system_prompt: expected words that the model has embeddings for ({rows} rows), the "
                f"system turn brings in token {beyond}; use other words, or null"
            )
        ids = torch.tensor(encoded["input_ids"])
        # Before any pixel is touched: a clip that is far too long would fill the memory first.
        self._check_context(ids.numel(), layout, settings.system_prompt)
        places = self._visual_places(ids, cells.numel())
        pixels = normalize(square_frames(frames.pixels[list(frame_order)], size), self._checkpoint.statistics)
        device, dtype = self._checkpoint.device, self._checkpoint.dtype
        tensors = {
            name: tensor.to(device, dtype if tensor.is_floating_point() else tensor.dtype)
            for name, tensor in family.pixel_tensors(model.config, pixels, settings).items()
        }
        inputs = VisualInputs(tensors, layout, family.positions(model.config, layout, frames.seconds, settings))
        tokens = family.visual_tokens(model, ids[: int(places[-1]) + 1].to(device), inputs, settings)
        shown, separators = split_clip_tokens(tokens, cells)
        prompt = ClipPrompt(frame, inputs.positions, cells, separators, answers)
        return EncodedClip(shown, layout, frame_order, {STATE: prompt})

    def answer_logits(
        self, clip: EncodedClip, questions: Sequence[str], prompt: Float[Tensor, "cell width"] | None
    ) -> AnswerLogits:
        """Return yes and no logits of each question, with gradients to the prompt.

        Raises:
            UsageError: there is no question, or the clip was encoded by another backend.
            QueryError: a question is empty or contains the model's special tokens.
            TokenLayoutError: the prompt's shape is not the visual tokens'.
        """
        prepared = self._prepare(clip, questions)
        return self._answers(clip, self._run(clip, prepared, prompt, prepared.kind))

    def attention_rows(self, request: AttentionRequest) -> tuple[QuestionAttention, ...]:
        """Return attention rows of each question, and its answer if requested; no gradients.

        A pass without answers ends inside the last of the requested layers.

        Raises:
            SettingsError: a layer is not one of the model's.
            UsageError: there is no question, or the clip was encoded by another backend.
            QueryError: a question is empty or contains the model's special tokens.
            TokenLayoutError: the prompt's shape is not the visual tokens'.
        """
        count = self._description.layer_count
        if not request.layers or not set(request.layers) <= set(range(count)):
            raise SettingsError(f"expected layers within 0..{count - 1}, got {request.layers}")
        prepared = self._prepare(request.clip, request.questions)
        kind = replace(prepared.kind, layers=request.layers, answers=request.answers)
        answers: list[AnswerLogits | None] = [None] * len(request.questions)
        with torch.no_grad():
            shares = self._run(request.clip, prepared, request.prompt, kind)
            if request.answers:
                shares, last = split_result(shares, prepared.tensors)
                logits = self._answers(request.clip, last)
                answers = [logits.select([number]) for number in range(len(request.questions))]
        rows = torch.split(shares[: sum(prepared.row_counts)], prepared.row_counts)
        return tuple(
            QuestionAttention(question, prompt.tokens, question_rows, answer)
            for question, prompt, question_rows, answer in zip(
                request.questions, prepared.packed.prompts, rows, answers, strict=True
            )
        )

    def token_text(self, token_id: int) -> str:
        """Return how the tokenizer writes one token as text."""
        return str(self._checkpoint.tokenizer.decode([token_id]))

    def generate_text(self, instruction: str, maximum_tokens: int) -> str:
        """Return the model's greedy answer to an instruction, without any video.

        Raises:
            UsageError: maximum_tokens is below 1.
            QueryError: the instruction is empty or contains the model's special tokens.
        """
        return generate_greedily(self._checkpoint, instruction, maximum_tokens)

    def _answers(self, clip: EncodedClip, last: Float[Tensor, "question width"]) -> AnswerLogits:
        model: Any = self._checkpoint.model
        return answer_logits(model.get_output_embeddings(), last, clip_prompt(clip).answers)

    def _render(self, system_prompt: str | None) -> PromptFrame:
        """Return what the chat template puts around a question about a video, after a system turn if there is one.

        Raises:
            SettingsError: the system prompt contains the model's special tokens, or the template has no place for one.
        """
        checkpoint = self._checkpoint
        if system_prompt is not None:
            try:
                refuse_markers(checkpoint.tokenizer, system_prompt)
            except QueryError as error:
                raise SettingsError(f"setting input.system_prompt: {error}") from error
        return render_frame(
            checkpoint.tokenizer,
            checkpoint.chat_template,
            video=True,
            content_type=self._family.content_type,
            system_prompt=system_prompt,
        )

    def _prepare(self, clip: EncodedClip, questions: Sequence[str]) -> PreparedQuestions:
        """Return the tensors of questions about a clip; cached, so that they are sent to the device once."""
        if not questions:
            raise UsageError("expected at least one question, got none")
        cache = self._prepared.setdefault(clip_prompt(clip), {})
        if tuple(questions) not in cache:
            if len(cache) >= _PREPARED_SETS:
                del cache[next(iter(cache))]
            cache[tuple(questions)] = self._prepare_new(clip, questions)
        return cache[tuple(questions)]

    def _prepare_new(self, clip: EncodedClip, questions: Sequence[str]) -> PreparedQuestions:
        frame = clip_prompt(clip).frame
        prompts = [tokenize_question(self._checkpoint.tokenizer, frame, question) for question in questions]
        for prompt in prompts:
            self._check_context(len(prompt.ids), clip.layout)
            check_embeddings(self._checkpoint.tokenizer, prompt.ids, self._checkpoint.embedding_rows)
            last_visual = int(self._clip_places(clip, prompt.ids)[-1])
        packed = pack(prompts, last_visual, 1 if self._replays is None else _FILLED_UP)
        device = clip.visual_tokens.device
        spans = [packed.question_rows(number) for number in range(len(prompts))]
        # All of it is computed on the CPU: reading places or counts from the device would synchronise.
        places = self._clip_places(clip, packed.ids)
        longest = torch.zeros(packed.prefix_length + max(packed.rest_lengths), dtype=torch.bool)
        longest[places] = True
        positions = clip_prompt(clip).positions(longest)[:, torch.tensor(packed.own_places())]
        rows = [row for span in spans for row in span]
        if self._replays is not None:
            # As many as there are tokens behind the prefix, so that questions of other lengths give the same shapes.
            rows += [rows[-1]] * (sum(packed.rest_lengths) - len(rows))
        tensors = QuestionTensors(
            ids=send(torch.tensor(packed.ids), device),
            places=send(places, device),
            positions=send(positions, device),
            mask=suffix_mask(packed.prefix_length, packed.rest_lengths, device),
            last_tokens=send(torch.tensor(packed.last_tokens), device),
            rows=send(torch.tensor(rows), device),
            columns=send(places[clip_prompt(clip).cells], device),
        )
        recompute = choose_recompute(self._checkpoint.options.recompute, self._checkpoint, len(packed.ids))
        kind = PassKind(packed.prefix_length, recompute, self._checkpoint.options.attn_implementation == "eager")
        return PreparedQuestions(packed, tensors, kind, [len(span) for span in spans])

    def _with_clip(self, frame: PromptFrame, layout: TokenLayout) -> PromptFrame:
        """Return the chat template around a clip's tokens."""
        config, tokenizer, family = self._checkpoint.model.config, self._checkpoint.tokenizer, self._family
        return frame.with_clip(family.placeholder(config, tokenizer), family.clip_text(config, tokenizer, layout))

    def _check_template_embeddings(self) -> None:
        """Check that the model has embeddings for all tokens of its template, with one frame.

        Raises:
            ModelError: a token has none.
        """
        checkpoint, settings = self._checkpoint, InputSettings()
        config = checkpoint.model.config
        size = self._family.frame_size_pixels(config, settings.frame_size_pixels)
        frame = self._with_clip(self._frame, self._family.layout(config, 1, size, settings))
        ids = checkpoint.tokenizer(frame.head + frame.tail, add_special_tokens=frame.add_special_tokens)["input_ids"]
        beyond = token_without_embedding(checkpoint.tokenizer, ids, checkpoint.embedding_rows)
        if beyond is not None:
            raise ModelError(
                f"expected a chat template of tokens below {checkpoint.embedding_rows} (rows of the model's "
                f"embedding), {checkpoint.reference.id} writes {beyond}; tokenizer or template are another model's: "
                "put those that belong to these weights into the checkpoint's folder"
            )

    def _check_context(self, token_count: int, layout: TokenLayout, system_prompt: str | None = None) -> None:
        """Check that a prompt fits the context; nothing is ever truncated."""
        if self._context_tokens is None or token_count <= self._context_tokens:
            return
        fixed = self._template_tokens + len(self._checkpoint.tokenizer(system_prompt or "")["input_ids"])
        fixed += _QUESTION_TOKENS
        steps = max(0, (self._context_tokens - fixed) * layout.time_steps // token_count)
        raise SettingsError(
            f"expected at most {self._context_tokens} tokens (the model's context), {layout.frame_count} frames make "
            f"{layout.cell_count} and the text around them {token_count - layout.cell_count}; with "
            f"{steps * layout.frame_count // layout.time_steps} frames (sampling.frame_count) it fits, or use a "
            "smaller input.frame_size_pixels, or what input.family has for it (such as pooling_stride)"
        )

    def _clip_places(self, clip: EncodedClip, ids: Sequence[int]) -> Int[Tensor, " clip_token"]:
        return self._visual_places(torch.tensor(ids), clip_prompt(clip).cells.numel())

    def _visual_places(self, ids: Int[Tensor, " token"], expected: int) -> Int[Tensor, " clip_token"]:
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
        prepared: PreparedQuestions,
        prompt: Float[Tensor, "cell width"] | None,
        kind: PassKind,
    ) -> Float[Tensor, "..."]:
        """Return the result of a pass for questions under a prompt; recurring passes are replayed where possible."""
        shown = clip_embeddings(clip, prompt).to(self._checkpoint.dtype)
        run = self._pass if self._replays is None else self._replays.run
        return run(shown, prepared.tensors, kind)

    def _pass(
        self, shown: Float[Tensor, "clip_token width"], tensors: QuestionTensors, kind: PassKind
    ) -> Float[Tensor, "..."]:
        return run_pass(self._checkpoint.model, self._checkpoint.language_model, shown, tensors, kind)


def context_tokens(text_config: PreTrainedConfig) -> int | None:
    """Return how many tokens a language model has positions for; None where its configuration is silent.

    Linear and dynamic rotary scaling stretch max_position_embeddings by their factor; for other
    kinds transformers states the stretched number there.

    >>> from transformers import LlamaConfig
    >>> scaled = {"rope_type": "linear", "factor": 2.5, "rope_theta": 1e4}
    >>> context_tokens(LlamaConfig(max_position_embeddings=4096, rope_parameters=scaled))
    10240
    """
    longest = getattr(text_config, "max_position_embeddings", None)
    if not isinstance(longest, int):
        return None
    rotary = getattr(text_config, "rope_parameters", None) or {}
    return int(longest * rotary.get("factor", 1.0)) if rotary.get("rope_type") in _STRETCHING else longest
