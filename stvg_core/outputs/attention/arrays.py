"""attention.npz: the arrays, plain numbers and texts that numpy reads without pickles."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from stvg_core.method.question_maps import QuestionAttentionMaps
from stvg_core.outputs.report.staging import own_errors
from stvg_core.outputs.report.text import clean_text
from stvg_core.plugin.adapter import PromptToken

AXES: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "rows": (("token", "cell"), "softmax shares of each prompt token over the visual tokens, mean of layers and heads"),
    "relative_rows": (("token", "cell"), "rows over those of the neutral question (mode relative alone)"),
    "neutral_rows": (
        ("neutral_token", "cell"),
        "softmax shares of the neutral question's tokens (mode relative alone)",
    ),
    "maps": (("frame", "row", "column"), "mean of the chosen tokens' rows (relative_rows in mode relative)"),
    "cell_time_step": (("cell",), "token grid along time that a visual token belongs to"),
    "cell_frame": (("cell",), "first sampled frame that it shows, index into the axis frame"),
    "cell_last_frame": (("cell",), "last sampled frame that it shows; another one where a token covers two frames"),
    "cell_row": (("cell",), "row in its grid"),
    "cell_column": (("cell",), "column in its grid"),
    "cell_box_xyxy": (("cell", "xyxy"), "its part of the picture, pixels of the video as displayed"),
    "frame_index": (("frame",), "0-based source frame number of each sampled frame"),
    "frame_seconds": (("frame",), "presentation time of each sampled frame"),
    "frame_time_step": (("frame",), "token grid along time that shows the frame"),
    "frame_share": (("frame",), "share of the chosen tokens' attention that goes to the frame"),
    "frame_peak": (("frame",), "largest value of the frame's map"),
    "token_text": (("token",), "as the tokenizer writes it"),
    "token_id": (("token",), "in the tokenizer's vocabulary; -1 where the backend does not say"),
    "token_kind": (("token",), "word, punctuation (the question's last) or role (the template after it)"),
    "token_chosen": (("token",), "whether its row is in the maps"),
    "token_share": (("token",), "share of its attention that goes to the video"),
    "token_frame_share": (("token", "frame"), "share of its attention that goes to each sampled frame"),
    "neutral_token_text": (("neutral_token",), "the neutral question's tokens (mode relative alone)"),
    "neutral_token_id": (("neutral_token",), "their ids (mode relative alone)"),
    "layer": (("layer",), "0-based decoder layers that were averaged"),
    "video_size": (("xy",), "width and height of the video as displayed, pixels"),
}
"""Every array: its axes, and what a number in it is."""
_LONGEST_TOKEN: Final = 200


def reading_arrays(reading: QuestionAttentionMaps) -> dict[str, np.ndarray]:
    """Return the arrays of a reading by name; AXES says what they are."""
    steps, rows, columns = reading.cell_places().T
    frames_of_step = [
        [frame for frame, step in enumerate(reading.layout.time_step_of_frame) if step == time_step]
        for time_step in range(reading.layout.time_steps)
    ]
    first = np.array([frames[0] for frames in frames_of_step], dtype=np.int64)
    last = np.array([frames[-1] for frames in frames_of_step], dtype=np.int64)
    chosen = np.zeros(len(reading.tokens), dtype=bool)
    chosen[list(reading.chosen)] = True
    info = reading.frames.info
    arrays = {
        "rows": reading.rows,
        "maps": reading.maps.values,
        "cell_time_step": steps,
        "cell_frame": first[steps],
        "cell_last_frame": last[steps],
        "cell_row": rows,
        "cell_column": columns,
        "cell_box_xyxy": reading.grid_boxes_xyxy()[rows, columns],
        "frame_index": reading.frames.indices,
        "frame_seconds": reading.frames.seconds,
        "frame_time_step": np.array(reading.layout.time_step_of_frame, dtype=np.int64),
        "frame_share": reading.frame_shares,
        "frame_peak": reading.frame_peaks,
        "token_text": _texts(reading.tokens),
        "token_id": _ids(reading.tokens),
        "token_kind": np.array([token.kind for token in reading.tokens]),
        "token_chosen": chosen,
        "token_share": reading.token_shares,
        "token_frame_share": reading.token_frame_shares,
        "layer": np.array(reading.layers, dtype=np.int64),
        "video_size": np.array([info.width, info.height], dtype=np.int64),
    }
    if reading.relative is not None:
        arrays |= {
            "relative_rows": reading.relative,
            "neutral_rows": reading.neutral_rows,
            "neutral_token_text": _texts(reading.neutral_tokens),
            "neutral_token_id": _ids(reading.neutral_tokens),
        }
    return arrays


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as a compressed .npz file without pickles.

    Raises:
        OutputError: the file cannot be written.
    """
    with own_errors(path):
        # numpy's stub takes the arrays' names for its own keyword, allow_pickle.
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def _texts(tokens: Sequence[PromptToken]) -> np.ndarray:
    return np.array([shown_token(token) for token in tokens], dtype=np.str_)


def shown_token(token: PromptToken) -> str:
    r"""Return a token's text on one line; a line feed of the template stays visible as an escape.

    >>> shown_token(PromptToken("\n", "role"))
    '\\n'
    """
    visible = token.text.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
    return clean_text(visible, _LONGEST_TOKEN)


def _ids(tokens: Sequence[PromptToken]) -> np.ndarray:
    return np.array([-1 if token.id is None else token.id for token in tokens], dtype=np.int64)
