"""What every data set becomes: one question about one video, and the tube that answers it.

Whatever a file counts from, here frames count from 0, both ends of a span belong to it, and boxes
are (x0, y0, x1, y1) in pixels of the video as displayed.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64

from stvg_core.errors import DatasetError

QueryType = Literal["declarative", "interrogative"]


@dataclass(frozen=True)
class Provenance:
    """Where a sample was read.

    Attributes:
        file: annotation file, relative to the root of the data set.
        key: place in that file, such as `12_abc.mp4` or `[17].captions[0]`.
    """

    file: str
    key: str


@dataclass(frozen=True, eq=False)
class TruthTube:
    """The annotated tube: consecutive frames with one box each.

    Attributes:
        start_frame: first frame, 0-based.
        boxes_xyxy: pixels; one row per frame from start_frame on; not writable.
    """

    start_frame: int
    boxes_xyxy: Float64[np.ndarray, "source_frame 4"]

    def __post_init__(self) -> None:
        """Check that there is a box, and that every number is one."""
        if self.start_frame < 0 or len(self.boxes_xyxy) == 0:
            raise DatasetError(
                f"expected a start frame of at least 0 and boxes, got {self.start_frame} and {len(self.boxes_xyxy)}"
            )
        if not np.isfinite(self.boxes_xyxy).all():
            raise DatasetError("expected finite box corners, got nan or infinity; check the annotation file")
        view = self.boxes_xyxy.view()
        view.flags.writeable = False
        object.__setattr__(self, "boxes_xyxy", view)

    @property
    def end_frame(self) -> int:
        """Last frame, inclusive."""
        return self.start_frame + len(self.boxes_xyxy) - 1

    def boxes_by_frame(self) -> dict[int, tuple[float, float, float, float]]:
        """Return (x0, y0, x1, y1) in pixels by frame number.

        >>> TruthTube(7, np.array([[0.0, 1.0, 2.0, 3.0]])).boxes_by_frame()
        {7: (0.0, 1.0, 2.0, 3.0)}
        """
        return {
            frame: (x0, y0, x1, y1) for frame, (x0, y0, x1, y1) in enumerate(self.boxes_xyxy.tolist(), self.start_frame)
        }


@dataclass(frozen=True, eq=False)
class GroundingSample:
    """One query about one video, with the annotated tube where there is one.

    Attributes:
        sample_id: unique in its data set; the key in predictions and annotations of `stvg score`.
        dataset: name of the data set, as the user types it.
        video: path of the video relative to the root (the video root, where one is named), with "/".
        query: the sentence on one line.
        query_type: whether it states or asks; None where the data set does not say.
        frame_count: frames of the video, as the file says; None where it does not.
        fps: frames per second, as the file says; None where it does not.
        width: pixels of the picture; None where the file does not say.
        height: pixels of the picture; None where the file does not say.
        segment: first and last frame (0-based, inclusive) that the query is about; None: the whole video.
        frame_step: every how many-th source frame is counted; 1 but for thinned files. Frame n of
            segment and truth is source frame n * frame_step.
        truth: the annotated tube; None for queries without a published answer.
        provenance: where this was read.
    """

    sample_id: str
    dataset: str
    video: str
    query: str
    provenance: Provenance
    query_type: QueryType | None = None
    frame_count: int | None = None
    fps: float | None = None
    width: int | None = None
    height: int | None = None
    segment: tuple[int, int] | None = None
    frame_step: int = 1
    truth: TruthTube | None = None
