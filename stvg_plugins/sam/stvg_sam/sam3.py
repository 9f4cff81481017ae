"""The tracker `sam3`: everything that a noun names, found and followed by one model."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase, Sam3VideoModel
from transformers.models.sam3_video import modeling_sam3_video
from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoInferenceSession

from stvg_core.plugin import ModelError, RunLengthMask, Track, TrackRequest
from stvg_huggingface.files import LOAD_ERRORS, one_line
from stvg_sam.frame_reader import FrameReader
from stvg_sam.loading import LoadedModel, load
from stvg_sam.objects import FollowedObject, as_tracks, merge_duplicates
from stvg_sam.sam2 import enlarge, square_side
from stvg_sam.settings import Sam3Settings
from stvg_sam.state import FrameInputs, forget
from stvg_sam.word_tracker import WordTracker

NAME: Final = "sam3"
MODEL_TYPES: Final = ("sam3_video",)
_PROMPT_TOKENS: Final = 32
"""Length of SAM 3's text input (processing_sam3_video.py)."""


class Sam3Tracker(WordTracker[Sam3Settings]):
    """SAM 3 with a noun as its prompt."""

    def __init__(self, settings: Sam3Settings | None = None) -> None:
        """Keep the settings; the model is loaded when it is needed.

        Args:
            settings: None: the defaults.
        """
        super().__init__(settings or Sam3Settings())

    @property
    def name(self) -> str:
        """Name as the user types it."""
        return NAME

    def _looked_at(self) -> tuple[int, ...]:
        return (self.settings.track_every_frames,)

    def _checkpoints(self) -> tuple[str, ...]:
        return (self.settings.segmenter,)

    def _cure(self) -> str:
        return "; name other classes, or another tracker"

    def _track(self, request: TrackRequest, pictures: FrameReader) -> tuple[Track, ...]:
        settings = self.settings
        objects = follow_words(
            self._loaded, self._tokenizer, self._classes, pictures, torch.device(settings.state_device)
        )
        merged = merge_duplicates(objects, settings.merge_overlap)
        return as_tracks(merged, pictures.source_frames, request.frames.info, settings.most_objects)

    @cached_property
    def _loaded(self) -> LoadedModel:
        return load(self.settings.segmenter, MODEL_TYPES, Sam3VideoModel, self.settings.device, self.settings.dtype)

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        return self._loaded.tokenizer()


def follow_words(
    loaded: LoadedModel,
    tokenizer: PreTrainedTokenizerBase,
    words: Sequence[str],
    pictures: FrameReader,
    state_device: torch.device,
) -> tuple[FollowedObject, ...]:
    """Return every object that the words name, over all frames that show it.

    The model looks for new objects in every frame and decides afterwards which of its first sightings were
    none (its "hotstart"); those are left out.

    Args:
        loaded: SAM 3 for videos.
        tokenizer: beside it.
        words: what to look for.
        pictures: the looked-at frames.
        state_device: where what it remembers is kept.

    Raises:
        ModelError: the tokenizer does not fit.
    """
    # Where the package `kernels` is installed the model would fetch compiled code from the hub and run it.
    modeling: Any = modeling_sam3_video
    modeling.cv_utils_kernel = False
    model: Any = loaded.model
    height, width = (int(side) for side in pictures[0].shape[:2])
    session: Any = Sam3VideoInferenceSession(
        video=None,
        video_height=height,
        video_width=width,
        inference_device=loaded.device,
        inference_state_device=state_device,
        video_storage_device="cpu",
        dtype=model.dtype,
    )
    side = square_side(model.config.image_size)
    session.processed_frames = FrameInputs(pictures, side, loaded.statistics, model.dtype)
    for word in words:
        _ask(session, tokenizer, word)
    tracker = model.config.tracker_config
    objects: dict[int, FollowedObject] = {}
    for position in range(len(pictures)):
        with torch.inference_mode():
            out = model(inference_session=session, frame_idx=position)
        forget(session, position, int(tracker.num_maskmem), int(tracker.max_object_pointers_in_encoder), state_device)
        session.hotstart_removed_obj_ids.update(out.removed_obj_ids or ())
        _record(objects, session, out, position, (height, width))
    return tuple(one for number, one in objects.items() if number not in session.hotstart_removed_obj_ids)


def _ask(session: Any, tokenizer: PreTrainedTokenizerBase, word: str) -> None:  # noqa: ANN401
    number = session.add_prompt(word)
    try:
        encoded = tokenizer(word, return_tensors="pt", padding="max_length", max_length=_PROMPT_TOKENS, truncation=True)
    except LOAD_ERRORS as error:
        raise ModelError(f"cannot read the class {word!r} ({one_line(error)}); download the model again") from error
    ids: Int[Tensor, "question=1 token"] = encoded["input_ids"]
    session.prompt_input_ids[number] = ids.to(session.inference_device)
    session.prompt_attention_masks[number] = encoded["attention_mask"].to(session.inference_device)


def _record(
    objects: dict[int, FollowedObject],
    session: Any,  # noqa: ANN401
    out: Any,  # noqa: ANN401
    position: int,
    size: tuple[int, int],
) -> None:
    """Keep the masks of one frame; one that the model suppresses there is none."""
    hidden = {int(number) for number in out.suppressed_obj_ids or ()}
    for number, logits in out.obj_id_to_mask.items():
        mask = enlarge(logits, *size)[0]
        if number in hidden or not mask.any():
            continue
        runs = RunLengthMask.of(mask)
        box = runs.box_xyxy()
        if number not in objects and box is not None:
            prompt = session.obj_id_to_prompt_id.get(number)
            label = str(session.prompts.get(prompt, ""))
            objects[number] = FollowedObject(label, float(out.obj_id_to_score[number]), position, box)
        objects[number].masks[position] = runs
