"""Temporally assembled spatial attention (TAS): the reversed view, and the sum of both views.

Paper section 3.4. The reversed view itself comes from the hook `stvg_augment_frames`.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from stvg_core.plugin.reference import flip_time
from stvg_core.values import FrameMaps

__all__ = ["assemble", "flip_time"]


def assemble(views: Sequence[FrameMaps], combine: Literal["sum", "product"] = "sum") -> FrameMaps:
    """Return several views' maps, each already in source order, as one.

    Released research code: A = A_rel + flip(A_rel of the reversed view), a plain sum. Ours, `product`: their
    geometric mean, which keeps what all views attend to.

    >>> views = [FrameMaps(np.array([[[1.0, 8.0]]])), FrameMaps(np.array([[[4.0, 0.0]]]))]
    >>> assemble(views).values.tolist(), assemble(views, "product").values.tolist()
    ([[[5.0, 8.0]]], [[[2.0, 0.0]]])
    """
    if combine == "product":
        values = np.prod([view.values for view in views], axis=0) ** (1 / len(views))
    else:
        values = views[0].values
        for view in views[1:]:
            values = values + view.values
    return FrameMaps(values, tuple(token for view in views for token in view.grounding_tokens))
