"""Boxes carried through a video as masks by SAM 2, frame after frame in one direction.

A sweep goes over the looked-at frames forwards or backwards; objects join it where they are first seen.
The session is transformers' own; its processor is not used, since it needs torchvision.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Bool, Float64
from torch import Tensor
from torch.nn import functional
from transformers import Sam2VideoModel
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from stvg_huggingface.pixels import PixelStatistics
from stvg_sam.frame_reader import FrameReader
from stvg_sam.loading import LoadedModel, load
from stvg_sam.state import FrameInputs, forget, state_bytes

MODEL_TYPES: Final = ("sam2_video",)
_BOX_CORNERS: Final = (2, 3)
"""How SAM 2 calls a box's first and second corner among its points (processing_sam2_video.py)."""

Masks = Mapping[int, Bool[np.ndarray, "height width"] | None]
"""By object: its mask in pixels of the picture; None where it is not there."""


class Sweep:
    """One pass over a video in one direction.

    What is remembered stays bounded: features of `num_maskmem` frames and pointers of
    `max_object_pointers_in_encoder` frames per object, beside the frame where each object joined.
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401  # Sam2VideoModel, or what stands in for it
        pictures: FrameReader,
        statistics: PixelStatistics,
        device: torch.device,
        state_device: torch.device,
        *,
        backwards: bool,
    ) -> None:
        """Begin without objects.

        Args:
            model: in evaluation mode.
            pictures: the looked-at frames.
            statistics: the model's pixel normalisation.
            device: where the model is.
            state_device: where what it remembers is kept.
            backwards: from the last frame to the first.
        """
        self._model = model
        self._state_device = state_device
        self._backwards = backwards
        self._size_pixels = square_side(model.config.prompt_encoder_config.image_size)
        height, width = pictures[0].shape[:2]
        self._height, self._width = int(height), int(width)
        session: Any = Sam2VideoInferenceSession(
            video=None,
            video_height=self._height,
            video_width=self._width,
            inference_device=device,
            inference_state_device=state_device,
            video_storage_device="cpu",
            dtype=model.dtype,
        )
        session.processed_frames = FrameInputs(pictures, self._size_pixels, statistics, model.dtype)
        self.session: Any = session

    @property
    def has_objects(self) -> bool:
        """Whether there is anything to follow."""
        return bool(self.session.obj_ids)

    @property
    def state_bytes(self) -> int:
        """How much is remembered at the moment."""
        return state_bytes(self.session)

    def join(self, position: int, boxes_xyxy: Mapping[int, Float64[np.ndarray, " xyxy=4"]]) -> None:
        """Let objects join at a frame, each by its box there; `step` on that frame must follow.

        Args:
            position: the frame.
            boxes_xyxy: by object, in pixels of the picture.
        """
        across, down = self._size_pixels / self._width, self._size_pixels / self._height
        for number, box in boxes_xyxy.items():
            corners = torch.tensor(box.reshape(2, 2) * [across, down], dtype=self._model.dtype)
            index = self.session.obj_id_to_idx(number)
            labels = torch.tensor(_BOX_CORNERS, dtype=torch.int32)
            self.session.add_point_inputs(
                index, position, {"point_coords": corners[None, None], "point_labels": labels[None, None]}
            )
        self.session.obj_with_new_inputs = list(boxes_xyxy)

    def step(self, position: int) -> Masks:
        """Follow every object to a frame and return its masks there.

        Frames must come one after another in the sweep's direction; the same frame again after `join`.
        """
        with torch.inference_mode():
            out = self._model(self.session, frame_idx=position, reverse=self._backwards)
        forget(
            self.session,
            position,
            int(self._model.config.num_maskmem),
            int(self._model.config.max_object_pointers_in_encoder),
            self._state_device,
        )
        masks = enlarge(out.pred_masks, self._height, self._width)
        present = (out.object_score_logits.flatten() > 0).tolist()
        return {
            int(number): mask if there and mask.any() else None
            for number, mask, there in zip(out.object_ids, masks, present, strict=True)
        }


def enlarge(logits: Tensor, height: int, width: int) -> Bool[np.ndarray, "object height width"]:
    """Return mask logits of any leading shape as masks of a picture's size."""
    flat = logits.reshape(-1, 1, *logits.shape[-2:]).float()
    large = functional.interpolate(flat, size=(height, width), mode="bilinear", align_corners=False)
    return (large[:, 0] > 0).cpu().numpy()


def square_side(size: int | list[int] | tuple[int, ...]) -> int:
    """Return the side of a model's square input.

    >>> square_side([1024, 1024])
    1024
    """
    return int(size) if isinstance(size, int) else int(size[0])


def load_sam2(name: str, device: str, dtype: str) -> LoadedModel:
    """Return SAM 2 for videos.

    Raises:
        ModelError: it is missing, damaged or of another type.
        DeviceMemoryError: it does not fit.
    """
    return load(name, MODEL_TYPES, Sam2VideoModel, device, dtype)
