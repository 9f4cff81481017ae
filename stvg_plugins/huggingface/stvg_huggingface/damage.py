"""How a checkpoint that cannot be read is told: what transformers raises, in one line, with the cure."""

from typing import Final

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from stvg_core._internal import plain_text
from stvg_core.host.hub import download_command
from stvg_core.plugin.model_reference import ModelReference

DAMAGE: Final = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    RuntimeError,
    ImportError,
    SafetensorError,
    StrictDataclassError,
)
"""What transformers raises on a missing, damaged or foreign checkpoint."""

_SHOWN_CHARACTERS: Final = 300


def one_line(error: BaseException) -> str:
    """Return an error's message on one line without control characters, cut where it is long.

    >>> one_line(ValueError("two   words"))
    'two words'
    >>> one_line(KeyError())
    'KeyError'
    """
    return plain_text.one_line(str(error), _SHOWN_CHARACTERS) or type(error).__name__


def download_again(reference: ModelReference, *, damaged: bool = False) -> str:
    """Return what mends a damaged or incomplete checkpoint.

    >>> download_again(ModelReference("org/model", revision="v2"))
    'run `hf download org/model --revision v2`'
    """
    if reference.folder is not None:
        return f"download the checkpoint in {reference.folder} again"
    # What is there already is not fetched a second time, unless it is asked for.
    return f"run `{download_command(reference.id, reference.revision, again=damaged)}`"
