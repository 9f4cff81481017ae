"""Run as a script in a process of its own: import what has compiled code, and write what it says as JSON lines.

A library that raises, crashes or hangs harms this process alone; the lines before it have been
read. It imports nothing of ours, and torch only here.
"""

import contextlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

Say = Callable[[dict[str, Any]], None]
_FIRST_WITH_BFLOAT16 = 8
"""Major compute capability: devices of Ampere and later compute in bfloat16 themselves."""


def main() -> None:
    """Read the request from stdin, and answer library by library."""
    request = json.load(sys.stdin)
    sys.path[:] = request["path"]
    # What a library prints at its import must not get into the answer.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)

        def say(line: dict[str, Any]) -> None:
            answers.write(json.dumps(line) + "\n")
            answers.flush()

        for name, look in (("av", _look_at_av), ("torch", _look_at_torch), ("torchvision", _look_at_torchvision)):
            say({"library": name, "status": "begun"})
            say({"library": name} | _guarded(name, look, request))
    # Threads and handlers of exit that a library left are not waited for.
    os._exit(0)


def _guarded(
    name: str, look: Callable[[Any, dict[str, Any]], dict[str, Any]], request: dict[str, Any]
) -> dict[str, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = import_module(name)
            return {"status": "ok", "version": str(getattr(module, "__version__", ""))} | look(module, request)
    except ModuleNotFoundError as error:
        # A library that is there and misses a part of its own is broken.
        return {"status": "missing" if error.name == name else "broken", "reason": str(error)}
    except BaseException as error:  # noqa: BLE001  # this process is there to find out what it raises
        return {"status": "broken", "reason": f"{type(error).__name__}: {error}"}


def _look_at_av(av: Any, request: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401  # a module
    def opens(name: str, mode: str) -> bool:
        try:
            av.codec.Codec(name, mode)
        except (ValueError, LookupError):
            return False
        return True

    return {
        "decoders": {kind: any(opens(name, "r") for name in names) for kind, names in request["decoders"].items()},
        "encoder": next((name for name in request["encoders"] if opens(name, "w")), None),
    }


def _look_at_torch(torch: Any, request: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401  # a module
    # A torch built for another NumPy imports well and fails here.
    torch.zeros(1).numpy()
    told = {"cuda_build": torch.version.cuda, "threads": torch.get_num_threads(), "cuda_error": "", "devices": []}
    if torch.version.cuda is None:
        return told
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            told["devices"] = [_device(torch, index) for index in range(torch.cuda.device_count())]
            usable = torch.cuda.is_available()
        except Exception as error:  # noqa: BLE001  # a driver fails in many ways
            usable, told["cuda_error"] = False, f"{type(error).__name__}: {error}"
    if not usable and caught and not told["cuda_error"]:
        told["cuda_error"] = str(caught[0].message)
    return told


def _device(torch: Any, index: int) -> dict[str, Any]:  # noqa: ANN401  # a module
    properties = torch.cuda.get_device_properties(index)
    free = None
    with contextlib.suppress(Exception):
        free = int(torch.cuda.mem_get_info(index)[0])
    return {
        "index": index,
        "name": str(properties.name),
        "compute_capability": f"{properties.major}.{properties.minor}",
        "memory_total_bytes": int(properties.total_memory),
        "memory_free_bytes": free,
        "bfloat16": properties.major >= _FIRST_WITH_BFLOAT16,
        "supported": is_supported(properties.major, properties.minor, list(torch.cuda.get_arch_list())),
    }


def is_supported(major: int, minor: int, built_for: list[str]) -> bool:
    """Return whether code built for some architectures runs on a device.

    Machine code (sm_80) runs on the same major version from its minor version on; PTX (compute_80)
    is compiled for every later device. Letters (sm_90a) bind code to one version.

    >>> is_supported(8, 6, ["sm_80"]), is_supported(9, 0, ["sm_80"]), is_supported(9, 0, ["compute_80"])
    (True, False, True)
    """
    if not built_for:
        return True
    return any(
        (number // 10 == major and number % 10 <= minor)
        if kind == "sm"
        else (number // 10, number % 10) <= (major, minor)
        for kind, number in _architectures(built_for)
    )


def _architectures(names: list[str]) -> Iterator[tuple[str, int]]:
    for name in names:
        kind, _, number = name.partition("_")
        if number.isdigit():
            yield kind, int(number)


def _look_at_torchvision(torchvision: Any, request: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401  # a module
    return {}


if __name__ == "__main__":
    main()
