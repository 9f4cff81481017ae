"""What one step of a visual prompt does at different yes/no margins: norm of the prompt, and the margin it gives.

    python -m benchmarks.prompt_steps [--models llava-next-video qwen2-vl internvl] [--dtype float32]

Models have random weights of a middle size; the logit of yes is moved by a bias of the head until the question has
the wanted margin, which changes no gradient. A cell holds the norm of the prompt over that of the visual tokens, and
how far the margin moved; "refused" where the prompt does not fit the dtype.
"""

import argparse
import sys
from typing import Any

import numpy as np
import torch

from stvg_core.errors import SettingsError
from stvg_core.method.prompts import learn_prompts
from stvg_core.plugin import margin_loss
from stvg_core.plugin.adapter import AnswerLogits
from stvg_core.plugin.model_reference import LoadOptions
from stvg_core.settings import InputSettings, PromptSettings
from stvg_core.values import Frames, VideoInfo
from stvg_huggingface.testing.sessions import random_session

QUESTION = "Is there the man in blue in this video?"
MARGINS = (-12.0, -8.0, -4.0, 0.0, 4.0, 8.0, 12.0)
RULES = (
    PromptSettings(step_rule="raw", step_size=8.0),
    PromptSettings(step_rule="margin", step_size=8.0),
    PromptSettings(step_rule="normalized", step_size=0.01),
)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["llava-next-video", "qwen2-vl", "internvl"])
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--frames", type=int, default=8)
    arguments = parser.parse_args()
    sys.stdout.write(f"| model | step | {' | '.join(f'{margin:+.0f}' for margin in MARGINS)} |\n")
    sys.stdout.write("|---" * (len(MARGINS) + 2) + "|\n")
    for model in arguments.models:
        torch.manual_seed(0)
        dtype = getattr(torch, arguments.dtype)
        session = random_session(model, LoadOptions("cpu"), device=torch.device("cpu"), dtype=dtype)
        for settings in RULES:
            cells = [one_step(session.adapter, settings, margin, arguments.frames) for margin in MARGINS]
            sys.stdout.write(f"| {model} | {settings.step_rule}, {settings.step_size:g} | {' | '.join(cells)} |\n")


def one_step(adapter: Any, settings: PromptSettings, margin: float, frame_count: int) -> str:  # noqa: ANN401 - it is bent
    """Return a cell of the table."""
    info = VideoInfo("noise", 64, 64, 10.0, frame_count / 10, np.arange(frame_count) / 10)
    pixels = np.random.default_rng(0).integers(0, 255, (frame_count, 64, 64, 3), dtype=np.uint8)
    clip = adapter.encode(Frames(info, np.arange(frame_count), pixels), InputSettings(), tuple(range(frame_count)))
    head = adapter.checkpoint.model.get_output_embeddings()
    with torch.no_grad():
        own = float(adapter.answer_logits(clip, (QUESTION,), None).margins)

    def answer(prompt: torch.Tensor | None) -> AnswerLogits:
        logits: AnswerLogits = adapter.answer_logits(clip, (QUESTION,), prompt)
        return logits

    bias = torch.zeros(head.weight.shape[0], dtype=head.weight.dtype)
    bias[adapter.description.yes_id] = margin - own
    head.bias = torch.nn.Parameter(bias, requires_grad=False)
    try:
        (learned,) = learn_prompts(
            clip.visual_tokens,
            lambda prompt, _: (answer(prompt),),
            lambda logits: margin_loss(logits, settings),
            1,
            settings,
        )
        with torch.no_grad():
            after = float(answer(learned.applied).margins)
    except SettingsError:
        return "refused"
    finally:
        head.bias = None
    return f"{learned.norm_share:.2g}, {after - learned.margins[0]:+.2f}"


if __name__ == "__main__":
    main()
