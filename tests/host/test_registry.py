import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from stvg_core.errors import ModelError, PluginError
from stvg_core.host.known_models import AUTHORS_FORMATS, EXAMPLE_BACKENDS, KNOWN_CHECKPOINTS, PUBLISHED_BACKENDS
from stvg_core.host.models import read_architecture, resolve_model
from stvg_core.host.registry import FoundBackend, backend_for, find_backends
from tests.support.scripted import found_backend

MANIFEST = """
name = "{name}"
display_name = "A family"
hook_api = {api}
architectures = ["FamilyModel"]
"""


def install(folder: Path, name: str, *, distribution: str = "", manifest: str | None = None, needs: str = "") -> None:
    """Write what pip would: a package whose import explodes, its metadata, perhaps a manifest."""
    distribution = distribution or f"stvg-{name}"
    package = distribution.replace("-", "_")
    (folder / package).mkdir()
    (folder / package / "__init__.py").write_text("raise RuntimeError('imported')", encoding="utf-8")
    if manifest is not None:
        (folder / package / "stvg-backend.toml").write_text(manifest, encoding="utf-8")
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    requires = f"Requires-Dist: {needs}\n" if needs else ""
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n{requires}", encoding="utf-8"
    )
    (info / "entry_points.txt").write_text(f"[stvg.backends]\n{name} = {package}.hooks:Backend\n", encoding="utf-8")


def find(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> list[FoundBackend]:
    monkeypatch.syspath_prepend(str(folder))
    return [backend for backend in find_backends() if backend.name == name]


def test_a_backend_is_listed_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "family", manifest=MANIFEST.format(name="family", api=1))
    (found,) = find(tmp_path, monkeypatch, "family")
    assert (found.status, found.distribution, found.version) == ("ok", "stvg-family", "1.0")
    assert found.architectures == ("FamilyModel",)


@pytest.mark.parametrize(
    ("manifest", "needs", "status", "fix"),
    [
        (None, "", "missing-manifest", "stvg-backend.toml"),
        ("name = ", "", "missing-manifest", "stvg-backend.toml"),
        ("name = 'x'", "", "missing-manifest", "stvg-backend.toml"),
        (MANIFEST.format(name="family", api=99), "", "incompatible-api", "pip install --upgrade"),
        (MANIFEST.format(name="family", api=1), "numpy>=999", "unmet-deps", "pip install --upgrade"),
        (MANIFEST.format(name="family", api=1), "no-such-thing", "unmet-deps", "pip install --upgrade"),
        (MANIFEST.format(name="family", api=1), "no-such-thing; extra == 'more'", "ok", ""),
    ],
)
def test_an_ill_backend_is_a_row_with_its_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manifest: str | None, needs: str, status: str, fix: str
) -> None:
    install(tmp_path, "family", manifest=manifest, needs=needs)
    install(tmp_path, "healthy", manifest=MANIFEST.format(name="healthy", api=1))
    (found,) = find(tmp_path, monkeypatch, "family")
    assert found.status == status
    assert fix in found.fix
    (healthy,) = find(tmp_path, monkeypatch, "healthy")
    assert healthy.status == "ok"


def test_two_claims_to_a_name_name_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for distribution in ("stvg-family", "other-family"):
        install(tmp_path, "family", distribution=distribution, manifest=MANIFEST.format(name="family", api=1))
    found = find(tmp_path, monkeypatch, "family")
    assert [backend.status for backend in found] == ["duplicate", "duplicate"]
    with pytest.raises(PluginError, match="other-family and stvg-family both claim"):
        backend_for("FamilyModel", tuple(found))


def test_an_architecture_has_exactly_one_backend() -> None:
    one, two = found_backend("one"), found_backend("two")
    assert backend_for("ScriptedModel", (one,)) == one
    with pytest.raises(PluginError, match="several backends"):
        backend_for("ScriptedModel", (one, two))
    with pytest.raises(PluginError, match=r"supported: .*InternVL.*, ScriptedModel \(stvg-one\).*stvg new-backend"):
        backend_for("Other", (one,))
    with pytest.raises(PluginError, match=r"pip install stvg-internvl$"):
        backend_for("InternVLForConditionalGeneration", (one,))
    ill = found_backend("ill", status="unmet-deps", reason="needs more", fix="pip install more")
    with pytest.raises(PluginError, match="needs more; pip install more"):
        backend_for("ScriptedModel", (ill,))


def test_the_advice_is_what_the_manifests_say() -> None:
    declared = {}
    for manifest in Path(__file__).parents[2].glob("stvg_plugins/*/*/stvg-backend.toml"):
        project = tomllib.loads((manifest.parents[1] / "pyproject.toml").read_text())["project"]["name"]
        declared |= dict.fromkeys(tomllib.loads(manifest.read_text())["architectures"], project)
    assert declared == PUBLISHED_BACKENDS
    source_tree = Path(__file__).parents[2]
    for architecture, folder in EXAMPLE_BACKENDS.items():
        (manifest,) = (source_tree / folder).glob("*/stvg-backend.toml")
        assert architecture in tomllib.loads(manifest.read_text())["architectures"]
    assert set(AUTHORS_FORMATS.values()) <= set(KNOWN_CHECKPOINTS)


def test_listings_import_no_torch_and_no_plugin() -> None:
    code = (
        "import sys, stvg_core.cli, stvg_core.host.models; from stvg_core.host import registry as r; r.find_backends();"
        "heavy = {'torch', 'transformers', 'cv2', 'av', 'scipy'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"architectures": []}', '{"architectures": [3]}', "[" * 100_000]
)
def test_a_config_that_is_none_says_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=r"config\.json"):
        read_architecture(tmp_path / "config.json")


def test_models_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json in .*found none"):
        resolve_model(str(tmp_path))
    file = tmp_path / "weights.bin"
    file.touch()
    with pytest.raises(ModelError, match="got the file"):
        resolve_model(str(file))
    with pytest.raises(ModelError, match="hf download nobody/nothing"):
        resolve_model("nobody/nothing")
    with pytest.raises(ModelError, match="unknown model 'no such: model'"):
        resolve_model("no such: model")
