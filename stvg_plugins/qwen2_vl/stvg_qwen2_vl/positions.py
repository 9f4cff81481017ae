"""Three-axis rotary positions (mRoPE) of a prompt with one video.

Text counts on all three axes alike; visual tokens stand at (time, row, column) behind the text
before them. Where text resumes is in dispute: the family's own code goes on one behind the
largest visual position, transformers 5.x at the start plus the longer side of the grid
(measured: they differ as soon as time outgrows the sides). The authors' research code hands
the model embeddings without ids and grid, and so gets 0, 1, 2, ... on every axis for text
and visual tokens alike (transformers 4.49). This module knows no model.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from stvg_core.errors import TokenLayoutError
from stvg_core.values import TokenLayout


@dataclass(frozen=True)
class MultimodalPositions:
    """Positions of a prompt with one video of a known layout.

    Attributes:
        layout: the video's token grid; its tokens stand side by side.
        interval: time positions per time step (1 in Qwen2-VL; tokens per second times seconds
            per step in Qwen2.5-VL), rounded down after multiplication.
        rule: where the text after the video resumes; sequential: every token one behind the token before it.
    """

    layout: TokenLayout
    interval: float
    rule: Literal["original", "transformers", "sequential"]

    def __call__(self, visual: Bool[Tensor, " token"]) -> Int[Tensor, "axis=3 token"]:
        """Return (time, row, column) positions of every token.

        Raises:
            TokenLayoutError: the visual tokens are not one block of the layout's size.

        >>> rule = MultimodalPositions(TokenLayout(2, 1, 2, (0, 1)), 3.0, "original")
        >>> rule(torch.tensor([False, True, True, True, True, False])).tolist()
        [[0, 1, 1, 4, 4, 5], [0, 1, 1, 1, 1, 5], [0, 1, 2, 1, 2, 5]]
        """
        places = visual.nonzero()[:, 0]
        count = self.layout.cell_count
        if places.numel() != count or int(places[-1]) - int(places[0]) != count - 1:
            raise TokenLayoutError(f"expected {count} visual tokens side by side, got {places.numel()}")
        if self.rule == "sequential":
            return torch.arange(visual.numel(), device=visual.device).expand(3, -1)
        start, after = int(places[0]), visual.numel() - int(places[-1]) - 1
        device = visual.device
        times = (torch.arange(self.layout.time_steps, device=device) * self.interval).long()
        grid = torch.meshgrid(
            times,
            torch.arange(self.layout.rows, device=device),
            torch.arange(self.layout.columns, device=device),
            indexing="ij",
        )
        video = torch.stack(grid).flatten(1) + start
        longer_side = max(self.layout.rows, self.layout.columns)
        resume = int(video.max()) + 1 if self.rule == "original" else start + longer_side
        before = torch.arange(start, device=device).expand(3, -1)
        behind = torch.arange(resume, resume + after, device=device).expand(3, -1)
        return torch.cat([before, video, behind], dim=1)
