"""`python -m stvg_tiny.evaluate FOLDER`: yes/no accuracy of a saved checkpoint.

It asks one question at a time through the ordinary transformers forward pass, on fp32 copies of
the saved weights, and shares no code with the packed forward pass that training uses. An answer is
right if the true word (`yes` or `no`) is the most likely of the whole vocabulary.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen2VLForConditionalGeneration

from stvg_tiny.accuracy import Accuracy, held_out_questions, summarize
from stvg_tiny.architectures import VideoGrid
from stvg_tiny.errors import CheckpointError, TinyError
from stvg_tiny.pixels import normalized_patches, patch_grid, rotary_positions
from stvg_tiny.questions import Question
from stvg_tiny.rendering import render
from stvg_tiny.sampling import Split
from stvg_tiny.scenes import Difficulty, frame_times
from stvg_tiny.tokenizer import VIDEO_PAD, token_id

_SPLITS: Final = {"development": Split.DEVELOPMENT, "test": Split.TEST}


def load_checkpoint(
    folder: Path,
) -> tuple[Qwen2VLForConditionalGeneration, PreTrainedTokenizerFast]:
    """Load a checkpoint's model (as fp32, ready for inference) and tokenizer.

    Raises:
        CheckpointError: If the folder holds no checkpoint.
    """
    if not (folder / "config.json").exists():
        raise CheckpointError(f"expected a checkpoint folder, but {folder} has no config.json")
    model = Qwen2VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    model.train(False)
    return model, tokenizer


def prompt_ids(tokenizer: PreTrainedTokenizerFast, text: str, visual_tokens: int) -> list[int]:
    """Return the token ids of one question about a video, through the chat template."""
    turn: dict[str, Any] = {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": text}]}
    rendered = tokenizer.apply_chat_template([turn], tokenize=False, add_generation_prompt=True)
    expanded = str(rendered).replace(VIDEO_PAD, VIDEO_PAD * visual_tokens)
    ids: list[int] = tokenizer(expanded, add_special_tokens=False)["input_ids"]
    return ids


@torch.no_grad()
def next_token_logits(
    model: Qwen2VLForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    patches: Float[Tensor, "patch value"],
    text: str,
    grid: VideoGrid,
) -> Float[Tensor, " word"]:
    """Return the logits of the first word of the answer to one question about one video."""
    ids = torch.tensor(prompt_ids(tokenizer, text, grid.visual_tokens))
    visual = ids.eq(token_id(tokenizer, VIDEO_PAD))
    before = int(visual.nonzero()[0, 0])
    positions = rotary_positions(before, grid, len(ids) - before - grid.visual_tokens)
    video_type = 2
    output = model(
        input_ids=ids[None],
        attention_mask=torch.ones_like(ids)[None],
        position_ids=positions[:, None],
        pixel_values_videos=patches,
        video_grid_thw=patch_grid(1, grid),
        mm_token_type_ids=video_type * visual[None].int(),
        use_cache=False,
    )
    return torch.as_tensor(output.logits[0, -1])


def evaluate(folder: Path, split: Split, difficulty: Difficulty, scenes: int) -> dict[str, Any]:
    """Return the accuracies of a checkpoint and the number of questions behind each."""
    model, tokenizer = load_checkpoint(folder)
    grid = VideoGrid()
    outcomes: list[tuple[Question, bool]] = []
    for index in range(scenes):
        scene, questions = held_out_questions(split, index, difficulty)
        frames = render(scene, frame_times(grid.frame_count), grid.size_pixels)
        patches = normalized_patches(torch.from_numpy(frames)[None], grid)
        for question in questions:
            logits = next_token_logits(model, tokenizer, patches, question.text, grid)
            answer = tokenizer.convert_ids_to_tokens(int(logits.argmax()))
            outcomes.append((question, answer == question.answer))
    accuracy = summarize(outcomes)
    counts = dict.fromkeys(accuracy, 0)
    for question, _ in outcomes:
        counts[question.kind] += 1
        counts[f"{question.kind}_{question.answer}"] += 1
    return {
        "split": split.name.lower(),
        "difficulty": difficulty,
        "scenes": scenes,
        "accuracy": accuracy,
        "questions": counts,
    }


def _table(accuracy: Accuracy) -> str:
    """Lay the accuracies out as a Markdown table."""
    rows = ["| kind | all | yes | no |", "|---|---|---|---|"]
    for kind in (name for name in accuracy if f"{name}_yes" in accuracy):
        values = (accuracy[kind], accuracy[f"{kind}_yes"], accuracy.get(f"{kind}_no", float("nan")))
        rows.append(f"| {kind} | " + " | ".join(f"{value:.3f}" for value in values) + " |")
    return "\n".join(rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m stvg_tiny.evaluate", description="Yes/no accuracy of a tiny checkpoint."
    )
    parser.add_argument("checkpoint", type=Path, help="folder of the checkpoint")
    parser.add_argument("--split", choices=sorted(_SPLITS), default="test")
    parser.add_argument("--difficulty", choices=get_args(Difficulty), default="hard")
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    try:
        result = evaluate(options.checkpoint, _SPLITS[options.split], options.difficulty, options.scenes)
    except TinyError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    text = json.dumps(result, indent=2) if options.json else _table(result["accuracy"])
    sys.stdout.write(f"{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
