"""What a multimodal LLM looks at while it is asked something: the capture hook, shown.

`attend` reads the attention of a question's tokens on a video's frames, whatever is asked and whichever
backend runs the model; nothing is tuned and no track is scored. The result is arrays, a JSON document
and pictures (docs/attend.md).
"""

from stvg_core.attending.asking import AttentionResult, attend
from stvg_core.attending.reading import AttentionReading
from stvg_core.attending.selection import LayerSelection, TokenSelection

__all__ = ["AttentionReading", "AttentionResult", "LayerSelection", "TokenSelection", "attend"]
