"""The tracker `sam3`: everything that a noun names, found and followed by one model."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase, Sam3VideoModel
from transformers.models.sam3_video import modeling_sam3_video
from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoInferenceSession

from stvg_core.errors import ModelError, NoTracksError
from stvg_core.masks import RunLengthMask
from stvg_core.tracks.store import TrackStore
from stvg_core.tracks.tracker import TrackRequest
from stvg_core.values import Track
from stvg_huggingface.damage import DAMAGE, one_line
from stvg_sam.loading import LoadedModel, checkpoint_stamp, load
from stvg_sam.objects import FollowedObject, as_tracks, merge_duplicates
from stvg_sam.pictures import Pictures
from stvg_sam.sam2 import enlarge, square_side
from stvg_sam.settings import CIRCUMSTANCES, Sam3Settings, read_settings
from stvg_sam.state import FrameInputs, forget
from stvg_sam.words import head_noun

NAME: Final = "sam3"
MODEL_TYPES: Final = ("sam3_video",)
_PROMPT_TOKENS: Final = 32
"""Length of SAM 3's text input (processing_sam3_video.py)."""


class Sam3Tracker:
    """SAM 3 with a noun as its prompt."""

    def __init__(self, settings: Sam3Settings | None = None) -> None:
        """Keep the settings; the model is loaded when it is needed.

        Args:
            settings: None: the defaults.
        """
        self.settings = settings or Sam3Settings()
        self._classes = self.settings.classes
        self._from_cache: bool | None = None

    @property
    def name(self) -> str:
        """Name as the user types it."""
        return NAME

    @property
    def per_video(self) -> bool:
        """Whether the video alone decides: where classes are given, whatever is asked."""
        return bool(self.settings.classes)

    def configure(self, settings: Mapping[str, str]) -> "Sam3Tracker":
        """Return the tracker with other settings.

        Raises:
            UsageError: a setting is unknown or out of range.
        """
        return Sam3Tracker(read_settings(Sam3Settings, NAME, settings))

    def describe(self) -> Mapping[str, Any]:
        """Return the settings that decide the tracks."""
        return self.settings.model_dump(mode="json", exclude=set(CIRCUMSTANCES))

    def report(self) -> Mapping[str, Any]:
        """Return the words that were last looked for, whether the tracks came from the cache, and where it ran."""
        return {
            **self.settings.model_dump(mode="json", include=set(CIRCUMSTANCES)),
            "classes": list(self._classes),
            "from_cache": self._from_cache,
        }

    def propose(self, request: TrackRequest) -> tuple[Track, ...]:
        """Return a track with masks for every object that the words name, best first.

        Raises:
            NoTracksError: nothing of that name was found.
            ModelError: the checkpoint is missing, damaged, or of another type.
            DeviceMemoryError: it does not fit.
        """
        settings = self.settings
        self._classes = settings.classes or (head_noun(request.sub_queries.attribute),)
        pictures = Pictures(request.frames, (settings.track_every_frames,), settings.longest_side_pixels)
        decisive = dict(self.describe()) | {
            "classes": list(self._classes),
            "looked": pictures.source_frames.tolist(),
            "checkpoints": [checkpoint_stamp(settings.segmenter)],
        }
        tracks, self._from_cache = TrackStore.named(settings.cache).remember(
            request.frames.info, NAME, decisive, lambda: self._track(request, pictures)
        )
        if not tracks:
            raise NoTracksError(
                f"no {' or '.join(self._classes)} in {request.frames.info.path}; name other classes, or another tracker"
            )
        return tracks

    def _track(self, request: TrackRequest, pictures: Pictures) -> tuple[Track, ...]:
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
    pictures: Pictures,
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
    except DAMAGE as error:
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
