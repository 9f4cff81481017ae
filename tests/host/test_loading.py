"""Loading a backend: whatever foreign code does, one line names it; from a file, what runs is what was listed."""

import hashlib
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stvg_core.errors import PluginError
from stvg_core.host.hooks import REQUIRED_HOOKS, hook_manager
from stvg_core.host.import_check import CheckOutcome, check_backend, check_backends, with_outcome
from stvg_core.host.loading import load_backend
from stvg_core.host.registry import FoundBackend, backend_named, find_backends
from stvg_core.host.registry.file_plugins import files_added, inspect_file, plugin_files
from stvg_core.host.registry.static_hooks import read_static_hooks
from stvg_core.host.session import open_backend, open_session
from stvg_core.plugin.hookspecs import hookimpl
from stvg_core.plugin.model_reference import LoadOptions, ModelReference
from tests.support.fake_distributions import HOOKS, manifest_text, write_distribution, write_plugin_file
from tests.support.scripted import ScriptedAdapter, ScriptedBackend, found_backend

PATIENCE_SECONDS = 60.0


def found(name: str) -> FoundBackend:
    return backend_named(name, find_backends())


BAD_IMPORTS = {
    "import-error": ("import a_library_that_is_gone", "ModuleNotFoundError: No module named 'a_library_that_is_gone'"),
    "syntax": ("def", r"SyntaxError: invalid syntax \(__init__\.py, line 1\)"),
    "exits": ("import sys; sys.exit('farewell')", r"it calls sys\.exit\(farewell\)"),
    "base": ("class Odd(BaseException): ...\nraise Odd('one\\ntwo')", "Odd: one two"),
    "mute": ("class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd", "Odd: it cannot tell"),
}


@pytest.mark.parametrize("name", BAD_IMPORTS)
def test_a_backend_that_fails_at_import_is_one_line(folder: Path, name: str, tmp_path: Path) -> None:
    code, told = BAD_IMPORTS[name]
    write_distribution(folder, name, code=code, manifest=manifest_text(name, architecture="OnlyHere"))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"architectures": ["OnlyHere"]}', encoding="utf-8")
    with pytest.raises(PluginError, match=rf"'{name}' of stvg-{name} 1\.0 failed while loading: {told}; pip") as caught:
        open_session(str(tmp_path / "model"))
    assert "\n" not in str(caught.value)


