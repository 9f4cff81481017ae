"""The plain procedure: what the released research code does, on the same model and the same inputs.

One question at a time is *generated* an answer for, the prompt's gradient flows through the first
generated token, and attention comes as whole maps of every layer and head from eager attention.
It is here to be measured against; the method never calls it. Encoding the frames is left out of
it (the released code encodes them again for every generation), so comparisons favour it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache

from stvg_core.host.session import Session
from stvg_core.method.attention import frame_maps, relative_rows
from stvg_core.method.pipeline import Stopwatch
from stvg_core.method.prompts import learn_prompts
from stvg_core.method.reversed_view import assemble
from stvg_core.plugin.adapter import AnswerLogits, EncodedClip, PromptToken, QuestionAttention
from stvg_core.settings import BranchSettings, Settings
from stvg_core.values import FrameMaps, SubQueries
from stvg_huggingface.adapter import HuggingFaceAdapter
from stvg_huggingface.capture import ATTENTION_NAME
from stvg_huggingface.clips import clip_embeddings, clip_frame, clip_positions, clip_prompt
from stvg_huggingface.interception import as_position_ids
from stvg_huggingface.questions import tokenize_question


@dataclass(frozen=True)
class AnswerLengths:
    """How many tokens are generated where the first one, or none, is used.

    The released code generates until the model stops; random models never do, so lengths are fixed.

    Attributes:
        yes_no: for a yes/no question.
        description: for the neutral question, "please describe this video".
        maps: at most, while attention is kept.
    """

    yes_no: int = 3
    description: int = 10
    maps: int = 5


LENGTHS: Final = AnswerLengths()


@dataclass(frozen=True, eq=False)
class _Generated:
    """The first generated position of one answer."""

    tokens: tuple[PromptToken, ...]
    logits: Float[Tensor, " vocabulary"]
    attentions: tuple[Float[Tensor, "1 head token token"], ...] | None
    visual: tuple[int, ...]


class PlainProcedure:
    """Runs the method's two branches and the reversed view the plain way.

    Args:
        session: on a `HuggingFaceAdapter`.
        settings: of the method.
        watch: collects the time per stage.
        lengths: of generated answers.
    """

    def __init__(
        self, session: Session, settings: Settings, watch: Stopwatch | None = None, lengths: AnswerLengths = LENGTHS
    ) -> None:
        """Remember the model; nothing runs yet."""
        adapter: Any = session.adapter
        self._adapter: HuggingFaceAdapter = adapter
        self._session, self._settings, self._lengths = session, settings, lengths
        self.watch = watch or Stopwatch()

    def maps(
        self, clip: EncodedClip, reversed_clip: EncodedClip | None, sub_queries: SubQueries
    ) -> tuple[FrameMaps, FrameMaps]:
        """Return the maps of the spatial and the temporal branch, as the method's own."""
        sentence = sub_queries.text.lower()
        spatial = [self._branch(clip, sub_queries.attribute, sentence, self._settings.spatial)]
        if reversed_clip is not None:
            spatial.append(self._branch(reversed_clip, sub_queries.attribute, sentence, self._settings.spatial))
        return assemble(spatial), self._branch(clip, sub_queries.action, sentence, self._settings.temporal)

    def _branch(self, clip: EncodedClip, sub_query: str, sentence: str, branch: BranchSettings) -> FrameMaps:
        settings = self._settings
        learned, neutral = settings.question(sub_query), settings.relative.neutral_question
        asked = settings.question(sentence) if branch.inference_question == "sentence" else learned
        tuning = [learned, neutral] if settings.prompt.contrast_neutral else [learned]
        prompt: Tensor | None = None
        if settings.prompt.steps > 0:
            with self.watch.stage("prompts"), self._attention("sdpa"):
                (tuned,) = learn_prompts(
                    clip.visual_tokens,
                    lambda added, _: (self._answers(clip, tuning, added),),
                    lambda logits: self._session.regularize_logits(logits, settings.prompt),
                    1,
                    settings.prompt,
                )
                prompt = tuned.applied
        with self.watch.stage("attention"), self._attention("eager"), torch.no_grad():
            rows = [self._rows(clip, question, prompt, branch) for question in (asked, neutral)]
        relative = relative_rows(rows[0], rows[1], settings.relative)
        chosen = self._session.select_grounding_tokens(rows[0], relative, branch.tokens)
        return frame_maps(clip, rows[0], relative, chosen)

    def _answers(self, clip: EncodedClip, questions: Sequence[str], added: Tensor) -> AnswerLogits:
        ids = self._adapter.description
        firsts = [self._generate(clip, question, added, self._length(question)).logits for question in questions]
        return AnswerLogits(
            yes=torch.stack([first[ids.yes_id] for first in firsts]),
            no=torch.stack([first[ids.no_id] for first in firsts]),
        )

    def _rows(
        self, clip: EncodedClip, question: str, added: Tensor | None, branch: BranchSettings
    ) -> QuestionAttention:
        length = min(self._lengths.maps, self._length(question))
        generated = self._generate(clip, question, added, length, attentions=True)
        maps = torch.stack([layer[0] for layer in generated.attentions or ()])
        layers = list(branch.layers.layers(self._adapter.description.layer_count))
        own = maps[layers][:, :, -len(generated.tokens) :][..., list(generated.visual)].mean((0, 1))
        return QuestionAttention(question, generated.tokens, own)

    def _length(self, question: str) -> int:
        neutral = question == self._settings.relative.neutral_question
        return self._lengths.description if neutral else self._lengths.yes_no

    def _generate(
        self, clip: EncodedClip, question: str, added: Tensor | None, length: int, *, attentions: bool = False
    ) -> _Generated:
        """Generate greedily, as `generate` does: a prefill, then token by token from the cache."""
        checkpoint = self._adapter.checkpoint
        model: Any = checkpoint.model
        prompt = tokenize_question(checkpoint.tokenizer, clip_frame(clip), question)
        ids = torch.tensor(prompt.ids)
        visual = ids == self._adapter.visual_token_id
        places = visual.nonzero()[:, 0]
        embed, head = model.get_input_embeddings(), model.get_output_embeddings()
        device = clip.visual_tokens.device
        text = embed(ids.to(device))
        shown = clip_embeddings(clip, added)
        longer = torch.cat([visual, visual.new_zeros(length)])
        positions = clip_positions(clip)(longer)
        cache = DynamicCache(config=checkpoint.text_config)
        given = text.index_put((places.to(device),), shown.to(text.dtype))[None]
        first, kept, start = None, None, 0
        for _ in range(length):
            end = start + given.shape[1]
            output = checkpoint.language_model(
                inputs_embeds=given,
                position_ids=as_position_ids(positions[:, start:end].to(device)),
                past_key_values=cache,
                use_cache=True,
                output_attentions=attentions,
            )
            logits = head(output.last_hidden_state[0, -1:]).float()[0]
            if first is None:
                first, kept = logits, output.attentions
            given, start = embed(logits.argmax())[None, None], end
        if first is None:
            raise RuntimeError("at least one token is generated")
        return _Generated(prompt.tokens, first, kept, tuple(places[clip_prompt(clip).cells].tolist()))

    @contextmanager
    def _attention(self, kernel: str) -> Iterator[None]:
        """Let the language model run transformers' own attention while inside."""
        model: Any = self._adapter.checkpoint.model
        model.set_attn_implementation({"text_config": kernel})
        try:
            yield
        finally:
            model.set_attn_implementation({"text_config": ATTENTION_NAME})
