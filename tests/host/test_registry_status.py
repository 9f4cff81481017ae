"""Every status of a backend, from what pip and time leave on a disk; nothing here imports a plugin."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stvg_core.host.registry import find_backends_and_warnings
from stvg_core.host.registry.manifest import BackendManifest, check_manifest
from stvg_core.host.registry.metadata import find_installed
from stvg_core.host.registry.requirements import requirement_states
from stvg_core.plugin import model_reference
from tests.support.fake_distributions import manifest_text, row, rows, write_distribution

CONTROLS = "\x1b[31m\x07\u202e"


def test_a_healthy_backend_tells_where_it_is(folder: Path) -> None:
    info = write_distribution(folder, "family", requires=("numpy>=2",))
    found = row()
    assert (found.status, found.reason, found.fix) == ("ok", "", "")
    assert (found.metadata_path, found.package_path) == (info, folder / "stvg_family")
    assert (found.display_name, found.hook_api, found.requirements) == ("A family", 1, ("numpy>=2",))
    assert found.selector == "stvg-family:family"


# ---- incompatible-api


@pytest.mark.parametrize(
    ("oldest", "newest", "written_for", "status", "outdated"),
    [
        (2, 4, 1, "incompatible-api", "stvg-family"),
        (2, 4, 2, "ok", None),
        (2, 4, 3, "ok", None),
        (2, 4, 4, "ok", None),
        (2, 4, 5, "incompatible-api", "stvg-core"),
    ],
)
def test_a_range_of_hook_apis_is_spoken(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    oldest: int,
    newest: int,
    written_for: int,
    status: str,
    outdated: str | None,
) -> None:
    monkeypatch.setattr(model_reference, "MIN_HOOK_API", oldest)
    monkeypatch.setattr(model_reference, "HOOK_API", newest)
    write_distribution(folder, "family", manifest=manifest_text("family", api=written_for))
    found = row()
    assert found.status == status
    if outdated is not None:
        assert found.reason == f"written for hook API {written_for}, this core has 2 to 4"
        assert found.fix == f"pip install --upgrade {outdated}"


# ---- unmet-deps


@pytest.mark.parametrize(
    ("line", "applies", "met"),
    [
        ("numpy", True, True),
        ("NumPy>=1", True, True),
        ("numpy>=999", True, False),
        ("numpy==*", True, False),
        ("not-there-at-all", True, False),
        ("not-there-at-all; python_version < '3'", False, True),
        ("not-there-at-all; extra == 'more'", False, True),
        ("not-there-at-all; nonsense == 'x'", True, False),
        ("not there at all", True, False),
        ("numpy @ https://example.org/numpy.whl", True, True),
        ("torch>=2.6", True, True),
    ],
)
def test_a_requirement_is_evaluated_before_any_import(line: str, applies: bool, met: bool) -> None:
    states = requirement_states([line], find_installed().versions)
    assert [state.met for state in states] == ([met] if applies else [])


def test_a_version_that_only_the_metadata_file_tells_counts(folder: Path) -> None:
    egg = folder / "plain.egg-info"
    egg.mkdir()
    (egg / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: plain\nVersion: 3.5\n", encoding="utf-8")
    (state,) = requirement_states(["plain>=3"], find_installed().versions)
    assert (state.installed, state.met) == ("3.5", True)
    assert not requirement_states(["plain>=4"], find_installed().versions)[0].met


# ---- missing-manifest, and manifests that are none


def leads_outside(folder: Path) -> None:
    elsewhere = folder.parent / "elsewhere.toml"
    elsewhere.write_text(manifest_text("family"), encoding="utf-8")
    (folder / "stvg_family" / "stvg-backend.toml").symlink_to(elsewhere)


def in_preset(settings: str) -> str:
    return f"{manifest_text('family')}[presets.released]\n{settings}"


def test_a_manifest_tells_what_a_family_has_differently(folder: Path) -> None:
    settings = 'augment.enabled = false\n"joint.span_share" = 0.6\n[presets.released.spatial.layers]\nstart = 0.25'
    write_distribution(folder, "family", manifest=in_preset(settings))
    write_distribution(folder, "plain")
    assert row().presets == {
        "released": {"augment.enabled": False, "joint.span_share": 0.6, "spatial.layers.start": 0.25}
    }
    assert row("plain").presets == {}
    assert len({row(), row("plain")}) == 2, "backends can be told apart in sets"


@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        (None, "holds no stvg-backend.toml"),
        ("not = toml = at all", "stvg-backend.toml"),
        (b"\xff\xfe\x00binary", "codec"),
        (b"\x00" * 100, "stvg-backend.toml"),
        ("x = 1\n" * 20_000, "larger than 65536 bytes"),
        ("a = " + "[" * 20_000, "stvg-backend.toml"),
        (manifest_text("family").replace("hook_api = 1", 'hook_api = "1"'), "hook_api: expected a whole number"),
        (manifest_text("family").replace("hook_api = 1", "hook_api = true"), "hook_api: expected a whole number"),
        (manifest_text("family").replace("hook_api = 1", "hook_api = 0"), "hook_api"),
        (manifest_text("family").replace("hook_api = 1", ""), "hook_api: expected a value"),
        (manifest_text("family").replace('["FamilyModel"]', '"FamilyModel"'), "architectures: expected a list"),
        (manifest_text("family").replace('["FamilyModel"]', "[3]"), "architectures: expected text"),
        (manifest_text("family").replace('["FamilyModel"]', "[]"), "architectures: expected at least one"),
        (manifest_text("family") + "priority = 3", "'priority'"),
        (manifest_text("family").replace('"family"', "3"), "name: expected text"),
        (manifest_text("family").replace('"family"', '"a:b"'), "name: expected text"),
        (manifest_text("family").replace("A family", "long" * 100), "display_name"),
        (manifest_text("family") + "presets = 3", "presets: expected presets and their settings, got 3"),
        (
            manifest_text("family") + "[presets.relesed]",
            "presets: 'relesed': expected a preset (paper, fast, released)",
        ),
        (manifest_text("family") + "[presets.calibrated]", "presets: 'calibrated': expected a preset"),
        (manifest_text("family") + "[presets]\npaper = 3", "presets: paper: expected settings and their values, got 3"),
        (in_preset("Prompt.steps = 1"), "presets: released: expected text of the form"),
        (in_preset('"prompt..steps" = 1'), "presets: released: expected text of the form"),
        (
            in_preset("prompt.steps = [1]"),
            "presets: released: 'prompt.steps': expected a number, a truth value or text",
        ),
        (in_preset("prompt.steps = 1979-05-27"), "presets: released: 'prompt.steps': expected a number"),
        (in_preset("a.b.c.d.e = 1"), "presets: released: 'a.b.c.d.e': expected at most 4 parts, got 5"),
        (in_preset('prompt.steps = 1\n"prompt.steps" = 2'), "presets: released: 'prompt.steps': expected one value"),
        (in_preset(f"question_template = '{'x' * 5000}'"), "presets: released: 'question_template': expected a number"),
        (in_preset("".join(f"a{number} = 1\n" for number in range(129))), "expected at most 128 settings, got 129"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_a_row(folder: Path, manifest: str | bytes | None, told: str) -> None:
    write_distribution(folder, "family", manifest=manifest)
    write_distribution(folder, "healthy")
    found = row()
    assert found.status == "missing-manifest"
    assert told in found.reason
    assert "stvg-family" in found.fix
    assert row("healthy").status == "ok"


def test_a_manifest_may_not_lead_out_of_its_package(folder: Path) -> None:
    write_distribution(folder, "family", manifest=None)
    leads_outside(folder)
    assert row().status == "missing-manifest"
    assert "leads out of its package" in row().reason


def test_a_package_of_links_into_a_store_is_read(folder: Path) -> None:
    """Some installers link every file of a package into their cache."""
    write_distribution(folder, "family")
    store = folder.parent / "store"
    (folder / "stvg_family").rename(store)
    (folder / "stvg_family").mkdir()
    for file in store.iterdir():
        (folder / "stvg_family" / file.name).symlink_to(file)
    assert row().status == "ok"


def test_a_manifest_of_another_name_is_broken(folder: Path) -> None:
    write_distribution(folder, "family", manifest=manifest_text("other"))
    assert row().status == "broken"
    assert row().reason == "its manifest says 'other', its entry point 'family'"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
    | st.fixed_dictionaries(
        {
            "name": st.text() | st.just("x"),
            "display_name": st.text() | st.integers(),
            "hook_api": st.integers() | st.booleans(),
            "architectures": st.lists(st.text() | st.integers()),
            "presets": st.dictionaries(
                st.text() | st.sampled_from(["paper", "released"]),
                st.recursive(
                    st.none() | st.booleans() | st.floats() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from("abc") | st.text(), inner),
                ),
            ),
        }
    )
)
def test_any_data_is_a_manifest_or_a_value_error(data: object) -> None:
    try:
        manifest = check_manifest(BackendManifest, data)
    except ValueError as error:
        assert str(error)  # noqa: PT017  # both ways are right
        return
    assert manifest.hook_api >= 1
    assert all(name.isprintable() for name in manifest.architectures)


# ---- broken metadata


@pytest.mark.parametrize(
    ("entry_points", "told"),
    [
        ("[stvg.backends]\nfamily = :Backend\n", "expected module:name"),
        ("[stvg.backends]\nfamily =\n", "expected module:name"),
        ("[stvg.backends]\nfamily\n", "expected module:name"),
        ("[stvg.backends]\nfamily = stvg_family.hooks\n", "expected module:name"),
        ("[stvg.backends]\nfamily = ../../up:Backend\n", "expected module:name"),
    ],
)
def test_an_entry_point_without_a_module_is_broken(folder: Path, entry_points: str, told: str) -> None:
    info = write_distribution(folder, "family", entry_points=entry_points)
    write_distribution(folder, "healthy")
    assert row().status == "broken"
    assert told in row().reason
    assert str(info) in row().fix
    assert row("healthy").status == "ok"


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"[stvg.backends]\n" + b"#" * 1_100_000])
def test_entry_points_that_cannot_be_read_are_a_row(folder: Path, content: bytes) -> None:
    write_distribution(folder, "family", entry_points=content)
    assert row().status == "broken"
    assert "entry_points.txt" in row().reason


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ("Metadata-Version: 2.1\nVersion: 1.0\n", "its metadata has no name"),
        ("", "its metadata has no name"),
        ("Name: a; rm -rf ~\nVersion: 1.0\n", "a name that no distribution can have"),
        (b"\xff\xfe\x00", "its metadata cannot be read"),
    ],
)
def test_metadata_without_a_name_is_broken(folder: Path, metadata: str | bytes, told: str) -> None:
    info = write_distribution(folder, "family", metadata=metadata)
    found = row()
    assert found.status == "broken"
    assert told in found.reason
    assert str(info) in found.fix
    assert "rm -rf" not in found.fix


def test_what_an_interrupted_pip_left_takes_no_name(folder: Path) -> None:
    info = write_distribution(folder, "family")
    left = folder / "~tvg_family-0.9.dist-info"
    left.mkdir()
    for file in info.iterdir():
        (left / file.name).write_bytes(file.read_bytes())
    assert sorted(found.status for found in rows()) == ["broken", "ok"]


def test_controls_are_cleaned_before_they_are_shown(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_distribution(
        folder,
        "family",
        manifest=manifest_text("family").replace("A family", "A\\u001b[31m family\\u202e"),
        metadata=f"Metadata-Version: 2.1\nName: stvg-family\nVersion: 1{CONTROLS}\nRequires-Dist: no{CONTROLS}\n",
    )
    write_distribution(folder, "odd", entry_points=f"[stvg.backends]\nodd{CONTROLS} = {CONTROLS}:x\n")
    monkeypatch.setenv("STVG_DISABLE_PLUGINS", f"gone{CONTROLS}")
    backends, warnings = find_backends_and_warnings()
    ours = [found for found in backends if found.metadata_path is not None and found.metadata_path.parent == folder]
    assert len(ours) == 2
    for found in ours:
        shown = (found.name, found.distribution, found.version, found.reason, found.fix, found.display_name)
        assert all(text.isprintable() for text in shown), shown
    assert len(warnings) == 1
    assert warnings[0].isprintable()
