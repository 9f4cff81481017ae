"""What SAM 2 and SAM 3 remember of a video, kept small and off the device.

transformers' sessions keep masks and features of every frame for ever: 4 MB per object and frame at SAM
2.1's size for the full-resolution masks alone. Only the last frames are ever read again
(modeling_sam2_video.py: _gather_memory_frame_outputs, _get_object_pointers), so older ones go.
"""

from collections.abc import Iterator
from typing import Any, Final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from stvg_huggingface.pixels import PixelStatistics, normalize
from stvg_sam.frame_reader import FrameReader

_MEMORY: Final = ("maskmem_features", "maskmem_pos_enc")


class FrameInputs:
    """The looked-at frames as a session asks for them: by position, made when they are wanted, never kept."""

    def __init__(
        self, pictures: FrameReader, size_pixels: int, statistics: PixelStatistics, dtype: torch.dtype
    ) -> None:
        """Remember how to make them.

        Args:
            pictures: the frames.
            size_pixels: side of the model's square input.
            statistics: its normalisation.
            dtype: its precision.
        """
        self._pictures = pictures
        self._size_pixels = size_pixels
        self._statistics = statistics
        self._dtype = dtype

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._pictures)

    def __iter__(self) -> Iterator[int]:
        """Return the positions, as a mapping would."""
        return iter(range(len(self)))

    def __getitem__(self, position: int) -> Float[Tensor, "rgb=3 size_pixels size_pixels"]:
        """Return a frame squashed to the model's square and normalised."""
        picture = torch.tensor(self._pictures[position])
        return normalize(squash(picture, self._size_pixels), self._statistics)[0].to(self._dtype)


def squash(
    picture: UInt8[Tensor, "height width rgb=3"], size_pixels: int
) -> UInt8[Tensor, "frame=1 rgb=3 size_pixels size_pixels"]:
    """Return a picture as a square, bilinear as SAM's own processors do."""
    return functional.interpolate(
        picture.permute(2, 0, 1)[None], size=(size_pixels, size_pixels), mode="bilinear", antialias=True
    )


def forget(session: Any, position: int, memory_frames: int, pointer_frames: int, state_device: torch.device) -> None:  # noqa: ANN401
    """Drop what a session will not read again, and move the rest where it is kept.

    Args:
        session: of SAM 2 or SAM 3; changed.
        position: the frame that was just done.
        memory_frames: `num_maskmem` of the model: of so many last frames mask features are read.
        pointer_frames: `max_object_pointers_in_encoder`: of so many last frames object pointers are read.
        state_device: where features are kept.
    """
    for outputs in session.output_dict_per_obj.values():
        for out in outputs["cond_frame_outputs"].values():
            _shrink(out, state_device)
        passing = outputs["non_cond_frame_outputs"]
        for frame in list(passing):
            age = abs(position - frame)
            if age >= pointer_frames:
                del passing[frame]
                continue
            _shrink(passing[frame], state_device)
            passing[frame].pop("pred_masks", None)
            if age >= memory_frames:
                for name in _MEMORY:
                    passing[frame].pop(name, None)


def _shrink(out: dict[str, Any], state_device: torch.device) -> None:
    out.pop("high_res_masks", None)
    for name in _MEMORY:
        if isinstance(out.get(name), Tensor):
            out[name] = out[name].to(state_device)


def state_bytes(session: Any) -> int:  # noqa: ANN401
    """Return how much a session remembers, in bytes."""
    return sum(
        value.numel() * value.element_size()
        for outputs in session.output_dict_per_obj.values()
        for kind in outputs.values()
        for out in kind.values()
        for value in out.values()
        if isinstance(value, Tensor)
    )
