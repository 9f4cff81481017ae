"""The way to the hub: a checkpoint's config.json from the cache or the network, and what went wrong, with its cure.

huggingface_hub comes with the backends, so it is imported by functions alone. Cache, token and offline mode are its
own: HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_HUB_OFFLINE.
"""

import errno
import json
import logging
import os
import shlex
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from stvg_core._internal.plain_text import one_line
from stvg_core.errors import ModelError
from stvg_core.host.known_models import closest_checkpoint

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

CONFIG: Final = "config.json"
ADAPTER: Final = "adapter_config.json"
OFFLINE_VARIABLES: Final = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
LOGIN: Final = "`hf auth login`, or set HF_TOKEN"

_LONGEST_REASON: Final = 300
_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
_NOT_WRITABLE: Final = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT, errno.EEXIST, errno.EISDIR}
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _TOO_MANY, _SERVER_ERROR = 401, 403, 404, 429, 500
_PASSING: Final = {408, 500, 502, 503, 504}


def download_command(model: str, revision: str | None = None, *, again: bool = False) -> str:
    """Return the command that puts a hub model into the local cache, or puts it there again over damaged files.

    >>> download_command("Qwen/Qwen2-VL-7B-Instruct", "v1.0")
    'hf download Qwen/Qwen2-VL-7B-Instruct --revision v1.0'
    """
    command = f"hf download {model}" + ("" if revision is None else f" --revision {shlex.quote(revision)}")
    return f"{command} --force-download" if again else command


def fetch_config(model: str, revision: str | None = None) -> tuple[Path, Exception | None]:
    """Return the config.json of a hub model in its snapshot folder, and why it could not be asked for, if so.

    A hub that cannot be reached is asked once, without retries, and the cache serves.

    Args:
        model: a hub id.
        revision: branch, tag or commit; None: the main branch.

    Raises:
        ModelError: it is neither on the hub, as far as that can be reached, nor in the cache.
    """
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise ModelError(f"hub id {model!r} needs huggingface_hub; pip install stvg-huggingface") from error
    except ValueError as error:
        raise ModelError(f"huggingface_hub cannot start ({_shown(error)}); check the variables HF_*") from error
    with quiet():
        try:
            _reach(model, revision)
            return Path(hf_hub_download(model, CONFIG, revision=revision)), None
        except hub_errors() as error:
            trouble: Exception = error
        try:
            return Path(hf_hub_download(model, CONFIG, revision=revision, local_files_only=True)), trouble
        except hub_errors():
            pass
        if _status(trouble) in _PASSING:
            # A hub that stumbles is worth huggingface_hub's own retries; an absent one, or one that says wait, is not.
            try:
                return Path(hf_hub_download(model, CONFIG, revision=revision)), None
            except hub_errors() as error:
                trouble = error
        raise ModelError(_no_config(model, revision, trouble)) from trouble


def list_files(model: str, revision: str | None = None) -> tuple[str, ...]:
    """Return the names of a hub model's files; none where the hub does not tell."""
    from huggingface_hub import HfApi

    with quiet():
        try:
            return tuple(HfApi().list_repo_files(model, revision=revision))
        except hub_errors():
            return ()


