"""What the method costs beside the plain procedure, on this device.

python -m benchmarks.method_cost --model qwen2-vl --frames 40
python -m benchmarks.method_cost --model qwen2-vl-7b --json
"""

import argparse
import json
import sys

from benchmarks.method_cost.measure import measure
from benchmarks.method_cost.report import BenchmarkRequest, document, table
from stvg_core.errors import StvgError
from stvg_core.plugin.model_reference import LoadOptions


def main() -> int:
    """Measure one model and print a table or a JSON document; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model",
        default="llava-next-video",
        help="a family (llava-next-video, qwen2-vl, qwen2.5-vl, internvl) of middle size, a published size "
        "(qwen2-vl-7b, ...) with random weights, or any model",
    )
    parser.add_argument("--frames", type=int, default=20, help="frames of the clip")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each side")
    parser.add_argument("--preset", default="released", help="paper or released")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--recompute", default="auto")
    parser.add_argument("--cuda-graphs", default="auto")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    arguments = parser.parse_args()
    options = LoadOptions(
        arguments.device, arguments.dtype, recompute=arguments.recompute, cuda_graphs=arguments.cuda_graphs
    )
    try:
        report = measure(
            BenchmarkRequest(arguments.model, options, arguments.frames, arguments.repeats, arguments.preset)
        )
    except StvgError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    lines = [json.dumps(document(report))] if arguments.json else table(report)
    sys.stdout.write("\n".join([*lines, ""]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
