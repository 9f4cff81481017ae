"""Hub ids: the cache on disk, pinned revisions, a machine without network, and a hub that answers or refuses."""

import errno
import hashlib
import io
import json
import logging
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import huggingface_hub.file_download
import pytest
import torch
from huggingface_hub.utils import close_session
from huggingface_hub.utils.tqdm import are_progress_bars_disabled

from stvg_core import cli
from stvg_core.errors import ModelError
from stvg_core.host.models import resolve_model
from stvg_core.plugin.model_reference import LoadOptions, ModelReference
from stvg_huggingface.loading import LoadedCheckpoint, load_checkpoint
from stvg_huggingface.testing import save_tiny_model

QWEN = ("Qwen2VLForConditionalGeneration",)
ID = "Some-Org/Tiny-VL"
FIRST, SECOND = "1" * 40, "2" * 40


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model("qwen2-vl", tmp_path_factory.mktemp("first"), layers=1, seed=1)


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model("qwen2-vl", tmp_path_factory.mktemp("second"), layers=1, seed=2)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache on a machine that must not use its network."""
    folder = tmp_path / "hub"
    folder.mkdir()

    def refuse(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return folder


def put(cache: Path, commit: str, source: Path, refs: tuple[str, ...] = (), without: tuple[str, ...] = ()) -> Path:
    """Lay a folder's files out as huggingface_hub does: blobs by hash, links in a snapshot, refs."""
    root = cache / ("models--" + ID.replace("/", "--"))
    snapshot = root / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (root / "blobs").mkdir(exist_ok=True)
    for path in source.iterdir():
        if path.name in without:
            continue
        blob = root / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
        shutil.copy(path, blob)
        (snapshot / path.name).symlink_to(Path("../../blobs") / blob.name)
    for ref in refs:
        (root / "refs" / ref).parent.mkdir(parents=True, exist_ok=True)
        (root / "refs" / ref).write_text(commit)
    return snapshot


def load(revision: str | None = None) -> LoadedCheckpoint:
    resolved = resolve_model(ID, revision)
    assert resolved.reference == ModelReference(ID, None, revision)
    assert resolved.architecture == QWEN[0]
    return load_checkpoint(resolved.reference, LoadOptions(device="cpu"), QWEN)


def same_weights(checkpoint: LoadedCheckpoint, folder: Path) -> bool:
    own = checkpoint.model.state_dict()
    other = load_checkpoint(ModelReference("on disk", folder), LoadOptions("cpu"), QWEN).model.state_dict()
    return own.keys() == other.keys() and all(torch.equal(own[name], other[name]) for name in own)


def test_revisions_of_the_cache(cache: Path, first: Path, second: Path) -> None:
    put(cache, FIRST, first, refs=("main", "v1.0"))
    put(cache, SECOND, second, refs=("refs/pr/7", "experimental"))
    for revision, folder, commit in (
        (None, first, FIRST),
        ("main", first, FIRST),
        ("v1.0", first, FIRST),
        (FIRST, first, FIRST),
        ("experimental", second, SECOND),
        ("refs/pr/7", second, SECOND),
        (SECOND, second, SECOND),
    ):
        checkpoint = load(revision)
        assert checkpoint.folder.name == commit
        assert checkpoint.reference.revision == revision
        assert checkpoint.statistics.mean == (0.5, 0.4, 0.3)
        assert same_weights(checkpoint, folder)
        assert not same_weights(checkpoint, second if folder == first else first)


def test_a_revision_that_is_not_cached(cache: Path, first: Path) -> None:
    put(cache, FIRST, first, refs=("main",))
    for attempt in (
        lambda: resolve_model(ID, "v9"),
        lambda: load_checkpoint(ModelReference(ID, None, "v9"), LoadOptions("cpu"), QWEN),
    ):
        with pytest.raises(ModelError, match=f"hf download {ID} --revision v9") as raised:
            attempt()
        assert "\n" not in str(raised.value)


def test_a_configuration_without_weights(cache: Path, first: Path) -> None:
    put(cache, FIRST, first, refs=("v1.0",), without=("model.safetensors",))
    with pytest.raises(ModelError, match=rf"expected weights .*hf download {ID} --revision v1\.0"):
        load("v1.0")


