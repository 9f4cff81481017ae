"""Peak memory and time of reading 20 frames from an hour of 1920x1080 h264 (90,000 frames).

    python benchmarks/video_memory.py [--minutes 60]

Makes the file in a temporary folder: one group of pictures with moving blocks and B-frames is encoded,
then its packets are written again and again with later time stamps. Every measurement runs in a fresh
process, whose peak resident set the operating system reports.
"""

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from stvg_core.inputs.video import iterate_frames, probe_video, read_frames
from stvg_core.settings import SamplingSettings

WIDTH, HEIGHT, RATE, GROUP_FRAMES = 1920, 1080, 25, 250
_KIBIBYTES_PER_MEBIBYTE = 1024


def make_video(path: Path, minutes: int) -> None:
    """Write a long clip out of one encoded group of pictures."""
    group = path.with_name("group.mp4")
    with av.open(str(group), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "bf": "3", "crf": "30"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.gop_size = GROUP_FRAMES
        for picture in _pictures():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    repeats = minutes * 60 * RATE // GROUP_FRAMES
    with av.open(str(path), "w") as container:
        with av.open(str(group)) as source:
            target = container.add_stream_from_template(source.streams.video[0])
        for repeat in range(repeats):
            with av.open(str(group)) as source:
                for packet in source.demux(source.streams.video[0]):
                    if packet.pts is None or packet.dts is None:
                        continue
                    shift = int(repeat * Fraction(GROUP_FRAMES, RATE) / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = target
                    container.mux(packet)


def _pictures() -> Iterator[np.ndarray]:
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    ground = np.stack([rows * 255 // HEIGHT, columns * 255 // WIDTH, (rows + columns) % 256], axis=-1).astype(np.uint8)
    for number in range(GROUP_FRAMES):
        picture = ground.copy()
        left = number * (WIDTH - 200) // GROUP_FRAMES
        picture[400:700, left : left + 200] = (220, 40, 40)
        yield picture


def _measure(task: str, path: Path, answers: "multiprocessing.Queue[str]") -> None:
    """Do one task and report seconds and the peak resident set of this process."""
    start_seconds, start_processor_seconds = time.perf_counter(), time.process_time()
    settings = SamplingSettings(frame_count=20)
    if task == "imports only":
        detail = ""
    elif task == "probe":
        detail = f"{probe_video(path).frame_count} frames"
    elif task == "stream 500 frames":
        info = probe_video(path)
        start = info.frame_count // 2
        detail = f"{sum(1 for _ in iterate_frames(path, info, start, start + 499))} frames"
    else:
        side = 640 if task.endswith("640") else None
        detail = f"pictures {read_frames(path, settings, maximum_side_pixels=side).pixels.nbytes / 2**20:.0f} MiB"
    seconds = time.perf_counter() - start_seconds
    processor_seconds = time.process_time() - start_processor_seconds
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _KIBIBYTES_PER_MEBIBYTE
    answers.put(f"{task:<28} {peak:7.0f} MiB peak  {seconds:7.2f} s  {processor_seconds:7.2f} s of processor  {detail}")


def main() -> None:
    """Make the file, measure, and write one line per task to stdout."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=int, default=60, help="length of the clip (default 60)")
    minutes: int = parser.parse_args().minutes
    processes = multiprocessing.get_context("spawn")
    answers: multiprocessing.Queue[str] = processes.Queue()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.mp4"
        # A process starts with its parent's peak on its account, so the encoder gets a process of its own.
        maker = processes.Process(target=make_video, args=(path, minutes))
        maker.start()
        maker.join()
        sys.stdout.write(f"{minutes} min, {WIDTH}x{HEIGHT}, {path.stat().st_size / 2**20:.0f} MiB file\n")
        for task in ("imports only", "probe", "20 frames", "20 frames, longer side 640", "stream 500 frames"):
            process = processes.Process(target=_measure, args=(task, path, answers))
            process.start()
            sys.stdout.write(answers.get(timeout=3600) + "\n")
            process.join()


if __name__ == "__main__":
    main()
