"""Ground one query in one video through the Python API: python examples/ground_clip.py VIDEO QUERY [MODEL]."""

import sys

from stvg_core import ground


def main() -> None:
    """Print the tube's time and its first and last box."""
    video, query, *rest = sys.argv[1:]
    result = ground(video, query, model=rest[0] if rest else "tiny:qwen2-vl")
    span, boxes = result.tube.span, result.tube.boxes_xyxy
    print(f"{span.start_seconds:.2f} s to {span.end_seconds:.2f} s")
    print(f"first box {boxes[0].round().tolist()}, last box {boxes[-1].round().tolist()}")


if __name__ == "__main__":
    main()