def hub_errors() -> tuple[type[Exception], ...]:
    """Return what huggingface_hub raises where it is offline, gets no connection, is refused, or cannot write."""
    from huggingface_hub.errors import HfHubHTTPError

    # httpx's base of connection errors, of httpx or httpx2 as huggingface_hub's version has it.
    bases = (base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError" and issubclass(base, Exception))
    # RuntimeError is what hf_xet, which carries large files, makes of a connection that fails or a disk that is full.
    # ImportError is a proxy's protocol that httpx has no package for.
    return (OSError, ValueError, RuntimeError, ImportError, *bases)


@contextmanager
def quiet(*, bars: bool = False) -> Iterator[None]:
    """Hold back what huggingface_hub says of retries and disk space: stderr belongs to the command line.

    Args:
        bars: progress of large files may still be shown.
    """
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    library = logging.getLogger("huggingface_hub")
    handlers, propagate = library.handlers, library.propagate
    hidden = not bars and not are_progress_bars_disabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library.handlers, library.propagate = [logging.NullHandler()], False
        if hidden:
            disable_progress_bars()
        try:
            yield
        finally:
            library.handlers, library.propagate = handlers, propagate
            if hidden:
                enable_progress_bars()


def hub_trouble(model: str, revision: str | None, error: BaseException) -> str:  # noqa: PLR0911  # one for each kind
    """Return what kept files of a hub model from being fetched, and the cure; it goes on after "and".

    Args:
        model: a hub id.
        revision: branch, tag or commit; None: the main branch.
        error: one of `hub_errors`.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import FileMetadataError, HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    causes = _causes(error)
    elsewhere = (
        f"run `{download_command(model, revision)}` where there is a network and copy its cache here, or name a folder"
    )
    for cause in causes:
        number = cause.errno if isinstance(cause, OSError) else None
        if number in _FULL or "No space left" in str(cause):
            return (
                f"no space is left on the disk of {constants.HF_HUB_CACHE}; free some, or set HF_HOME to a folder "
                "on another disk"
            )
        # A socket's refusal names no file.
        if number in _NOT_WRITABLE and isinstance(cause, OSError) and cause.filename is not None:
            return (
                f"the cache {constants.HF_HUB_CACHE} cannot be written to ({_shown(cause)}); set HF_HOME to a folder "
                "that can"
            )
        if isinstance(cause, UnicodeError):
            return "the hub's address or token holds a character that none has; check HF_TOKEN and HF_ENDPOINT"
        if isinstance(cause, ImportError):
            return f"a package is missing ({_shown(cause)}); install it"
        if isinstance(cause, OfflineModeIsEnabled):
            variable = next((name for name in OFFLINE_VARIABLES if name in os.environ), OFFLINE_VARIABLES[0])
            return f"offline mode is on ({variable}); unset {variable}, or {elsewhere}"
        if isinstance(cause, HfHubHTTPError):
            return _refusal(model, revision, cause)
        if isinstance(cause, FileMetadataError):
            return (
                f"what answers at {constants.ENDPOINT} is no hub; check HF_ENDPOINT, HTTPS_PROXY and whether the "
                f"network wants a login, or {elsewhere}"
            )
        if isinstance(cause, HFValidationError):
            return f"it is no hub id ({_shown(cause)}); name a folder, or a hub id such as Qwen/Qwen2-VL-7B-Instruct"
    last = causes[-1]
    if any(type(cause).__name__ == "ProxyError" for cause in causes):
        return f"the proxy does not let the hub through ({_shown(last)}); check HTTPS_PROXY, or {elsewhere}"
    if any(isinstance(cause, TimeoutError) or type(cause).__name__.endswith("Timeout") for cause in causes):
        return f"the hub at {constants.ENDPOINT} does not answer (timeout); check the network, or {elsewhere}"
    return f"the hub at {constants.ENDPOINT} cannot be reached ({_shown(last)}); {elsewhere}"


def without_config(names: Sequence[str], base_model: str | None = None) -> str:
    """Return what a checkpoint without config.json is, by its files, and the cure.

    Args:
        names: of its files.
        base_model: which model its adapter_config.json names.

    >>> without_config(["README.md", "model-q4_k_m.gguf"])
    'it holds GGUF files for llama.cpp; use the model that they were made of, with *.safetensors files'
    """
    if ADAPTER in names:
        of = f" for {base_model}" if base_model else ""
        return f"it is an adapter{of}, no whole model; merge it into that model, save that, and name its folder"
    if any(name.endswith(".gguf") for name in names):
        return "it holds GGUF files for llama.cpp; use the model that they were made of, with *.safetensors files"
    return "it is no checkpoint that transformers reads; check the name"


def base_model_of(adapter_config: Path) -> str | None:
    """Return the model that an adapter_config.json names, where it names one."""
    try:
        found = json.loads(adapter_config.read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return None
    return one_line(found, _LONGEST_REASON) if isinstance(found, str) else None


def _reach(model: str, revision: str | None) -> None:
    """Ask the hub for a model's config.json, once."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import FileMetadataError

    url = hf_hub_url(model, CONFIG, revision=revision)
    if get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT).commit_hash is None:
        raise FileMetadataError(f"no hub at {constants.ENDPOINT}")


