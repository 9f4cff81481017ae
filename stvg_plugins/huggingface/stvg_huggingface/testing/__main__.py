"""Writes a tiny random model: `python -m stvg_huggingface.testing FAMILY FOLDER [--layers N] [--seed N]`."""

import argparse
import sys
from pathlib import Path
from typing import Any

from transformers.utils import logging as transformers_logging

from stvg_core.errors import UsageError
from stvg_huggingface.testing.models import TINY_FAMILIES, save_tiny_model


def main(arguments: list[str] | None = None) -> int:
    """Write the model, print its folder, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m stvg_huggingface.testing", description="Write a tiny model.")
    parser.add_argument("family", help=", ".join(TINY_FAMILIES))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=4, help="decoder layers (4)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights (0)")
    given = parser.parse_args(arguments)
    bars: Any = transformers_logging
    bars.disable_progress_bar()
    try:
        folder = save_tiny_model(given.family, given.folder, layers=given.layers, seed=given.seed)
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(f"{folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
