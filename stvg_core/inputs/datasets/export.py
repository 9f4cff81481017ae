"""A data set as the annotations of `stvg score`: one JSON object keyed by sample id."""

import json
from collections.abc import Iterable
from io import TextIOBase
from typing import Any

from stvg_core.inputs.datasets.samples import GroundingSample


def annotation(sample: GroundingSample) -> dict[str, Any] | None:
    """Return a sample as `stvg score` reads it: frames from 0, both ends included; None without a tube."""
    if sample.truth is None or sample.frame_count is None:
        return None
    record: dict[str, Any] = {
        "num_frames": sample.frame_count,
        "start_frame": sample.truth.start_frame,
        "end_frame": sample.truth.end_frame,
        "boxes": {str(frame): list(box) for frame, box in sample.truth.boxes_by_frame().items()},
    }
    return record if sample.query_type is None else record | {"query_type": sample.query_type}


def write_annotations(samples: Iterable[GroundingSample], stream: TextIOBase) -> int:
    """Write annotations one by one, so that memory does not grow with the data set.

    Returns:
        How many samples were written; those without a tube are not.
    """
    count = 0
    stream.write("{")
    for sample in samples:
        record = annotation(sample)
        if record is not None:
            stream.write(",\n" if count else "\n")
            stream.write(f"{json.dumps(sample.sample_id)}: {json.dumps(record)}")
            count += 1
    stream.write("\n}\n")
    return count
