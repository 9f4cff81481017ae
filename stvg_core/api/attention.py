"""`attend`: the Python API of `stvg attend`, of the same shape as `ground`.

from stvg_core import attend
result = attend("clip.mp4", "What colour is the circle?", model="tiny:qwen2-vl")
result.reading.maps.values, result.save("output")
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Unpack

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from stvg_core._internal.determinism import deterministic_algorithms
from stvg_core.api.grounder import Opening, installed_versions, loaded_as, lost_frames, wrapped_in
from stvg_core.api.run_spec import RunOptions, RunSpec
from stvg_core.host.session import Session
from stvg_core.host.tracing import HookCall
from stvg_core.inputs.query.sentence import clean_sentence
from stvg_core.inputs.video import iterate_frames, read_frames
from stvg_core.method.attention import frame_maps, relative_rows
from stvg_core.method.question_maps import AttentionReading, Mode
from stvg_core.method.selection import GROUNDING, LayerSelection, TokenSelection
from stvg_core.method.stages import Stopwatch, device_stage
from stvg_core.outputs.attention.document import AttentionDocument, build_attention_document
from stvg_core.outputs.attention.folder import write_attention_folder
from stvg_core.outputs.report.document import ModelIdentity
from stvg_core.plugin.adapter import AttentionRequest
from stvg_core.settings import Settings
from stvg_core.values import Frames

_SETTING_OF_MODE: Final[Mapping[Mode, str]] = {"relative": "ratio", "raw": "raw"}


@dataclass(frozen=True, eq=False)
class AttentionResult:
    """What a model looked at, and its JSON document (schema version 1)."""

    reading: AttentionReading
    document: AttentionDocument

    def save(self, folder: str | Path) -> tuple[str, ...]:
        """Write document, arrays and pictures; all of them, or nothing.

        Args:
            folder: made where it is missing; other files in it stay.

        Returns:
            Names of the files. The curves are drawn where matplotlib is installed.

        Raises:
            OutputError: the folder cannot be written.
            VideoError: the video can no longer be read.
        """
        info = self.reading.frames.info
        pictures = iterate_frames(info.path, info, 0, info.frame_count - 1)
        return write_attention_folder(Path(folder), self.reading, self.document, pictures)


def attend(
    video: str | Path,
    question: str,
    *,
    model: str | RunSpec | Session,
    tokens: str | TokenSelection = GROUNDING,
    layers: str | LayerSelection | None = None,
    mode: Mode | None = None,
    trace: Callable[[HookCall], None] | None = None,
    on_stage: Callable[[str], None] | None = None,
    **options: Unpack[RunOptions],
) -> AttentionResult:
    """Return what a model looks at in a video while it is asked a question, any question.

    The question is asked as it is, within the model's chat template; no visual prompt is learned, and the video is
    seen in its own order alone. Settings of sampling, input, relative attention and the spatial branch's tokens and
    layers apply.

    Args:
        video: a local file.
        question: any text; a model's own markers are refused.
        model: a named checkpoint, a folder, or a hub id; a RunSpec; or an opened session, which stays open.
        tokens: whose rows make the maps; see `TokenSelection`. Every token's row is in the result.
        layers: which decoder layers are averaged; see `LayerSelection`. None: those of the settings.
        mode: raw shares, or relative to the neutral question; None: as the settings say.
        trace: called with every hook call, in shapes and types.
        on_stage: called with the name of each stage as it begins.
        **options: fields of RunSpec and of LoadOptions, as `load` takes them.

    Raises:
        StvgError: what was expected, what came, and the cure.
    """
    watch = Stopwatch(on_stage)
    # Whatever can be wrong with the arguments is an error before a model is loaded.
    token_choice = TokenSelection(tokens) if isinstance(tokens, str) else tokens
    layer_choice = LayerSelection(layers) if isinstance(layers, str) else layers
    wording = clean_sentence(question)
    opening = Opening.of(model, None, options, trace)
    settings, revision = opening.settings, opening.revision
    if mode is not None:
        relative = settings.relative.model_copy(update={"mode": _SETTING_OF_MODE[mode]})
        settings = settings.model_copy(update={"relative": relative})
    with watch.stage("video"):
        frames = read_frames(video, settings.sampling, maximum_side_pixels=settings.sampling.maximum_side_pixels)
    with watch.stage("load"):
        session = opening.session()
    layer_count = session.adapter.description.layer_count
    numbers = (layer_choice or settings.spatial.layers).layers(layer_count)
    with deterministic_algorithms(session.options.deterministic):
        reading = read_attention(frames, wording, session, settings, numbers, token_choice, watch)
    recorded = settings.model_dump(mode="json", include={"preset", "sampling", "input", "relative", "spatial"})
    document = build_attention_document(
        reading,
        token_choice.text,
        layer_count,
        ModelIdentity(**asdict(session.identity)),
        recorded | {"load": loaded_as(session) | {"revision": revision}, "extensions": wrapped_in(session)},
        watch.seconds,
        installed_versions(session.identity.distribution, *(one.distribution for one in session.extensions)),
        lost_frames(frames, settings),
    )
    return AttentionResult(reading, document)


def read_attention(
    frames: Frames,
    question: str,
    session: Session,
    settings: Settings,
    layers: tuple[int, ...],
    tokens: TokenSelection,
    watch: Stopwatch,
) -> AttentionReading:
    """Return the attention of one question on sampled frames, through the backend's capture hook.

    Args:
        frames: what the model sees.
        question: asked as it is.
        session: the opened backend.
        settings: `input`, `relative` and the spatial branch's token rule matter here.
        layers: 0-based decoder layers to average.
        tokens: whose rows make the maps.
        watch: collects the time per stage.

    Raises:
        UsageError: the prompt has no such token.
        DeviceMemoryError: the device is too small for these frames.
    """
    with device_stage(watch, "encode", f"{len(frames)} frames"):
        clip = session.adapter.encode(frames, settings.input, tuple(range(len(frames))))
    relative = settings.relative
    wanted = [question] if relative.mode == "raw" else [question, relative.neutral_question]
    with device_stage(watch, "attention", f"{len(frames)} frames as {clip.layout.cell_count} visual tokens"):
        questions = tuple(dict.fromkeys(wanted))
        captured = session.capture_attention(AttentionRequest(clip, questions, None, layers))
        own, neutral = captured[0], captured[-1]
        shown = relative_rows(own, neutral, relative)
        chosen = tokens.positions(
            own.tokens, lambda: session.select_grounding_tokens(own, shown, settings.spatial.tokens)
        )
        maps = frame_maps(clip, own, shown, chosen)
    raw = relative.mode == "raw"
    return AttentionReading(
        frames=frames,
        layout=clip.layout,
        question=question,
        tokens=own.tokens,
        chosen=chosen,
        layers=layers,
        mode="raw" if raw else "relative",
        rows=_numbers(own.rows),
        relative=None if raw else _numbers(shown),
        neutral_question="" if raw else relative.neutral_question,
        neutral_tokens=() if raw else neutral.tokens,
        neutral_rows=_numbers(neutral.rows[:0] if raw else neutral.rows),
        maps=maps,
    )


def _numbers(rows: Float[Tensor, "token cell"]) -> Float32[np.ndarray, "token cell"]:
    return np.asarray(rows.detach().to(torch.float32).cpu().numpy())