def test_ctrl_c_stays_ctrl_c(folder: Path) -> None:
    write_distribution(folder, "family", code="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_backend(found("family"))


def test_what_was_imported_must_be_what_was_listed(folder: Path, tmp_path: Path) -> None:
    write_distribution(folder, "family", code="", hooks=f"{HOOKS}\n    architectures = ('Another',)\n")
    with pytest.raises(PluginError, match=r"what its manifest says \(FamilyModel\), got Another; pip install"):
        load_backend(found("family"))


def test_a_package_from_elsewhere_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_distribution(folder, "family", code="")
    listed = found("family")
    elsewhere = tmp_path / "elsewhere"
    write_distribution(elsewhere, "family", code="")
    monkeypatch.setattr(sys, "path", [str(elsewhere), *sys.path])
    with pytest.raises(PluginError, match=f"from {folder / 'stvg_family'}, Python imported it from {elsewhere}"):
        load_backend(listed)


@pytest.mark.parametrize(
    "signature", ["self, *, adapter", "self, adapter, logits, settings=None", "self, adapter, **more"]
)
def test_arguments_that_pluggy_drops_are_refused(signature: str) -> None:
    """Without the check the first fails at the call, and the others are never handed over."""
    scope: dict[str, object] = {"hookimpl": hookimpl, "ScriptedBackend": ScriptedBackend}
    source = f"class Odd(ScriptedBackend):\n    @hookimpl\n    def stvg_regularize_logits({signature}): ..."
    exec(source, scope)
    odd = scope["Odd"](ScriptedAdapter())  # type: ignore[operator]
    with pytest.raises(PluginError, match=r"stvg_regularize_logits of backend 'scripted' .* without defaults"):
        hook_manager(odd, found_backend())


def test_a_wrapper_alone_is_no_implementation() -> None:
    class Wrapping(ScriptedBackend):
        @hookimpl(wrapper=True)
        def stvg_regularize_logits(self):
            return (yield)

    with pytest.raises(PluginError, match="lacks stvg_regularize_logits"):
        hook_manager(Wrapping(ScriptedAdapter()), found_backend())


def test_an_object_that_cannot_be_looked_at_is_the_plugin_s_failure() -> None:
    class Trap(ScriptedBackend):
        def __dir__(self):
            raise RuntimeError("trapped")

    with pytest.raises(PluginError, match=r"'scripted' of stvg-scripted .*RuntimeError: trapped"):
        hook_manager(Trap(ScriptedAdapter()), found_backend())


def test_the_identity_tells_the_hook_api_that_the_backend_was_written_for() -> None:
    older = found_backend(hook_api=7)
    session = open_backend(ScriptedBackend(ScriptedAdapter()), older, ModelReference("scripted"), LoadOptions())
    assert session.identity.hook_api == 7


# ---- the check in a process of its own


CHECKED = {
    "good": "",
    "absent": "import a_library_that_is_gone",
    "syntax": "def",
    "exits": "import sys; sys.exit(0)",
    "crashes": "import os; os._exit(0)",
    "killed": "import os; os.kill(os.getpid(), 9)",
    "talks": "print('x' * 1_000_000); import sys; sys.stdout.flush()",
    "hangs": "import pathlib, subprocess\npathlib.Path(__file__).with_name('reached').touch()\n"
    "subprocess.run(['sleep', '86399'])",
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, CheckOutcome]]:
    folder = tmp_path_factory.mktemp("checked")
    for name, code in CHECKED.items():
        write_distribution(folder, name, code=code)
    lacking = HOOKS.replace("stvg_augment_frames", "augment_frames").replace(
        "    @hookimpl\n    def augment", "    def augment"
    )
    write_distribution(folder, "lacking", code="", hooks=lacking)
    write_distribution(folder, "signature", code="", hooks=HOOKS.replace("frames, clip, settings", "video"))
    write_distribution(folder, "unmet", requires=("not-there-at-all",))
    sys.path.insert(0, str(folder))
    try:
        rows = {row.name: row for row in find_backends() if row.metadata_path and row.metadata_path.parent == folder}
        hanging = rows.pop("hangs")
        checked = dict(zip(rows, check_backends(tuple(rows.values()), PATIENCE_SECONDS), strict=True))
        for seconds in (4.0, 16.0, PATIENCE_SECONDS):
            checked["hangs"] = check_backend(hanging, seconds)
            if (folder / "stvg_hangs" / "reached").exists():
                break  # on a slow machine an interpreter may take longer to come that far
        yield checked
    finally:
        sys.path.remove(str(folder))


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("good", "ok", ""),
        ("talks", "ok", ""),
        ("absent", "broken", "No module named 'a_library_that_is_gone'"),
        ("syntax", "broken", "SyntaxError"),
        ("exits", "broken", "it calls sys.exit(0)"),
        ("crashes", "broken", "ended the interpreter (exit code 0)"),
        ("killed", "broken", "ended the interpreter (signal 9)"),
        ("hangs", "broken", "did not end within"),
        ("lacking", "broken", "lacks stvg_augment_frames"),
        ("signature", "broken", "video"),
        ("unmet", "unmet-deps", "not-there-at-all"),
    ],
)
def test_each_plugin_is_checked_alone(outcomes: dict[str, CheckOutcome], name: str, status: str, reason: str) -> None:
    outcome = outcomes[name]
    assert outcome.status == status
    assert reason in outcome.reason
    assert bool(outcome.fix) == (status != "ok")
    assert outcome.hooks == (REQUIRED_HOOKS if status == "ok" else ())
    assert "a_library_that_is_gone" not in sys.modules


def test_what_hangs_is_killed_with_its_children(outcomes: dict[str, CheckOutcome]) -> None:
    assert outcomes["hangs"].status == "broken"
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.parent.exists()]
    assert b"sleep\x0086399\x00" not in commands


def test_the_outcome_becomes_the_row(outcomes: dict[str, CheckOutcome]) -> None:
    row = with_outcome(found_backend(), outcomes["absent"])
    assert (row.status, row.reason, row.fix) == ("broken", outcomes["absent"].reason, outcomes["absent"].fix)


# ---- a backend in a single file


