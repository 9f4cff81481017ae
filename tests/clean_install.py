"""Run by `nox -s wheels` in a clean environment: the wheels alone must list and resolve everything."""

import sys
from pathlib import Path

import stvg_core
from stvg_core.demos import find_demos
from stvg_core.models import resolve_model
from stvg_core.registry import find_backends


def main() -> None:
    if "site-packages" not in str(Path(stvg_core.__file__)):
        raise SystemExit(f"expected the installed package, got {stvg_core.__file__}")
    statuses = {backend.name: (backend.status, backend.reason) for backend in find_backends()}
    if statuses != {"qwen2-vl": ("ok", "")}:
        raise SystemExit(f"expected one healthy backend, got {statuses}")
    if resolve_model("tiny:qwen2-vl").architecture != "Qwen2VLForConditionalGeneration":
        raise SystemExit("the tiny checkpoint did not reach its wheel")
    if not all(case.video.is_file() for case in find_demos()):
        raise SystemExit("the demo clips did not reach their wheel")
    if "torch" in sys.modules:
        raise SystemExit("listing imported torch")
    sys.stdout.write("wheels are complete\n")


if __name__ == "__main__":
    main()
