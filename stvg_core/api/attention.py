"""`attend`: the Python API of `stvg attend`, of the same shape as `ground`.

from stvg_core import attend
result = attend("clip.mp4", "What colour is the circle?", model="tiny:qwen2-vl")
result.attention.maps.values, result.save("output")
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from stvg_core.api.grounder import installed_versions, loaded_as, lost_frames, open_for, wrapped_in
from stvg_core.host.session import Session
from stvg_core.host.tracing import HookCall
from stvg_core.host.wrappers import HookExtension
from stvg_core.inputs.query.sentence import clean_sentence
from stvg_core.inputs.video import iterate_frames, read_frames
from stvg_core.method.pipeline import Pipeline
from stvg_core.method.question_maps import Mode, QuestionAttentionMaps, compute_question_maps
from stvg_core.method.selection import GROUNDING, LayerSelection, TokenSelection
from stvg_core.method.stages import Stopwatch
from stvg_core.outputs.attention.document import AttentionDocument, build_attention_document
from stvg_core.outputs.attention.folder import write_attention_folder
from stvg_core.outputs.report.document import ModelIdentity
from stvg_core.plugin.model_reference import LoadOptions
from stvg_core.settings import Settings
from stvg_core.values import Frames

_SETTING_OF_MODE: Final[Mapping[Mode, str]] = {"relative": "ratio", "raw": "raw"}


@dataclass(frozen=True, eq=False)
class AttentionResult:
    """Attention maps of one question, and their JSON document (schema version 1)."""

    attention: QuestionAttentionMaps
    document: AttentionDocument

    def save(self, folder: str | Path) -> tuple[str, ...]:
        """Write document, arrays and images; all of them, or nothing.

        Args:
            folder: made where it is missing; other files in it stay.

        Returns:
            Names of the files. The curves are drawn where matplotlib is installed.

        Raises:
            OutputError: the folder cannot be written.
            VideoError: the video can no longer be read.
        """
        info = self.attention.frames.info
        images = iterate_frames(info.path, info, 0, info.frame_count - 1)
        return write_attention_folder(Path(folder), self.attention, self.document, images)


def attend(
    video: str | Path,
    question: str,
    *,
    model: str | Session,
    tokens: str | TokenSelection = GROUNDING,
    layers: str | LayerSelection | None = None,
    mode: Mode | None = None,
    preset: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    options: LoadOptions | None = None,
    revision: str | None = None,
    backend: str | None = None,
    extensions: Sequence[str | HookExtension] = (),
    trace: Callable[[HookCall], None] | None = None,
    on_stage: Callable[[str], None] | None = None,
) -> AttentionResult:
    """Return where a model attends in a video when it gets a question, any question.

    The question is asked as it is, within the model's chat template, without visual prompts and without the reversed
    view. Settings of sampling, input, relative attention and the spatial branch's tokens and layers apply.

    Args:
        video: a local file.
        question: any text without special tokens of the model.
        model: a named checkpoint, a folder, a hub id, or an opened session (kept open).
        tokens: whose rows make the maps; see `TokenSelection`. The result has the rows of all tokens.
        layers: which decoder layers are averaged; see `LayerSelection`. None: those of the settings.
        mode: raw shares, or relative to the neutral question; None: as the settings say.
        preset: "paper", "released" or "calibrated"; None: calibrated where the checkpoint carries it, else paper.
        overrides: dotted setting names to values, such as {"sampling.frame_count": 8}.
        options: device, dtype and the rest of how the model is loaded; for an opened session as it was opened.
        revision: branch, tag or commit of a hub id.
        backend: which backend to use where several would do.
        extensions: names of installed extensions that wrap the backend's hooks, the outermost first.
        trace: called with every hook call, in shapes and types.
        on_stage: called with the name of each stage when it begins.

    Raises:
        StvgError: what was expected, what came, and the cure.
    """
    watch = Stopwatch(on_stage)
    # Check the arguments before a model is loaded.
    token_choice = TokenSelection(tokens) if isinstance(tokens, str) else tokens
    layer_choice = LayerSelection(layers) if isinstance(layers, str) else layers
    wording = clean_sentence(question)
    settings, frames, session = open_for(
        video,
        model,
        _whole_video,
        watch,
        preset=preset,
        overrides=dict(overrides or {}) | ({} if mode is None else {"relative.mode": _SETTING_OF_MODE[mode]}),
        options=options,
        revision=revision,
        backend=backend,
        extensions=extensions,
        trace=trace,
    )
    layer_count = session.adapter.description.layer_count
    numbers = (layer_choice or settings.spatial.layers).layers(layer_count)
    attention = compute_question_maps(Pipeline(session, settings, watch=watch), frames, wording, numbers, token_choice)
    recorded = settings.model_dump(mode="json", include={"preset", "sampling", "input", "relative", "spatial"})
    document = build_attention_document(
        attention,
        token_choice.text,
        layer_count,
        ModelIdentity(**asdict(session.identity)),
        recorded | {"load": loaded_as(session) | {"revision": revision}, "extensions": wrapped_in(session)},
        watch.seconds,
        installed_versions(session.identity.distribution, *(one.distribution for one in session.extensions)),
        lost_frames(frames, settings),
    )
    return AttentionResult(attention, document)


def _whole_video(video: str | Path, settings: Settings) -> Frames:
    """Sample the whole video, also where a grounding would go through it window by window."""
    return read_frames(video, settings.sampling, maximum_side_pixels=settings.sampling.maximum_side_pixels)
