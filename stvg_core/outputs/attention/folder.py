"""The output folder of `stvg attend`: document, arrays and pictures, all of them or nothing."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import UInt8

from stvg_core.method.question_maps import QuestionAttentionMaps
from stvg_core.outputs.attention.arrays import reading_arrays, write_arrays
from stvg_core.outputs.attention.curves import draw_curves
from stvg_core.outputs.attention.document import AttentionDocument
from stvg_core.outputs.attention.overlay import write_attention_video
from stvg_core.outputs.attention.sheets import write_sheets
from stvg_core.outputs.report.document import write_document
from stvg_core.outputs.report.staging import staged_files

DOCUMENT_FILE: Final = "attention.json"
ARRAYS_FILE: Final = "attention.npz"
VIDEO_FILE: Final = "attention.mp4"


def write_attention_folder(
    folder: Path,
    reading: QuestionAttentionMaps,
    document: AttentionDocument,
    pictures: Iterable[tuple[int, UInt8[np.ndarray, "height width 3"]]],
) -> tuple[str, ...]:
    """Write the files and return their names; curves are among them where matplotlib is installed.

    Args:
        folder: made where it is missing; other files in it stay.
        reading: what was looked at.
        document: the same as JSON, with model and settings.
        pictures: source frame number and RGB picture as displayed, of the whole video in display order; taken one
            at a time.

    Raises:
        OutputError: the folder is a file or cannot be written to; nothing is left behind.
        VideoError: the pictures do not fit the video; nothing is left behind.
    """
    with staged_files(folder) as stage:
        write_document(stage / DOCUMENT_FILE, document)
        write_arrays(stage / ARRAYS_FILE, reading_arrays(reading))
        write_attention_video(stage / VIDEO_FILE, pictures, reading)
        names = (DOCUMENT_FILE, ARRAYS_FILE, VIDEO_FILE, *write_sheets(stage, reading))
        try:
            names += draw_curves(reading, stage)
        except ImportError:
            return names
    return names
