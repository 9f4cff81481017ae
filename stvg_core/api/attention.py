"""`attend`: the Python API of `stvg attend`, of the same shape as `ground`.

from stvg_core import attend
result = attend("clip.mp4", "What colour is the circle?", model="tiny:qwen2-vl")
result.attention.maps.values, result.save("output")
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Unpack

from stvg_core.api.grounder import Opening, installed_versions, loaded_as, lost_frames, wrapped_in
from stvg_core.api.run_spec import RunOptions, RunSpec
from stvg_core.errors import VideoError
from stvg_core.host.session import Session
from stvg_core.host.tracing import HookCall
from stvg_core.inputs.query.sentence import clean_sentence
from stvg_core.inputs.video import iterate_frames, read_frames
from stvg_core.method.pipeline import Pipeline
from stvg_core.method.question_maps import Mode, QuestionAttentionMaps, compute_question_maps
from stvg_core.method.selection import GROUNDING, LayerSelection, TokenSelection
from stvg_core.method.stages import Stopwatch
from stvg_core.outputs.attention.document import AttentionDocument, build_attention_document
from stvg_core.outputs.attention.folder import write_attention_folder
from stvg_core.outputs.report.document import ModelIdentity

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
    model: str | Path | RunSpec | Session,
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
        question: any text without special tokens of the model.
        model: a named checkpoint, a folder, or a hub id; a RunSpec; or an opened session, which stays open.
        tokens: whose rows make the maps; see `TokenSelection`. The result has the rows of all tokens.
        layers: which decoder layers are averaged; see `LayerSelection`. None: those of the settings.
        mode: raw shares, or relative to the neutral question; None: as the settings say.
        trace: called with every hook call, in shapes and types.
        on_stage: called with the name of each stage as it begins.
        **options: fields of RunSpec and of LoadOptions, as `load` takes them.

    Raises:
        StvgError: what was expected, what came, and the cure.
    """
    watch = Stopwatch(on_stage)
    # Check the arguments before a model is loaded.
    token_choice = TokenSelection(tokens) if isinstance(tokens, str) else tokens
    layer_choice = LayerSelection(layers) if isinstance(layers, str) else layers
    wording = clean_sentence(question)
    opening = Opening.of(model, None, options, trace)
    settings, revision = opening.settings, opening.revision
    if mode is not None:
        relative = settings.relative.model_copy(update={"mode": _SETTING_OF_MODE[mode]})
        settings = settings.model_copy(update={"relative": relative})
    if not isinstance(video, str | Path):
        raise VideoError(f"expected the path of a video file, got {type(video).__name__}; write it to a file first")
    with watch.stage("video"):
        frames = read_frames(video, settings.sampling, maximum_side_pixels=settings.sampling.maximum_side_pixels)
    with watch.stage("load"):
        session = opening.session()
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
