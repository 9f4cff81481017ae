"""Hub ids: the cache on disk, pinned revisions, a machine without network, and a hub that answers."""

import hashlib
import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from huggingface_hub.utils import close_session

from stvg_core.errors import ModelError
from stvg_core.identity import LoadOptions, ModelReference
from stvg_core.models import resolve_model
from stvg_huggingface.loading import LoadedCheckpoint, load_checkpoint
from stvg_huggingface.testing import save_tiny_qwen2_vl

QWEN = ("Qwen2VLForConditionalGeneration",)
ID = "Some-Org/Tiny-VL"
FIRST, SECOND = "1" * 40, "2" * 40


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_qwen2_vl(tmp_path_factory.mktemp("first"), layers=1, seed=1)


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_qwen2_vl(tmp_path_factory.mktemp("second"), layers=1, seed=2)


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
    with pytest.raises(ModelError, match=r"pickled ones alone \(pytorch_model\.bin\), which can run code"):
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
    # huggingface_hub tries again some times, a little later each.
    monkeypatch.setattr("time.sleep", lambda _: None)
    with closed_port() as port:
        point_to(port, monkeypatch)
        assert same_weights(load(), first)
        assert same_weights(load(FIRST), first)
        put(cache, SECOND, first, refs=("v2",), without=("model.safetensors",))
        with pytest.raises(ModelError, match=rf"found none; .*hf download {ID} --revision {SECOND}"):
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


class Hub(ThreadingHTTPServer):
    """As much of a hub as a download needs: one repository at one commit."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files = files
        self.given: list[str] = []


class Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        path = self.path.split("?")[0]
        files = self.server.files
        if path.startswith(f"/api/models/{ID}/tree/"):
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
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Say nothing."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "downloads"))
    server = Hub({})
    threading.Thread(target=server.serve_forever, daemon=True).start()
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


def test_a_hub_with_pickled_weights_alone(hub: Hub, first: Path) -> None:
    hub.files |= {path.name: path.read_bytes() for path in first.iterdir() if path.suffix != ".safetensors"}
    hub.files["pytorch_model.bin"] = b"pickle"
    with pytest.raises(ModelError, match="expected weights as safetensors"):
        load()
    assert "pytorch_model.bin" not in hub.given


def test_a_hub_without_the_model_or_its_configuration(hub: Hub) -> None:
    for files in ({}, {"README.md": b"nothing"}):
        hub.files = files
        for attempt in (
            lambda: resolve_model(ID),
            lambda: load_checkpoint(ModelReference(ID), LoadOptions("cpu"), QWEN),
        ):
            with pytest.raises(ModelError, match=f"hf download {ID}") as raised:
                attempt()
            assert "\n" not in str(raised.value)


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HF_HOME"])
def test_environment_variables(variable: str, first: Path, tmp_path: Path) -> None:
    """A fresh process reads them as every tool of Hugging Face does."""
    home = tmp_path / "home"
    put(home / "hub", FIRST, first, refs=("main",))
    script = (
        "from stvg_core.session import open_session; from stvg_core.identity import LoadOptions; "
        f"print(open_session({ID!r}, LoadOptions('cpu')).adapter.checkpoint.folder)"
    )
    environment = {
        "PATH": "/usr/bin:/bin",
        "HF_HUB_OFFLINE": "1",
        variable: str(home if variable == "HF_HOME" else home / "hub"),
    }
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith(f"snapshots/{FIRST}"), done.stderr