def test_a_file_is_listed_without_running_it(folder: Path, tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    file = write_plugin_file(
        tmp_path / "mine.py", "single", f"import pathlib\npathlib.Path({str(proof)!r}).touch()\n{HOOKS}"
    )
    with files_added((file, file)):
        assert plugin_files() == (file,)
        row = found("single")
    assert (row.status, row.distribution, row.architectures) == ("ok", "mine.py", ("FamilyModel",))
    assert row.version == f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    assert set(read_static_hooks(row).names) == set(REQUIRED_HOOKS)
    assert not proof.exists()
    assert "single" not in {each.name for each in find_backends()}, "outside it is gone again"
    hook_manager(load_backend(row), row)
    assert proof.exists()


@pytest.mark.parametrize(
    ("text", "status", "told"),
    [
        ("def", "broken", "not Python"),
        ("x = 1\x00", "broken", "not Python"),
        ("x = 1", "missing-manifest", "expected one assignment at module level, found 0"),
        ("STVG_BACKEND = {}\nSTVG_BACKEND = {}", "missing-manifest", "found 2"),
        ("STVG_BACKEND = dict(name='x')", "missing-manifest", "expected a literal"),
        ("STVG_BACKEND = {'name': open('/etc/passwd')}", "missing-manifest", "expected a literal"),
        ("STVG_BACKEND = [1]", "missing-manifest", "expected names and values"),
        ("STVG_BACKEND: dict = {'name': 'x'}", "missing-manifest", "display_name: expected a value"),
        ("def f():\n    STVG_BACKEND = {}", "missing-manifest", "found 0"),
        ("STVG_BACKEND = " + "[" * 500 + "]" * 500, "broken|missing-manifest", ""),
    ],
)
def test_a_file_that_is_no_plugin_is_a_row(tmp_path: Path, text: str, status: str, told: str) -> None:
    file = tmp_path / "odd.py"
    file.write_text(text, encoding="utf-8")
    row = inspect_file(file)
    assert row.status in status.split("|")
    assert told in row.reason
    assert row.fix
    assert inspect_file(tmp_path / "absent.py").status == "broken"
    assert inspect_file(tmp_path).status == "broken"


def test_a_file_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_plugin_file(tmp_path / "mine.py")
    needy = file.read_text().replace('"plugin"', '"requires": ["not-there-at-all>=2"], "plugin"')
    file.write_text(needy, encoding="utf-8")
    monkeypatch.setenv("STVG_PLUGIN_FILES", str(file))
    (row,) = [row for row in find_backends() if row.is_file]
    assert (row.status, row.fix) == ("unmet-deps", "pip install --upgrade 'not-there-at-all>=2'")


def test_a_file_that_changed_since_is_not_run(tmp_path: Path) -> None:
    file = write_plugin_file(tmp_path / "mine.py")
    row = inspect_file(file)
    file.write_text(file.read_text() + "raise RuntimeError('changed')\n", encoding="utf-8")
    with pytest.raises(PluginError, match="as it was listed, got other bytes; run again"):
        load_backend(row)


def test_a_file_claims_a_name_like_any_other(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_distribution(folder, "family")
    monkeypatch.setenv("STVG_PLUGIN_FILES", str(write_plugin_file(tmp_path / "mine.py", "family")))
    with pytest.raises(PluginError, match=r"--backend mine.py:family or --backend stvg-family:family"):
        found("family")
    assert found("mine.py:family").is_file
    monkeypatch.setenv("STVG_LOAD_PLUGINS", "")
    assert found("family").is_file, "a file that was named needs no second permission"
    monkeypatch.setenv("STVG_DISABLE_PLUGINS", "mine.py")
    with pytest.raises(PluginError, match="disabled"):
        found("family")


def test_a_file_s_failure_says_where_to_mend_it(tmp_path: Path) -> None:
    file = write_plugin_file(tmp_path / "mine.py", body="import sys\nsys.exit(4)\n")
    before = set(sys.modules)
    with pytest.raises(PluginError, match=rf"'single' of mine.py failed .*sys\.exit\(4\); fix {file}"):
        load_backend(inspect_file(file))
    assert not [name for name in set(sys.modules) - before if name.startswith("stvg_file_plugin_")]


# ---- worker processes


def test_a_spawned_worker_finds_the_same(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_distribution(folder, "family")
    write_distribution(folder, "denied")
    file = write_plugin_file(tmp_path / "mine.py")
    monkeypatch.setenv("STVG_DISABLE_PLUGINS", "denied")
    with files_added((file,)), multiprocessing.get_context("spawn").Pool(1) as pool:
        here, there = find_backends(), pool.apply(find_backends)
    assert there == here
    assert {row.name: row.status for row in there if row.name in {"family", "denied", "single"}} == {
        "family": "ok", "denied": "disabled", "single": "ok",
    }  # fmt: skip


# ---- start-up


def test_listing_twenty_backends_imports_none_and_no_torch(tmp_path: Path) -> None:
    for number in range(20):
        write_distribution(tmp_path, f"fake-{number}", requires=("numpy>=2", "torch>=2"))
    for arguments in (["--help"], ["plugins"], ["plugins", "--json"], ["plugins", "show", "fake-7"], ["models"]):
        code = (
            f"import sys; sys.argv = ['stvg', *{arguments}]\n"
            "from stvg_core.cli import main\n"
            "try:\n    main()\nexcept SystemExit as exit:\n    assert not exit.code, exit.code\n"
            "heavy = {'torch', 'numpy', 'transformers', 'cv2', 'av', 'scipy', 'pluggy', 'PIL'}\n"
            "loaded = [name for name in sys.modules if name in heavy or name.startswith('stvg_fake')]\n"
            "assert not loaded or sys.argv[1] == 'models' and set(loaded) <= {'numpy'}, loaded\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        if arguments == ["plugins"]:
            assert sum(line.startswith("fake-") and " ok " in line for line in done.stdout.splitlines()) == 20