def test_pickled_weights(cache: Path, first: Path, tmp_path: Path) -> None:
    pickled = Path(shutil.copytree(first, tmp_path / "pickled"))
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    put(cache, FIRST, pickled, refs=("main",))
    with pytest.raises(ModelError, match=r"only pickled ones \(pytorch_model\.bin\), which can run code"):
        load()


def sharded(source: Path, folder: Path) -> Path:
    Path(shutil.copytree(source, folder))
    model = load_checkpoint(ModelReference("whole", folder), LoadOptions("cpu"), QWEN).model
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="100KB")
    return folder


def test_shards(cache: Path, first: Path, tmp_path: Path) -> None:
    parts = sharded(first, tmp_path / "parts")
    put(cache, FIRST, parts, refs=("main",))
    assert same_weights(load(), first)
    last = sorted(path.name for path in parts.glob("*.safetensors"))[-1]
    put(cache, SECOND, parts, refs=("v2",), without=(last,))
    with pytest.raises(ModelError, match=f"the first {last}; .*run `hf download {ID} --revision v2`"):
        load("v2")


def test_without_network_the_cache_does(cache: Path, first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not told to be offline, but nobody answers."""
    put(cache, FIRST, first, refs=("main",))
    monkeypatch.undo()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    with closed_port() as port:
        point_to(port, monkeypatch)
        assert same_weights(load(), first)
        assert same_weights(load(FIRST), first)
        put(cache, SECOND, first, refs=("v2",), without=("model.safetensors",))
        with pytest.raises(ModelError, match=rf"found none, .*hf download {ID} --revision {SECOND}"):
            load(SECOND)


class closed_port:  # noqa: N801 - reads as a function
    """A port that refuses."""

    def __enter__(self) -> int:
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        return int(self.socket.getsockname()[1])

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def point_to(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", constants.ENDPOINT + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    # Once in a process, telemetry asks for one file more.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)


class Hub(ThreadingHTTPServer):
    """As much of a hub as a download needs: one repository at one commit.

    Attributes:
        files: its contents by name.
        given: what was downloaded.
        asked: method and path of every request.
        refusal: status and headers of the answer to everything that `refuses` a path.
        broken: how often a download of weights breaks off half-way.
    """

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files = files
        self.given: list[str] = []
        self.asked: list[str] = []
        self.refusal: tuple[int, Mapping[str, str]] | None = None
        self.refuses: Callable[[str], bool] = lambda _: True
        self.broken = 0


class Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        path = self.path.split("?")[0]
        files = self.server.files
        self.server.asked.append(f"{self.command} {path}")
        if self.server.refusal is not None and self.server.refuses(path):
            self.send_response(self.server.refusal[0])
            for name, value in {"Content-Length": "0", **self.server.refusal[1]}.items():
                self.send_header(name, value)
            self.end_headers()
        elif path.startswith(f"/api/models/{ID}/tree/"):
            self.reply(json.dumps([{"type": "file", "path": n, "size": len(b), "oid": n} for n, b in files.items()]))
        elif path.startswith(f"/api/models/{ID}") and files:
            self.reply(json.dumps({"id": ID, "sha": FIRST, "siblings": [{"rfilename": name} for name in files]}))
        elif path.startswith(f"/{ID}/resolve/") and path.split("/")[-1] in files:
            name = path.split("/")[-1]
            if self.command == "GET":
                self.server.given.append(name)
            self.reply(files[name], name)
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if f"/{ID}/resolve/" in path else "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def reply(self, body: str | bytes, etag: str | None = None) -> None:
        data = body.encode() if isinstance(body, str) else body
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Repo-Commit", FIRST)
        if etag is not None:
            self.send_header("ETag", f'"{etag}"')
        self.end_headers()
        if self.command == "GET" and etag == "model.safetensors" and self.server.broken:
            self.server.broken -= 1
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
        elif self.command == "GET":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Say nothing."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "downloads"))
    server = Hub({})
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    point_to(server.server_address[1], monkeypatch)
    close_session()
    yield server
    server.shutdown()
    server.server_close()
    close_session()


def test_a_hub_gives_what_is_needed_once(hub: Hub, first: Path, tmp_path: Path) -> None:
    parts = sharded(first, tmp_path / "parts")
    hub.files |= {path.name: path.read_bytes() for path in parts.iterdir()}
    hub.files |= {"pytorch_model.bin": b"pickle", "model-other.safetensors": b"not named by the index", "film.mp4": b""}
    checkpoint = load()
    assert checkpoint.folder.name == FIRST
    assert same_weights(checkpoint, first)
    assert not {"pytorch_model.bin", "model-other.safetensors", "film.mp4"} & set(hub.given)
    assert len(set(hub.given)) == len(hub.given)
    before = list(hub.given)
    load()
    load(FIRST)
    assert hub.given == before


# ---- what a hub says

Run = Callable[..., str]


@pytest.fixture
def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> Run:
    """Run `stvg ground`, which must fail, and return its error."""

    def run(model: str = ID, *options: str) -> str:
        monkeypatch.setattr(sys, "argv", ["stvg", "ground", "clip.mp4", "The man walks.", "--model", model, *options])
        with pytest.raises(SystemExit) as raised:
            cli.main()
        printed = capsys.readouterr()
        assert (raised.value.code, printed.out, caplog.records) == (1, "", [])
        (line,) = printed.err.splitlines()
        return line

    return run


REFUSALS = {
    "gated": (
        (401, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to model is restricted."}),
        r"it is gated \(401\); accept its terms on http://127.0.0.1:\d+/Some-Org/Tiny-VL, then `hf auth login`, or set",
    ),
    "gated, awaiting": (
        (403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Your request is awaiting a review from the authors."}),
        r"your request waits for its authors \(403\); try again once they have granted it",
    ),
    "private or none": (
        (401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}),
        r"the hub shows no such model to the public \(401\); check the name; if it is private, `hf auth login`",
    ),
    "none": (
        (404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}),
        r"the hub has no such model \(404\); check the name$",
    ),
    "login": (
        (401, {"X-Error-Message": "Invalid username or password."}),
        r"the hub wants a login for it \(401\); `hf auth login`, or set HF_TOKEN",
    ),
    "wrong token": (
        (401, {"X-Error-Message": "Invalid credentials in Authorization header"}),
        r"the hub does not accept your token \(401\); log in again",
    ),
    "revision": (
        (404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id: main"}),
        r"the hub's Some-Org/Tiny-VL has no revision 'main' \(404\); check --revision: a branch, tag or commit",
    ),
    "disabled": (
        (403, {"X-Error-Message": "Access to this resource is disabled."}),
        r"the hub has disabled it \(403\); use another model, its page may say why: http://127.0.0.1:\d+/Some-Org/Tiny-VL",
    ),
    "forbidden": (
        (403, {"X-Error-Message": "needs read permission"}),
        r"the hub refuses it without a login \(403 needs read permission\); `hf auth login`, or set HF_TOKEN",
    ),
    "too many": ((429, {}), r"the hub has had too many requests from here \(429\); wait some minutes, or log in"),
    "wait": ((429, {"Retry-After": "60"}), r"too many requests from here \(429\); wait 60 seconds"),
    "out of order": ((503, {}), r"the hub is out of order \(503\); try again later"),
    "anything": (
        (418, {"X-Error-Message": "teapot"}),
        r"the hub refuses \(418 teapot\); `hf download Some-Org/Tiny-VL`",
    ),
}


@pytest.fixture(params=REFUSALS)
def refusal(request: pytest.FixtureRequest, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> str:
    """A hub that refuses, and what is said of it."""
    # A busy hub is asked again some times, a little later each.
    monkeypatch.setattr("time.sleep", lambda _: None)
    hub.refusal, said = REFUSALS[request.param]
    return said


def test_a_refusal_has_its_sentence(refusal: str, refused: Run) -> None:
    line = refused()
    assert line.startswith(f"error: '{ID}' is neither a folder nor in the local hub cache, and ")
    assert re.search(refusal, line)


def test_a_refusal_of_weights_has_the_same_sentence(
    refusal: str, hub: Hub, first: Path, refused: Run, tmp_path: Path
) -> None:
    put(tmp_path / "downloads", FIRST, first, refs=("main",), without=("model.safetensors",))
    with pytest.raises(ModelError, match=refusal) as raised:
        load()
    assert str(raised.value).startswith("expected weights as safetensors")
    assert not hub.given


def test_a_token_that_has_no_access(hub: Hub, refused: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 34)
    for status, code, said in (
        (403, "GatedRepo", r"it is gated, and your token has no access \(403\); accept its terms on http://"),
        (404, "RepoNotFound", r"the hub has no such model \(404\)"),
        (401, "", r"the hub does not accept your token \(401\)"),
        (403, "", r"your token may not read it \(403\); allow that in http://127.0.0.1:\d+/settings/tokens"),
    ):
        hub.refusal = (status, {"X-Error-Code": code} if code else {})
        assert re.search(said, refused())


def test_a_revision_that_is_not_there(hub: Hub, refused: Run) -> None:
    hub.refusal = (404, {"X-Error-Code": "RevisionNotFound"})
    assert "has no revision 'v9' (404)" in refused(ID, "--revision", "v9")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("Qwen/Qwen2-VL-7B-Instuct", "Qwen/Qwen2-VL-7B-Instruct"),
        ("qwen/qwen2.5-vl-7b-instruct", "Qwen/Qwen2.5-VL-7B-Instruct"),
        ("Qwen/InternVL3-8B-hf", "OpenGVLab/InternVL3-8B-hf"),
    ],
)
def test_a_slip_of_the_pen(hub: Hub, refused: Run, typed: str, meant: str) -> None:
    hub.refusal = (401, {"X-Error-Code": "RepoNotFound"})
    assert f"did you mean {meant}? check the name" in refused(typed)


def test_a_busy_hub_is_asked_again(hub: Hub, first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.files |= {path.name: path.read_bytes() for path in first.iterdir()}
    hub.refusal = (503, {})

    def recover(_: float) -> None:
        hub.refusal = None

    monkeypatch.setattr("time.sleep", recover)
    assert same_weights(load(), first)


def test_a_download_that_breaks_off_goes_on(hub: Hub, first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.files |= {path.name: path.read_bytes() for path in first.iterdir()}
    hub.broken = 2
    monkeypatch.setattr("time.sleep", lambda _: None)
    assert same_weights(load(), first)
    assert hub.given.count("model.safetensors") == 3


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"README.md": b"nothing"}, r"it is no checkpoint that transformers reads; check the name"),
        ({"m.Q4_K_M.gguf": b"GGUF"}, r"it holds GGUF files for llama\.cpp; use the model that they were made of"),
        (
            {
                "adapter_config.json": b'{"base_model_name_or_path": "Qwen/Qwen2-VL-2B"}',
                "adapter_model.safetensors": b"",
            },
            r"it is an adapter for Qwen/Qwen2-VL-2B, no whole model; merge it into that model, save that, and name",
        ),
        ({"adapter_config.json": b"[]"}, r"it is an adapter, no whole model; merge it"),
    ],
)
def test_a_hub_without_the_configuration(
    hub: Hub, refused: Run, tmp_path: Path, files: dict[str, bytes], said: str
) -> None:
    hub.files = files
    assert re.search(rf"expected a checkpoint with config\.json in {ID}, found none; {said}", refused())
    with pytest.raises(ModelError, match=said):
        load_checkpoint(ModelReference(ID), LoadOptions("cpu"), QWEN)
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    assert re.search(said, refused(str(folder)))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pytorch_model.bin", r"found only pickled ones \(pytorch_model\.bin\)"),
        ("m.gguf", r"found none; it holds GGUF files"),
        ("README.md", f"found none; run `hf download {ID}`"),
    ],
)
def test_a_hub_without_safetensors(hub: Hub, first: Path, name: str, said: str) -> None:
    hub.files |= {path.name: path.read_bytes() for path in first.iterdir() if path.suffix != ".safetensors"}
    hub.files[name] = b"other"
    with pytest.raises(ModelError, match=f"expected weights as safetensors .*{said}"):
        load()
    assert "pytorch_model.bin" not in hub.given


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "no space is left on the disk of {}; free some, or set HF_HOME",
        ),
        (
            RuntimeError("Data processing error: No space left on device (os error 28)"),
            "no space is left on the disk of {}",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "x"),
            "the cache {} cannot be written to ([Errno 13] Permission denied: 'x'); set HF_HOME to",
        ),
    ],
)
def test_a_disk_that_takes_nothing(
    hub: Hub, first: Path, refused: Run, monkeypatch: pytest.MonkeyPatch, name: str, error: Exception, said: str
) -> None:
    hub.files |= {path.name: path.read_bytes() for path in first.iterdir()}
    download = huggingface_hub.file_download.http_get

    def fail(url: str, *arguments: object, **options: object) -> None:
        if url.endswith(name):
            raise error
        download(url, *arguments, **options)

    monkeypatch.setattr(huggingface_hub.file_download, "http_get", fail)
    said = f"and {said.format(huggingface_hub.constants.HF_HUB_CACHE)}"
    if name == "config.json":
        assert said in refused()
    else:
        with pytest.raises(ModelError, match=f"expected weights as safetensors .* found none, {re.escape(said)}"):
            load()


def test_a_disk_that_is_nearly_full_is_no_warning(hub: Hub, first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.files |= {path.name: path.read_bytes() for path in first.iterdir()}
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    assert same_weights(load(), first)


def test_an_answer_that_is_no_hubs(hub: Hub, refused: Run) -> None:
    hub.refusal = (200, {})
    assert re.search(r"what answers at http://127\.0\.0\.1:\d+ is no hub; check HF_ENDPOINT, HTTPS_PROXY", refused())


def test_offline_mode(hub: Hub, first: Path, refused: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    said = rf"and offline mode is on \(HF_HUB_OFFLINE\); unset HF_HUB_OFFLINE, or run `hf download {ID}` where"
    assert re.search(rf"neither a folder nor in the local hub cache, {said}", refused())
    put(tmp_path / "downloads", FIRST, first, refs=("main",), without=("model.safetensors",))
    with pytest.raises(ModelError, match=f"found none, {said}"):
        load()
    assert not hub.asked


@pytest.mark.parametrize("name", ["a--b/c", "nobody/nothing.git"])
def test_what_is_no_hub_id(hub: Hub, refused: Run, name: str) -> None:
    assert re.search(r"and it is no hub id \(.*\); name a folder, or a hub id such as", refused(name))
    assert not hub.asked


# ---- a machine without network


@pytest.fixture
def never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    def sleep(seconds: float) -> None:
        raise AssertionError(f"waited {seconds} seconds")

    monkeypatch.setattr(time, "sleep", sleep)


@pytest.mark.usefixtures("never_waits")
def test_no_network_is_told_without_retries(
    first: Path, refused: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    tries: list[object] = []
    connect = socket.socket.connect

    def count(self: socket.socket, address: object) -> None:
        tries.append(address)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", count)
    with closed_port() as port:
        point_to(port, monkeypatch)
        said = (
            rf"and the hub at http://127\.0\.0\.1:{port} cannot be reached \(\[Errno {errno.ECONNREFUSED}\] .*\); "
            rf"run `hf download {ID}` where there is a network and copy its cache here, or name a folder"
        )
        assert re.search(said, refused())
        assert len(tries) == 1
        put(tmp_path, FIRST, first, refs=("main",), without=("model.safetensors",))
        for revision in (None, FIRST):
            tries.clear()
            with pytest.raises(ModelError, match=f"found none, {said}" if revision is None else "cannot be reached"):
                load(revision)
            assert len(tries) == 2  # one for its architecture, one for its files


@pytest.mark.usefixtures("never_waits")
def test_a_hub_whose_name_is_unknown(refused: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    point_to(1, monkeypatch)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://hub.invalid")
    monkeypatch.setattr(
        huggingface_hub.constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        "http://hub.invalid/{repo_id}/resolve/{revision}/{filename}",
    )
    assert "and the hub at http://hub.invalid cannot be reached (" in refused()


@pytest.mark.usefixtures("never_waits")
def test_a_proxy_that_lets_nothing_through(hub: Hub, refused: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{hub.server_address[1]}")
    for name in ("ENDPOINT", "HUGGINGFACE_CO_URL_TEMPLATE"):
        monkeypatch.setattr(huggingface_hub.constants, name, "https://hub.invalid/{repo_id}/{revision}/{filename}")
    assert re.search(r"and the proxy does not let the hub through \(.*\); check HTTPS_PROXY, or run `hf dow", refused())


@pytest.mark.usefixtures("never_waits")
def test_a_firewall_is_no_unwritable_cache(refused: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))

    def forbid(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(socket.socket, "connect", forbid)
    point_to(1, monkeypatch)
    assert "cannot be reached ([Errno 1] Operation not permitted); run `hf download" in refused()


@pytest.mark.usefixtures("never_waits")
def test_a_hub_that_does_not_answer(hub: Hub, refused: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = socket.create_server(("127.0.0.1", 0))
    point_to(silent.getsockname()[1], monkeypatch)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_ETAG_TIMEOUT", 0.05)
    with silent:
        assert re.search(r"and the hub at \S+ does not answer \(timeout\); check the network", refused())


def test_what_the_client_says_is_held_back_and_let_go(
    hub: Hub, refused: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    library = logging.getLogger("huggingface_hub")
    monkeypatch.setattr(library, "propagate", True)
    before = (library.handlers, library.propagate, are_progress_bars_disabled())
    monkeypatch.setattr("time.sleep", lambda _: None)
    hub.refusal = (503, {})
    refused()  # its records, and what stands on stderr, are counted there
    assert (library.handlers, library.propagate, are_progress_bars_disabled()) == before
    assert len(hub.asked) > 3
    library.warning("heard again")
    assert [record.message for record in caplog.records] == ["heard again"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_the_weights_come_and_no_small_files(
    hub: Hub, first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.files |= {path.name: path.read_bytes() for path in first.iterdir()}
    monkeypatch.setattr(sys, "stderr", Terminal())
    load()
    assert set(re.findall(r"Fetching (\d+) files", sys.stderr.getvalue())) == {"1"}


def run_alone(hub_at: int, home: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python as a continuous integration does, where transformers lets its records up to the root logger."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "CI": "true",
        "HF_HOME": str(home),
        "HF_ENDPOINT": f"http://127.0.0.1:{hub_at}",
        "HF_HUB_DISABLE_XET": "1",
    }
    return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)


def test_a_process_without_network_prints_one_line(tmp_path: Path) -> None:
    with closed_port() as port:
        done = run_alone(port, tmp_path, "-m", "stvg_core", "ground", "clip.mp4", "The man walks.", "--model", ID)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert re.match(rf"error: '{ID}' is neither .* cannot be reached .* run `hf download {ID}`", line)


def test_a_process_that_downloads_prints_nothing(hub: Hub, first: Path, tmp_path: Path) -> None:
    hub.files |= {path.name: path.read_bytes() for path in first.iterdir()}
    hub.broken = 1
    script = (
        "import logging; logging.basicConfig(); from stvg_core.host.session import open_session; "
        f"from stvg_core.plugin.model_reference import LoadOptions; open_session({ID!r}, LoadOptions('cpu'))"
    )
    done = run_alone(hub.server_address[1], tmp_path, "-c", script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert hub.given.count("model.safetensors") == 2


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HF_HOME"])
def test_environment_variables(variable: str, first: Path, tmp_path: Path) -> None:
    """A fresh process reads them as every tool of Hugging Face does."""
    home = tmp_path / "home"
    put(home / "hub", FIRST, first, refs=("main",))
    script = (
        "from stvg_core.host.session import open_session; from stvg_core.plugin.model_reference import LoadOptions; "
        f"print(open_session({ID!r}, LoadOptions('cpu')).adapter.checkpoint.folder)"
    )
    environment = {
        "PATH": "/usr/bin:/bin",
        "HF_HUB_OFFLINE": "1",
        variable: str(home if variable == "HF_HOME" else home / "hub"),
    }
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith(f"snapshots/{FIRST}"), done.stderr


def test_a_proxy_that_httpx_has_no_package_for(refused: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def reach(model: str, revision: str | None) -> None:
        raise ImportError("Using SOCKS proxy, but the 'socksio' package is not installed.")

    monkeypatch.setattr("stvg_core.host.hub._reach", reach)
    assert (
        "a package is missing (Using SOCKS proxy, but the 'socksio' package is not installed); install it" in refused()
    )


def test_damaged_files_of_the_cache_are_fetched_anew(hub: Hub, first: Path, refused: Run) -> None:
    """A plain download leaves alone what is there."""
    hub.files |= {path.name: path.read_bytes() for path in first.iterdir()} | {"config.json": b"{broken"}
    assert "hf download Some-Org/Tiny-VL --force-download" in refused()
