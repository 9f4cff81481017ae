"""The output folder: everything or nothing, and errors that say what to do."""

import os
from pathlib import Path

import pytest

from stvg_core.errors import OutputError, VideoError
from stvg_core.outputs.report.staging import check_output_folder, staged_files


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }


def write_all(folder: Path) -> None:
    with staged_files(folder) as stage:
        for name in ("a", "b", "c"):
            (stage / name).write_text(f"new {name}")


def test_a_new_folder_and_its_parents_appear_complete(tmp_path: Path):
    write_all(tmp_path / "x" / "y")
    assert contents(tmp_path) == {"x": "folder", "x/y": "folder", "x/y/a": "new a", "x/y/b": "new b", "x/y/c": "new c"}


def test_other_files_of_an_existing_folder_stay(tmp_path: Path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "b").write_text("old b")
    write_all(tmp_path)
    assert contents(tmp_path) == {"a": "new a", "b": "new b", "c": "new c", "mine": "mine"}


@pytest.mark.parametrize("error", [VideoError("broken"), KeyboardInterrupt()])
@pytest.mark.parametrize("place", ["new/deep", "old"])
def test_a_failed_run_leaves_everything_as_it_was(tmp_path: Path, error: BaseException, place: str):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "a").write_text("old a")
    before = contents(tmp_path)

    def fail() -> None:
        with staged_files(tmp_path / place) as stage:
            (stage / "a").write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert contents(tmp_path) == before


def fail_at(failing_move: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one move of a file fail, as on a full disk."""
    real, moves = Path.replace, iter(range(100))

    def replace(path: Path, target: Path) -> Path:
        if next(moves) == failing_move:
            raise OSError(28, "No space left on device")
        return real(path, target)

    monkeypatch.setattr(Path, "replace", replace)


@pytest.mark.parametrize("failing_move", range(5))
def test_a_failed_move_takes_the_others_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing_move: int):
    (tmp_path / "a").write_text("old a")
    (tmp_path / "c").write_text("old c")
    before = contents(tmp_path)
    fail_at(failing_move, monkeypatch)
    with pytest.raises(OutputError, match="no space left on device; choose another folder"):
        write_all(tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("place", ["file", "file/below", "file/below/deeper"])
def test_a_file_in_the_way_is_named(tmp_path: Path, place: str):
    (tmp_path / "file").write_text("mine")
    for attempt in (check_output_folder, write_all):
        with pytest.raises(OutputError, match=r"is a file; choose another folder"):
            attempt(tmp_path / place)
    assert contents(tmp_path) == {"file": "mine"}


@pytest.mark.parametrize("failing_move", [None, 0, 1])
def test_folders_move_like_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing_move: int | None):
    (tmp_path / "mine").write_text("mine")
    before = contents(tmp_path)
    real, moves = Path.replace, iter(range(100))

    def replace(path: Path, target: Path) -> Path:
        if next(moves) == failing_move:
            raise OSError(28, "No space left on device")
        return real(path, target)

    def write() -> None:
        with staged_files(tmp_path) as stage:
            for name in ("a", "b"):
                (stage / name / "deep").mkdir(parents=True)
                (stage / name / "deep" / "file").write_text(name)
            monkeypatch.setattr(Path, "replace", replace)

    if failing_move is None:
        write()
        assert contents(tmp_path)["b/deep/file"] == "b"
        return
    with pytest.raises(OutputError, match="no space left"):
        write()
    assert contents(tmp_path) == before


def test_a_folder_in_place_of_a_file_is_named_and_nothing_moves(tmp_path: Path):
    (tmp_path / "b").mkdir()
    with pytest.raises(OutputError, match="expected a file or nothing"):
        write_all(tmp_path)
    assert contents(tmp_path) == {"b": "folder"}


@pytest.mark.parametrize("place", ["", "below/it"])
def test_a_read_only_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str):
    tmp_path.chmod(0o500)
    if os.access(tmp_path, os.W_OK):  # root may write everywhere
        monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="may not be written to"):
        write_all(tmp_path / place)
    tmp_path.chmod(0o700)
    assert contents(tmp_path) == {}


def test_a_system_that_refuses_the_folder_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def mkdir(_path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(OutputError, match="permission denied"):
        write_all(tmp_path / "x")


@pytest.mark.parametrize("name", ["a\0b", "x" * 300])
def test_impossible_names_are_own_errors(tmp_path: Path, name: str):
    with pytest.raises(OutputError, match="choose another folder"):
        write_all(tmp_path / name)


def test_a_link_to_a_folder_is_followed(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    write_all(tmp_path / "link")
    assert (tmp_path / "real" / "a").read_text() == "new a"
    assert (tmp_path / "link").is_symlink()


def write_tree(folder: Path) -> None:
    with staged_files(folder) as stage:
        (stage / "pages" / "media").mkdir(parents=True)
        (stage / "index").write_text("new index")
        (stage / "pages" / "1").write_text("new 1")
        (stage / "pages" / "media" / "2").write_text("new 2")


def test_folders_are_joined_with_those_that_are_there(tmp_path: Path):
    (tmp_path / "pages" / "media").mkdir(parents=True)
    (tmp_path / "pages" / "1").write_text("old 1")
    (tmp_path / "pages" / "media" / "mine").write_text("mine")
    write_tree(tmp_path)
    assert contents(tmp_path) == {
        "index": "new index",
        "pages": "folder",
        "pages/1": "new 1",
        "pages/media": "folder",
        "pages/media/2": "new 2",
        "pages/media/mine": "mine",
    }


@pytest.mark.parametrize("failing_move", range(4))
def test_a_failed_move_takes_folders_back_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing_move: int):
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "1").write_text("old 1")
    before = contents(tmp_path)
    fail_at(failing_move, monkeypatch)
    with pytest.raises(OutputError, match="no space left on device"):
        write_tree(tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_stands_in_a_folder_s_place_is_named_and_nothing_moves(tmp_path: Path, kind: str):
    (tmp_path / "elsewhere").mkdir()
    out = tmp_path / "out"
    out.mkdir()
    if kind == "file":
        (out / "pages").write_text("mine")
    else:
        (out / "pages").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="expected a folder or nothing at"):
        write_tree(out)
    assert not (out / "index").exists()
    assert list((tmp_path / "elsewhere").iterdir()) == []
