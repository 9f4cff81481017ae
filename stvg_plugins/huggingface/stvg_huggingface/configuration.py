"""A checkpoint's config.json: which architecture it is, and whether the method can run on it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from transformers import AutoConfig, PreTrainedConfig

from stvg_core.errors import ModelError
from stvg_core.plugin.model_reference import ModelReference
from stvg_huggingface.damage import DAMAGE, download_again, one_line

_FULL: Final = "full_attention"
_SLIDING: Final = "sliding_attention"


def load_config(reference: ModelReference, folder: Path, architectures: Sequence[str]) -> PreTrainedConfig:
    """Return the configuration in a checkpoint's folder.

    Raises:
        ModelError: it is damaged, of another architecture, or its layers do not attend to everything before them.
    """
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    except DAMAGE as error:
        raise ModelError(
            f"cannot read config.json in {folder} ({one_line(error)}); {download_again(reference, damaged=True)}"
        ) from error
    found = tuple(config.architectures or ())
    if not set(found) & set(architectures):
        raise ModelError(
            f"expected a checkpoint of {' or '.join(architectures)}, {reference.id} is "
            f"{', '.join(found) or 'unnamed'}; "
            "`stvg plugins` lists which backend reads which architecture"
        )
    if getattr(config, "transformers_weights", None) is not None:
        raise ModelError(
            f"expected weights under transformers' own file names in {reference.id}, config.json names "
            f"{config.transformers_weights!r}; remove transformers_weights from it and rename the file"
        )
    refuse_windows(reference, config.get_text_config())
    return config


def refuse_windows(reference: ModelReference, text: PreTrainedConfig) -> None:
    """Refuse layers that see a part of the sequence only: the packed pass's own mask shows all of it.

    A window over the whole context hides nothing and passes.

    Raises:
        ModelError: a layer attends within a shorter window, or in chunks.
    """
    window: Any = getattr(text, "sliding_window", None)
    kinds = set(getattr(text, "layer_types", None) or ())
    if not kinds and window is not None and getattr(text, "use_sliding_window", True):
        kinds = {_SLIDING}
    longest: Any = getattr(text, "max_position_embeddings", None)
    if isinstance(window, int) and isinstance(longest, int) and window >= longest:
        kinds.discard(_SLIDING)
    partial = sorted(kinds - {_FULL})
    if partial:
        raise ModelError(
            f"expected full attention in every layer of {reference.id}, it has {', '.join(partial)} "
            f"(sliding_window {window}, max_position_embeddings {longest}); use another checkpoint"
        )
