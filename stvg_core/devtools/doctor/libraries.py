"""Libraries with compiled code, looked at in a process of their own; torch is never imported in this one."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from stvg_core._internal.codecs import DECODERS, H264_ENCODERS
from stvg_core._internal.plain_text import one_line
from stvg_core.devtools.doctor.document import Library, Torch, Video

PROBE_SECONDS = 120.0
_LONGEST_REASON = 300

_Part = TypeVar("_Part", bound=Library)


@dataclass(frozen=True)
class Libraries:
    """What the probe found."""

    torch: Torch
    torchvision: Library
    video: Video


def look_at_libraries(timeout_seconds: float = PROBE_SECONDS) -> Libraries:
    """Return the state of PyAV, torch and torchvision, and of the devices that torch sees.

    Args:
        timeout_seconds: after which a library that hangs counts as broken.
    """
    request = {"path": sys.path, "decoders": DECODERS, "encoders": H264_ENCODERS}
    probe = Path(__file__).with_name("probe.py")
    child = subprocess.Popen(  # noqa: S603  # our own script, in the interpreter that runs
        [sys.executable, str(probe)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        answer, _ = child.communicate(json.dumps(request).encode(), timeout=timeout_seconds)
        ending = f"its import ended the interpreter ({_ending(child.returncode)})"
    except subprocess.TimeoutExpired:
        child.kill()
        answer, _ = child.communicate()
        ending = f"its import did not end within {timeout_seconds:g} seconds"
    return read_answer(answer.decode("utf-8", "replace"), ending)


def read_answer(text: str, ending: str) -> Libraries:
    """Return what a probe's lines say.

    Args:
        text: what it wrote, perhaps cut short.
        ending: what to say of a library that was begun and not finished.
    """
    told: dict[str, dict[str, Any]] = {}
    for line in text.splitlines():
        try:
            found = json.loads(line)
            told[found.pop("library")] = found
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    for found in told.values():
        if found.get("status") == "begun":
            found.update(status="broken", reason=ending)
        if "reason" in found:
            found["reason"] = one_line(str(found["reason"]), _LONGEST_REASON)
    return Libraries(
        _as(Torch, told.get("torch", {})),
        _as(Library, told.get("torchvision", {})),
        _as(Video, told.get("av", {})),
    )


def _as(kind: type[_Part], found: dict[str, Any]) -> _Part:
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        return kind(status="broken", reason=one_line(f"it told nonsense: {error.errors()[0]['msg']}", _LONGEST_REASON))


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
