"""The command `stvg-tiny`: makes the benchmark, measures a model on it, and writes its card."""

from __future__ import annotations

import sys
from argparse import REMAINDER, ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from stvg_core.errors import StvgError
from stvg_tiny.benchmark import CLIPS_PER_LEVEL, LEVELS, write_benchmark
from stvg_tiny.clips import Clip

_PROGRESS_EVERY: Final = 50


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code: 0 done, 1 failed, 2 wrong usage."""
    listing = "\n".join(f"  {name:<20} {run.__doc__}" for name, run in _COMMANDS.items())
    parser = ArgumentParser(
        prog="stvg-tiny",
        description=__doc__,
        epilog=f"commands (each has --help):\n{listing}",
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=list(_COMMANDS), metavar="COMMAND")
    parser.add_argument("arguments", nargs=REMAINDER, metavar="...")
    options = parser.parse_args(arguments)
    return _COMMANDS[options.command](options.arguments)


def _make_benchmark(arguments: Sequence[str]) -> int:
    """Write the test split as mp4 clips with annotations."""
    parser = ArgumentParser(prog="stvg-tiny make-benchmark", description=_make_benchmark.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="a new or empty folder")
    parser.add_argument("--clips", type=int, default=CLIPS_PER_LEVEL, help="of each level [default: %(default)s]")
    parser.add_argument("--seed", type=int, default=0, help="0: the test split itself; others: more clips like it")
    options = parser.parse_args(arguments)
    done = 0

    def watch(clip: Clip) -> None:
        nonlocal done
        done += 1
        if done % _PROGRESS_EVERY == 0:
            sys.stderr.write(f"{done} of {options.clips * len(LEVELS)} clips\n")

    try:
        content = write_benchmark(options.out, options.clips, options.seed, watch)
    except StvgError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"{options.out}\nsha256 of annotations and frames: {content.content}\n")
    return 0


def _evaluate_grounding(arguments: Sequence[str]) -> int:
    """Measure a model on the synthetic clips, beside controls."""
    # Making clips needs no torch.
    from stvg_tiny.grounding import main as evaluate

    return evaluate(arguments)


def _evaluate_long(arguments: Sequence[str]) -> int:
    """Measure grounding in windows on long clips."""
    from stvg_tiny.long_grounding import main as evaluate

    return evaluate(arguments)


def _measure(arguments: Sequence[str]) -> int:
    """Measure everything that a checkpoint's card says of it."""
    from stvg_tiny.measured import main as measure

    return measure(arguments)


def _card(arguments: Sequence[str]) -> int:
    """Write a checkpoint's card from what was measured."""
    from stvg_tiny.card import main as card

    return card(arguments)


_COMMANDS: Final[Mapping[str, Callable[[Sequence[str]], int]]] = MappingProxyType(
    {
        "make-benchmark": _make_benchmark,
        "evaluate-grounding": _evaluate_grounding,
        "evaluate-long": _evaluate_long,
        "measure": _measure,
        "card": _card,
    }
)


if __name__ == "__main__":
    sys.exit(main())
