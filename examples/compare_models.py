"""Compare models on the same samples, through the Python API; `stvg compare` is the same as a command.

python examples/compare_models.py --root my-data --out comparison --model tiny:qwen2-vl --model tiny:internvl
"""

import argparse
from pathlib import Path

from stvg_core.api.run_spec import RunSpec
from stvg_core.evaluation.comparison import Source, compare, named_rows
from stvg_core.metrics import find_protocol


def main() -> None:
    """Run every model on the data set, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--dataset", default="folder", help="a name of `stvg dataset list`")
    parser.add_argument("--split", help="which part of it")
    parser.add_argument("--limit", type=int, help="only the first N samples")
    parser.add_argument("--out", type=Path, required=True, help="folder of the comparison")
    parser.add_argument("--model", action="append", required=True, help="repeatable")
    parser.add_argument("--ladder", action="store_true", help="the method's components one by one")
    arguments = parser.parse_args()

    rows = named_rows([RunSpec(model) for model in arguments.model], ladder=arguments.ladder)
    source = Source(arguments.dataset, arguments.root, split=arguments.split, limit=arguments.limit)
    document = compare(rows, source, arguments.out, find_protocol("stcat"))

    for row in document.rows:
        if row.score is None:
            print(f"{row.name}: {row.error or 'no truth to score by'}")
            continue
        quality = row.score["m_vIoU"]
        print(f"{row.name}: m_vIoU {quality.mean:.3f} [{quality.low:.3f}, {quality.high:.3f}]")
    print(f"written to {arguments.out / 'comparison.md'}, to look at: {arguments.out / 'index.html'}")


if __name__ == "__main__":
    main()
