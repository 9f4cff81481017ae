"""Run by `nox -s wheels` in a clean environment: do the installed wheels work, alone and together?

With the name of a backend: it is the only one, grounds with a checkpoint of its family, and for
the families that are not installed the command that would help is named. Without: all are there.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np

import stvg_core
from stvg_core.devtools.demos import find_demos
from stvg_core.evaluation.runs.engine import engine_names
from stvg_core.host.known_models import PUBLISHED_BACKENDS
from stvg_core.host.models import resolve_model
from stvg_core.host.registry import find_backends
from stvg_core.inputs.tracks.catalog import tracker_names

FAMILIES = {"internvl": "internvl", "llava-next": "llava-next-video", "qwen2-vl": "qwen2-vl"}
QUERY = "The man in blue walks to the sofa."


def main(only: str | None) -> None:
    if "site-packages" not in str(Path(stvg_core.__file__)):
        raise SystemExit(f"expected the installed package, got {stvg_core.__file__}")
    statuses = {backend.name: (backend.status, backend.reason) for backend in find_backends()}
    expected = [only] if only else list(FAMILIES)
    if statuses != dict.fromkeys(expected, ("ok", "")):
        raise SystemExit(f"expected {expected} to be healthy, got {statuses}")
    if "torch" in sys.modules:
        raise SystemExit("listing imported torch")
    if only:
        ground_with_every_family(only)
    elif resolve_model("tiny:qwen2-vl").architecture != "Qwen2VLForConditionalGeneration":
        raise SystemExit("the tiny checkpoint did not reach its wheel")
    elif not all(case.video.is_file() for case in find_demos()):
        raise SystemExit("the demo clips did not reach their wheel")
    elif not {"detections", "grounding-dino+sam2", "sam3"} <= set(tracker_names()):
        raise SystemExit(f"expected the trackers of stvg-sam, got {tracker_names()}")
    elif engine_names() != ("local", "ray"):
        raise SystemExit(f"expected the engines local and ray, got {engine_names()}")
    sys.stdout.write(f"{only or 'all'}: wheels are complete\n")


def ground_with_every_family(installed: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        clip = write_clip(Path(name) / "clip.mp4")
        for backend, family in FAMILIES.items():
            folder = Path(name) / family
            run(sys.executable, "-m", "stvg_huggingface.testing", family, str(folder))
            command = ("stvg", "ground", str(clip), QUERY, "--model", str(folder), "--json")
            done = run(*command, "--set", "sampling.frame_count=4", "--tracks", "attention", may_fail=True)
            document = json.loads(done.stdout)
            if backend == installed:
                if document["status"] != "ok" or document["model"]["backend"] != backend:
                    raise SystemExit(f"{backend} did not ground: {done.stdout} {done.stderr}")
                continue
            architecture = json.loads((folder / "config.json").read_text())["architectures"][0]
            if done.returncode != 1 or f"pip install {PUBLISHED_BACKENDS[architecture]}" not in done.stderr:
                raise SystemExit(f"expected advice for {family}, got {done.returncode}: {done.stderr}")


def run(*command: str, may_fail: bool = False) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and not may_fail:
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr}")
    return done


def write_clip(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(20):
            picture = np.full((48, 64, 3), 90, dtype=np.uint8)
            picture[10:30, number : number + 20] = (40, 60, 220)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
