"""Boxes of what words name in one picture: Grounding DINO and MM Grounding DINO through transformers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from transformers import AutoModelForZeroShotObjectDetection, GroundingDinoProcessor
from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil

from stvg_core.inputs.tracks.boxes import keep_best
from stvg_core.plugin import ModelError
from stvg_huggingface.damage import DAMAGE, one_line
from stvg_sam.loading import LoadedModel, load

MODEL_TYPES: Final = ("grounding-dino", "mm-grounding-dino")
_DUPLICATE_OVERLAP: Final = 0.8
"""Two boxes of one picture that overlap more are one: the detector gives one per phrase."""


@dataclass(frozen=True, eq=False)
class FoundBoxes:
    """What a detector found in one picture.

    Attributes:
        boxes_xyxy: in pixels of the picture.
        scores: 0..1, best first.
        labels: which words.
    """

    boxes_xyxy: Float64[np.ndarray, "box xyxy=4"]
    scores: Float64[np.ndarray, " box"]
    labels: tuple[str, ...]


@runtime_checkable
class BoxDetector(Protocol):
    """Anything that finds boxes in a picture."""

    def detect(self, picture: UInt8[np.ndarray, "height width rgb=3"]) -> FoundBoxes:
        """Return what is in a picture; may be nothing."""
        ...


class GroundingDinoDetector:
    """Grounding DINO with its words and thresholds."""

    def __init__(
        self, loaded: LoadedModel, classes: Sequence[str], box_threshold: float, text_threshold: float
    ) -> None:
        """Read the processor beside the model.

        Raises:
            ModelError: the processor's files are missing or damaged.
        """
        self._loaded = loaded
        self._classes = list(classes)
        self._box_threshold = box_threshold
        self._text_threshold = text_threshold
        try:
            # The variant that needs no torchvision.
            images = GroundingDinoImageProcessorPil.from_pretrained(str(loaded.folder))
            make: Any = GroundingDinoProcessor
            self._processor = make(images, loaded.tokenizer())
        except DAMAGE as error:
            raise ModelError(
                f"cannot read the processor of {loaded.id} ({one_line(error)}); download it again"
            ) from error

    def detect(self, picture: UInt8[np.ndarray, "height width rgb=3"]) -> FoundBoxes:
        """Return the boxes of the words, best first, cut to the picture."""
        height, width = picture.shape[:2]
        inputs = self._processor(images=picture, text=[self._classes], return_tensors="pt")
        model: Any = self._loaded.model
        inputs = {name: value.to(self._loaded.device) for name, value in inputs.items()}
        inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
        with torch.inference_mode():
            outputs = model(**inputs)
        outputs.logits, outputs.pred_boxes = outputs.logits.float().cpu(), outputs.pred_boxes.float().cpu()
        (found,) = self._processor.post_process_grounded_object_detection(
            outputs,
            inputs["input_ids"].cpu(),
            threshold=self._box_threshold,
            text_threshold=self._text_threshold,
            target_sizes=[(height, width)],
        )
        labels = [_label(text) for text in found["text_labels"]]
        return tidy(found["boxes"].double().numpy(), found["scores"].double().numpy(), labels, width, height)


def _label(text: str) -> str:
    """Return the words of a phrase, without the marks between phrases.

    >>> _label("[CLS] a dog.")
    'a dog'
    """
    return " ".join(word.strip(".") for word in text.split() if not word.startswith("[") and word.strip("."))


def tidy(
    boxes_xyxy: Float64[np.ndarray, "box xyxy=4"],
    scores: Float64[np.ndarray, " box"],
    labels: Sequence[str],
    width: int,
    height: int,
) -> FoundBoxes:
    """Return boxes cut to the picture, best first, without duplicates, empty ones and those that are no number."""
    cut = np.clip(boxes_xyxy, 0.0, np.array([width, height, width, height], dtype=np.float64))
    real = np.isfinite(cut).all(axis=1) & np.isfinite(scores) & (cut[:, 2:] - cut[:, :2] >= 1.0).all(axis=1)
    cut, kept_scores = cut[real], scores[real]
    names = [labels[int(place)] for place in np.flatnonzero(real)]
    order = keep_best(cut, kept_scores, _DUPLICATE_OVERLAP)
    return FoundBoxes(cut[order], kept_scores[order], tuple(names[int(place)] for place in order))


def load_detector(name: str, device: str, dtype: str) -> LoadedModel:
    """Return Grounding DINO or MM Grounding DINO.

    Raises:
        ModelError: it is missing, damaged or of another type.
        DeviceMemoryError: it does not fit.
    """
    return load(name, MODEL_TYPES, AutoModelForZeroShotObjectDetection, device, dtype)
