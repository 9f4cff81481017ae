"""Which of several backends is used: shadowed copies, duplicates, allow and deny lists; what a listing never does."""

import sys
from pathlib import Path

import pytest

from stvg_core.errors import ModelError, PluginError, UsageError
from stvg_core.host.loading import open_plugin, plugin_names
from stvg_core.host.models import named_models, resolve_model
from stvg_core.host.registry import backend_for, backend_named, find_backends, find_backends_and_warnings
from stvg_core.host.registry import found as found_module
from stvg_core.host.registry.file_plugins import inspect_file
from stvg_core.host.registry.static_hooks import read_static_hooks
from tests.support.fake_distributions import EXPLODING, HOOKS, row, rows, write_distribution

# ---- shadowed


def second_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    later = folder.parent / "later"
    later.mkdir()
    monkeypatch.setattr(sys, "path", [sys.path[0], str(later), *sys.path[1:]])
    return later


def test_an_older_copy_further_down_is_a_row_that_harms_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    winner = write_distribution(folder, "family", version="2.0")
    hidden = write_distribution(second_folder(folder, monkeypatch), "family", version="1.0")
    used, shadowed = rows()
    assert (used.status, used.version) == ("ok", "2.0")
    assert (shadowed.status, shadowed.version) == ("shadowed", "1.0")
    for path in (winner, hidden):
        assert str(path) in shadowed.reason
    assert shadowed.fix == f"harmless as it is; delete {hidden} to be rid of it"
    assert backend_for("FamilyModel", find_backends()) == used
    assert backend_named("family", find_backends()) == used
    assert backend_named("stvg-family:family", find_backends()) == used


def test_an_older_copy_that_comes_first_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = write_distribution(folder, "family", version="1.0")
    write_distribution(second_folder(folder, monkeypatch), "family", version="2.0")
    used, shadowed = rows()
    assert (used.status, used.version) == ("ok", "1.0")
    assert f"delete {stale}, which is the older one" in shadowed.fix