def _status(error: Exception) -> int | None:
    """Return the status of an answer that is an error."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _no_config(model: str, revision: str | None, error: Exception) -> str:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    if not isinstance(error, RemoteEntryNotFoundError):
        wanted = repr(model) if revision is None else f"{model!r} at revision {revision!r}"
        return f"{wanted} is neither a folder nor in the local hub cache, and {hub_trouble(model, revision, error)}"
    names, base_model = list_files(model, revision), None
    if ADAPTER in names:
        try:
            base_model = base_model_of(Path(hf_hub_download(model, ADAPTER, revision=revision)))
        except hub_errors():
            base_model = None
    return f"expected a checkpoint with {CONFIG} in {model}, found none; {without_config(names, base_model)}"


def _refusal(model: str, revision: str | None, error: "HfHubHTTPError") -> str:  # noqa: PLR0911  # the same
    """Return what a hub that answered means by it; its headers say more than the status."""
    from huggingface_hub import constants

    response: Any = error.response
    status, headers = response.status_code, response.headers
    code, message = headers.get("X-Error-Code"), headers.get("X-Error-Message") or ""
    logged_in = "authorization" in response.request.headers
    if "resource is disabled" in message:
        return f"the hub has disabled it ({status}); use another model, its page may say why: {_page(model)}"
    if code == "GatedRepo":
        return _gate(model, status, message, logged_in=logged_in)
    if code == "RevisionNotFound":
        return (
            f"the hub's {model} has no revision {revision or 'main'!r} ({status}); check --revision: a branch, tag or "
            "commit, or leave it out"
        )
    if "Invalid credentials" in message or (status == _UNAUTHORIZED and logged_in):
        return f"the hub does not accept your token ({status}); log in again: {LOGIN} to a valid one"
    near = closest_checkpoint(model)
    hint = f"did you mean {near}? " if near is not None and near != model else ""
    if code == "RepoNotFound" and status == _UNAUTHORIZED:
        return f"the hub shows no such model to the public ({status}); {hint}check the name; if it is private, {LOGIN}"
    if code == "RepoNotFound" or (status == _NOT_FOUND and code is None):
        return f"the hub has no such model ({status}); {hint}check the name"
    if status == _UNAUTHORIZED:
        return f"the hub wants a login for it ({status}); {LOGIN}"
    said = f"{status} {one_line(message, _LONGEST_REASON)}".strip()
    if status == _FORBIDDEN and not logged_in:
        return f"the hub refuses it without a login ({said}); {LOGIN}"
    if status == _FORBIDDEN:
        return f"your token may not read it ({said}); allow that in {constants.ENDPOINT}/settings/tokens, or {LOGIN}"
    if status == _TOO_MANY:
        pause = headers.get("Retry-After", "")
        wait = f"wait {pause} seconds" if pause.isdecimal() else "wait some minutes"
        return f"the hub has had too many requests from here ({said}); {wait}" + (
            "" if logged_in else f", or log in, which raises the limit: {LOGIN}"
        )
    if status >= _SERVER_ERROR:
        return f"the hub is out of order ({said}); try again later"
    return f"the hub refuses ({said}); `{download_command(model, revision)}` tells more"


def _gate(model: str, status: int, message: str, *, logged_in: bool) -> str:
    if "awaiting" in message:
        return f"it is gated, and your request waits for its authors ({status}); try again once they have granted it"
    if logged_in:
        return f"it is gated, and your token has no access ({status}); accept its terms on {_page(model)}"
    return f"it is gated ({status}); accept its terms on {_page(model)}, then {LOGIN}"


def _page(model: str) -> str:
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{model}"


def _causes(error: BaseException) -> list[BaseException]:
    """Return an error and what led to it, the latest first."""
    found: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in found:
        found.append(cause)
        cause = cause.__cause__ or cause.__context__
    return found


def _shown(error: BaseException) -> str:
    return one_line(str(error), _LONGEST_REASON).rstrip(".") or type(error).__name__
