"""Operations of the method's gradient steps on published sizes, counted without weights, memory or a device.

    python -m benchmarks.method_cost.published_operations [--models llava-next-video-7b ...]

Every pass of preset `released` is counted on torch's meta device, where tensors have shapes and no
numbers. With the times that `published_sizes` wrote (--times published/times.json) and --rate, the card's
operations per second in matrix products, which it prints as well, the share of that rate is told.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.method_cost.measure import encode_sides
from benchmarks.method_cost.operations import count_operations
from benchmarks.method_cost.published_sizes import LEVELS, MODELS
from benchmarks.method_cost.report import BenchmarkRequest
from stvg_core.method.stages import Stopwatch
from stvg_core.plugin.adapter import AttentionRequest
from stvg_core.plugin.model_reference import LoadOptions
from stvg_core.settings import load_settings
from stvg_huggingface.testing.sessions import random_session

ATTRIBUTE = "the man in blue"
ACTION = "the man walks to the car and opens the door"
NEUTRAL = "please describe this video"
COLUMNS = (
    "model",
    "recompute",
    "visual tokens",
    "prompts, TFLOP",
    "attention, TFLOP",
    "share: prompts",
    "share: attention",
)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--levels", nargs="+", default=LEVELS)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--times", type=Path, help="times.json of benchmarks.method_cost.published_sizes")
    parser.add_argument("--rate", type=float, help="operations per second of the card's matrix products")
    arguments = parser.parse_args()
    times = json.loads(arguments.times.read_text(encoding="utf-8")) if arguments.times else {}
    sys.stdout.write(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|\n")
    for model in arguments.models:
        for level in arguments.levels:
            tokens, stages = counted(model, level, arguments.frames)
            found = times.get(f"{model} {level}", [None])[0]
            shares = [
                f"{operations / found['stage_seconds'][stage] / arguments.rate:.0%}" if found and arguments.rate else ""
                for stage, operations in stages.items()
            ]
            cells = [model, level, tokens, *(f"{operations / 1e12:.1f}" for operations in stages.values()), *shares]
            sys.stdout.write(f"| {' | '.join(map(str, cells))} |\n")
            sys.stdout.flush()


def counted(model: str, level: str, frame_count: int) -> tuple[int, dict[str, int]]:
    """Return a clip's visual tokens, and the operations of both stages.

    Args:
        model: a published size.
        level: of recomputation.
        frame_count: frames of the clip.
    """
    options = LoadOptions("cpu", recompute=level)
    # One layer with numbers is enough for a clip's layout and positions; the tokens' numbers do not matter.
    small = random_session(model, options, device=torch.device("cpu"), dtype=torch.bfloat16, layers=1)
    sides = encode_sides(small, BenchmarkRequest(model, options, frame_count))
    session = random_session(model, options, device=torch.device("meta"), dtype=torch.bfloat16)
    # A rotary embedding that stretches with the sequence would compare positions, which have no numbers here.
    adapter: Any = session.adapter
    adapter.checkpoint.language_model.rotary_emb.rope_type = "default"
    clip = replace(sides.clip, visual_tokens=sides.clip.visual_tokens.to("meta"))
    settings = load_settings("released", family=session.family)
    asked = [settings.question(part) for part in (ATTRIBUTE, ACTION)]
    layers = settings.spatial.layers.layers(session.adapter.description.layer_count)

    def step(questions: list[str], gradients: int) -> None:
        prompt = torch.zeros(clip.visual_tokens.shape, device="meta", requires_grad=True)
        margins = session.adapter.answer_logits(clip, questions, prompt).margins
        for number in range(gradients):
            torch.autograd.grad(margins[number] - margins[-1], prompt, retain_graph=number < gradients - 1)

    def prompts(_watch: Stopwatch) -> None:
        step([*asked, NEUTRAL], 2)
        for question in asked:
            step([question, NEUTRAL], 1)
        # The reversed view: the attribute's prompt alone.
        for _ in range(2):
            step([asked[0], NEUTRAL], 1)

    def attention(_watch: Stopwatch) -> None:
        for question in (*asked, asked[0]):
            session.adapter.attention_rows(AttentionRequest(clip, (question, NEUTRAL), None, layers))

    stages = {"prompts": prompts, "attention": attention}
    return clip.layout.cell_count, {name: count_operations(work)[0] for name, work in stages.items()}


if __name__ == "__main__":
    main()