def test_a_stale_install_without_the_backend_is_told_with_both_paths(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = folder / "stvg_family.egg-info"
    stale.mkdir()
    (stale / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: stvg-family\nVersion: 0.1\n", encoding="utf-8")
    real = write_distribution(second_folder(folder, monkeypatch), "family", version="1.0")
    found = row()
    assert found.status == "shadowed"
    for path in (stale, real):
        assert str(path) in found.reason
    assert found.fix.startswith(f"delete {stale}")
    with pytest.raises(PluginError, match=r"is shadowed: .*offers no backend 'family'"):
        backend_for("FamilyModel", find_backends())


def test_the_same_folder_twice_on_the_path_is_one_copy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_distribution(folder, "family")
    link = folder.parent / "link"
    link.symlink_to(folder)
    monkeypatch.setattr(sys, "path", [str(folder), str(link), *sys.path])
    assert row().status == "ok"


# ---- duplicate


def two_claims(folder: Path) -> None:
    for distribution in ("stvg-family", "other-family"):
        write_distribution(folder, "family", distribution=distribution)


def test_duplicates_name_both_and_how_to_choose(folder: Path) -> None:
    two_claims(folder)
    for found in rows():
        assert found.status == "duplicate"
        assert found.reason == "other-family and stvg-family both claim the name 'family'"
        assert "--backend other-family:family or --backend stvg-family:family" in found.fix
    for call in (lambda: backend_for("FamilyModel", find_backends()), lambda: backend_named("family", find_backends())):
        with pytest.raises(PluginError, match=r"both claim the name 'family'; choose with --backend other-family:"):
            call()


@pytest.mark.parametrize("distribution", ["stvg-family", "other-family"])
def test_a_duplicate_is_chosen_by_its_distribution(folder: Path, distribution: str) -> None:
    two_claims(folder)
    for spelled in (distribution, distribution.upper().replace("-", "_")):
        assert backend_named(f"{spelled}:family", find_backends()).distribution == distribution


def test_denying_one_of_two_leaves_the_other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two_claims(folder)
    monkeypatch.setenv("STVG_DISABLE_PLUGINS", "other-family:family")
    assert {found.distribution: found.status for found in rows()} == {"other-family": "disabled", "stvg-family": "ok"}


def test_a_broken_claimant_takes_no_name(folder: Path) -> None:
    write_distribution(folder, "family")
    write_distribution(folder, "family", distribution="other-family", requires=("not-there-at-all",))
    assert {found.distribution: found.status for found in rows()} == {"other-family": "unmet-deps", "stvg-family": "ok"}
    assert backend_named("family", find_backends()).distribution == "stvg-family"


def test_a_tie_of_architectures_says_how_to_choose(folder: Path) -> None:
    write_distribution(folder, "one")
    write_distribution(folder, "two")
    with pytest.raises(PluginError, match=r"choose with --backend stvg-one:one or --backend stvg-two:two"):
        backend_for("FamilyModel", find_backends())
    assert backend_named("two", find_backends()).name == "two"


def test_only_the_exact_architecture_is_taken(folder: Path) -> None:
    write_distribution(folder, "family")
    for near in ("familymodel", "FamilyModelForVideo", "Family"):
        with pytest.raises(PluginError, match="no installed backend handles"):
            backend_for(near, find_backends())


def test_an_unknown_backend_gets_the_nearest(folder: Path) -> None:
    write_distribution(folder, "family")
    with pytest.raises(PluginError, match=r"unknown backend 'famly'; did you mean family\?"):
        backend_named("famly", find_backends())


# ---- disabled


@pytest.mark.parametrize(
    ("allowed", "denied", "enabled"),
    [
        (None, None, {"one", "two"}),
        ("", None, set()),
        (" , ", None, set()),
        ("one", None, {"one"}),
        ("STVG_One", None, {"one"}),
        ("stvg.one, two", None, {"one", "two"}),
        ("stvg-one:one", None, {"one"}),
        ("stvg-one:two", None, set()),
        (None, "", {"one", "two"}),
        (None, "stvg_two", {"one"}),
        (None, "two,one", set()),
        ("one,two", "stvg-one", {"two"}),
        ("one", "one", set()),
    ],
)
def test_allow_and_deny_lists(
    folder: Path, monkeypatch: pytest.MonkeyPatch, allowed: str | None, denied: str | None, enabled: set[str]
) -> None:
    for name in ("one", "two"):
        write_distribution(folder, name)
    for variable, value in (("STVG_LOAD_PLUGINS", allowed), ("STVG_DISABLE_PLUGINS", denied)):
        if value is not None:
            monkeypatch.setenv(variable, value)
    found = [row("one"), row("two")]
    assert {each.name for each in found if each.status == "ok"} == enabled
    for each in found:
        if each.name not in enabled:
            assert each.status == "disabled"
            variable = "STVG_DISABLE_PLUGINS" if each.reason.startswith("STVG_DISABLE") else "STVG_LOAD_PLUGINS"
            assert variable in each.reason
            assert variable in each.fix
            with pytest.raises(PluginError, match=rf"'{each.name}' of stvg-{each.name} is disabled: {variable}"):
                backend_named(each.name, find_backends())


@pytest.mark.parametrize("variable", ["STVG_LOAD_PLUGINS", "STVG_DISABLE_PLUGINS"])
def test_an_unknown_name_is_warned_of_with_the_nearest(
    folder: Path, monkeypatch: pytest.MonkeyPatch, variable: str, caplog: pytest.LogCaptureFixture
) -> None:
    write_distribution(folder, "family")
    monkeypatch.setenv(variable, "stvg-family,famly")
    _, warnings = find_backends_and_warnings()
    assert warnings == (f"{variable} names 'famly', which is no plugin here; did you mean family?",)
    find_backends()
    find_backends()
    assert [record.message for record in caplog.records].count(warnings[0]) == 1, "told once a process"


def test_a_known_name_is_not_warned_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_distribution(folder, "family")
    write_distribution(folder, "tracks", entry_points="[stvg.trackers]\nmine = stvg_tracks:Tracker\n")
    monkeypatch.setenv("STVG_DISABLE_PLUGINS", "family,stvg_family,stvg-family:family,stvg-tracks")
    assert find_backends_and_warnings()[1] == ()


def write_extension(folder: Path, group: str = "stvg.trackers") -> None:
    write_distribution(folder, "thing", code="class Made: ...\n", entry_points=f"[{group}]\nmine = stvg_thing:Made\n")


def open_mine() -> object:
    return open_plugin("stvg.trackers", "tracker", object, "mine")


def test_the_lists_hold_for_other_kinds_by_distribution(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_extension(folder)
    assert open_mine() is not None
    assert "mine" in plugin_names("stvg.trackers")
    monkeypatch.setenv("STVG_DISABLE_PLUGINS", "STVG_thing")
    assert "mine" not in plugin_names("stvg.trackers")
    with pytest.raises(PluginError, match="tracker 'mine' of stvg-thing is disabled: STVG_DISABLE_PLUGINS"):
        open_mine()
    monkeypatch.setenv("STVG_DISABLE_PLUGINS", "mine")
    assert "mine" in plugin_names("stvg.trackers"), "other kinds are named by their distribution alone"


def test_an_empty_allow_list_leaves_the_core_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stvg_core.inputs.tracks.catalog import open_tracker, tracker_names

    write_extension(folder)
    monkeypatch.setenv("STVG_LOAD_PLUGINS", "")
    assert tracker_names() == ("attention", "file:PATH", "regions")
    assert open_tracker("regions").name == "regions"
    assert named_models() == {}
    assert {found.status for found in find_backends()} == {"disabled"}
    with pytest.raises(ModelError, match="'tiny:qwen2-vl' of stvg-tiny is disabled: STVG_LOAD_PLUGINS"):
        resolve_model("tiny:qwen2-vl")


@pytest.mark.parametrize("code", ["import sys; sys.exit(3)", "raise SystemError('x')", "def", "import gone_library"])
def test_an_extension_that_fails_is_one_line(folder: Path, code: str) -> None:
    write_extension(folder)
    (folder / "stvg_thing" / "__init__.py").write_text(code, encoding="utf-8")
    with pytest.raises(PluginError, match=r"'mine' of stvg-thing failed while loading: .*pip install") as caught:
        open_mine()
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError):
        open_plugin("stvg.trackers", "tracker", object, "yours")


def test_a_model_that_exits_is_a_model_error(folder: Path) -> None:
    write_distribution(
        folder, "named", code="import sys; sys.exit(3)", entry_points="[stvg.models]\nmine:x = stvg_named:Made\n"
    )
    with pytest.raises(ModelError, match=r"'mine:x' of stvg-named failed while loading: it calls sys.exit\(3\)"):
        resolve_model("mine:x")


# ---- hooks from source


def test_hooks_are_read_from_source_through_bases(folder: Path) -> None:
    write_distribution(folder, "base", hooks=HOOKS, code=EXPLODING)
    derived = "from stvg_base.hooks import Backend as Base\nclass Backend(Base):\n    def stvg_more(self): ...\n"
    write_distribution(folder, "family", hooks=derived)
    static = read_static_hooks(row())
    assert set(static.names) == {
        "stvg_create_adapter", "stvg_capture_attention", "stvg_select_grounding_tokens", "stvg_regularize_logits",
        "stvg_augment_frames", "stvg_more",
    }  # fmt: skip
    assert static.complete
    (folder / "stvg_base" / "hooks.py").write_text("def", encoding="utf-8")
    assert read_static_hooks(row()).names == ("stvg_more",)
    assert not read_static_hooks(row()).complete


def test_a_base_that_is_its_own_base_ends(folder: Path) -> None:
    write_distribution(folder, "family", hooks="class Backend(Backend):\n    def stvg_more(self): ...\n")
    assert read_static_hooks(row()).names == ("stvg_more",)


def test_no_listing_imports_a_plugin(folder: Path) -> None:
    (folder.parent / "proof").mkdir()
    proof = folder.parent / "proof" / "imported"
    write_distribution(folder, "family", code=f"import pathlib\npathlib.Path({str(proof)!r}).touch()")
    read_static_hooks(row())
    assert not proof.exists()


# ---- documentation


PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"


def test_every_status_is_documented() -> None:
    told = {line.removeprefix("### ") for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:4] == "### "}
    values = {value for name, value in vars(found_module).items() if name.isupper() and isinstance(value, str)}
    assert told == values - {found_module.FILE_VERSION}


def test_the_documented_file_is_a_plugin(tmp_path: Path) -> None:
    example = PAGE.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    file = tmp_path / "my_backend.py"
    file.write_text(example, encoding="utf-8")
    read = inspect_file(file)
    assert (read.name, read.status, read.requirements) == ("mine", "ok", ("transformers>=5.17",))
