"""How long a model takes from nothing to its first answer, stage by stage, each time in a process of its own.

    python -m benchmarks.cold_start --model llava-next-video-7b --folder random-7b [--device cuda]

Writes a published size with random weights into the folder where there is none (in the dtype that the
device gets). Prints a Markdown table; files are in the page cache. "through main memory": read there and moved
to the device afterwards, as is done where accelerate is not installed.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import patch

import torch

STAGES = ("imports", "load", "encode 20 frames", "first answers", "second answers")
QUESTIONS = ("Is there the man in blue in this video?", "please describe this video")


def main() -> None:
    """Print the table, or the one run of a child process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="llava-next-video-7b")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--child", choices=("straight", "through main memory"))
    arguments = parser.parse_args()
    if arguments.child:
        sys.stdout.write(json.dumps(one_start(arguments.folder, arguments.device, arguments.child)) + "\n")
        return
    if not (arguments.folder / "config.json").is_file():
        write_model(arguments.model, arguments.folder)
    size = sum(path.stat().st_size for path in arguments.folder.glob("*.safetensors"))
    lines = [f"{arguments.model}, {size / 1e9:.1f} GB of weights", ""]
    lines += [f"| weights | {' | '.join(STAGES)} |", "|---" * (len(STAGES) + 1) + "|"]
    for way in ("straight", "through main memory"):
        command = [sys.executable, "-m", "benchmarks.cold_start", "--folder", str(arguments.folder)]
        command += ["--device", arguments.device, "--child", way]
        runs = []
        for _ in range(arguments.runs):
            done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
            runs.append(json.loads(done.stdout.splitlines()[-1]))
        lines.append(f"| {way} | {' | '.join(f'{min(run[stage] for run in runs):.2f}' for stage in STAGES)} |")
    sys.stdout.write("\n".join(lines) + "\n")


def write_model(name: str, folder: Path) -> None:
    """Write a published size with random weights, in the hub's layout."""
    from stvg_core.plugin.model_reference import LoadOptions
    from stvg_huggingface.testing.sessions import random_session

    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    dtype = torch.bfloat16 if cuda else torch.float32
    session = random_session(name, LoadOptions(device.type), device=device, dtype=dtype)
    checkpoint = session.adapter.checkpoint
    checkpoint.model.save_pretrained(folder, max_shard_size="5GB")
    checkpoint.tokenizer.save_pretrained(folder)


def one_start(folder: Path, device: str, way: str) -> dict[str, float]:
    """Return seconds of each stage in this process."""
    seconds: dict[str, float] = {}
    last = time.perf_counter()

    def done(stage: str) -> None:
        nonlocal last
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        seconds[stage] = now - last
        last = now

    from benchmarks.method_cost.measure import noise
    from stvg_core.host.session import open_session
    from stvg_core.plugin.model_reference import LoadOptions
    from stvg_core.settings import InputSettings
    from stvg_huggingface.adapter import HuggingFaceAdapter

    done("imports")
    if way == "straight":
        session = open_session(str(folder), LoadOptions(device))
    else:
        with patch("stvg_huggingface.loading.placement_arguments", lambda *_, **__: {}):
            session = open_session(str(folder), LoadOptions(device))
    adapter = session.adapter
    if not isinstance(adapter, HuggingFaceAdapter):
        raise TypeError(f"expected a model of transformers, got {type(adapter).__name__}")
    done("load")
    clip = adapter.encode(noise(20), InputSettings(), tuple(range(20)))
    done("encode 20 frames")
    for stage in ("first answers", "second answers"):
        prompt = torch.zeros_like(clip.visual_tokens, requires_grad=True)
        torch.autograd.grad(adapter.answer_logits(clip, QUESTIONS, prompt).margins.sum(), prompt)
        done(stage)
    return seconds


if __name__ == "__main__":
    main()
