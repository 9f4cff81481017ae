"""The command `stvg doctor`."""
# a table of cases reads best with a case per line

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stvg_core.devtools import doctor
from stvg_core.devtools.doctor.document import (
    DoctorDocument,
)
from stvg_core.devtools.doctor.problems import find_problems
from tests.support.command_line import Run
from tests.support.doctor_facts import (
    BACKEND,
    HEALTHY,
    changed,
    install,
    with_,
    without_gpu,
)


def test_the_document_and_the_exit_code(stvg: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for facts, code in (
        (HEALTHY, 0),
        (changed("machine", memory_available_bytes=1), 0),
        (without_gpu(status="missing"), 1),
    ):
        problems = find_problems(facts)
        document = DoctorDocument(healthy=code == 0, problems=problems, facts=facts)
        monkeypatch.setattr(doctor, "look_around", lambda *, check, facts=facts: facts)
        ran = stvg("doctor", "--json")
        assert (ran.code, ran.error) == (code, "")
        assert DoctorDocument.model_validate_json(ran.out) == document
        assert json.loads(ran.out)["schema_version"] == 1
        shown = stvg("doctor")
        assert shown.code == code
        for problem in problems:
            assert problem.message.split()[0] in shown.out
        assert ("nothing to mend" in shown.out) is (problems == ())


def test_nothing_foreign_steers_the_terminal(stvg: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = "\x1b]0;title\x07[red]\x9b31m\u202e\nline"
    ill = BACKEND.model_copy(update={"name": evil, "status": "broken", "reason": evil, "fix": evil})
    facts = with_(backends=(ill,), versions={evil: evil}, environment={evil: evil}, plugin_warnings=(evil,))
    monkeypatch.setattr(doctor, "look_around", lambda *, check: facts)
    for arguments in (("doctor",), ("doctor", "--json")):
        ran = stvg(*arguments)
        assert ran.code == 1
        assert all(character.isprintable() or character == "\n" for character in ran.out)
    assert "[red]" in stvg("doctor").out, "square brackets are no markup"


def test_the_doctor_works_without_torch_and_imports_none(tmp_path: Path) -> None:
    """In a process where every heavy library is a bomb."""
    for name in ("torch", "torchvision", "av", "transformers", "numpy", "cv2", "scipy"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('a bomb')", encoding="utf-8")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-m", "stvg_core", "doctor", "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (1, "")
    document = DoctorDocument.model_validate_json(ran.stdout)
    assert document.facts.torch.reason == "ImportError: a bomb"
    messages = [problem.message for problem in document.problems]
    assert any(message.startswith("torch cannot be imported") for message in messages)
    assert any(message.startswith("PyAV cannot be imported") for message in messages)
    assert document.facts.versions["torch"] == importlib.metadata.version("torch")


def test_check_imports_every_backend_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stvg_core.devtools.doctor.installed import look_at_backends

    install(tmp_path, "stvg-bomb", points="[stvg.backends]\nbomb = stvg_bomb.hooks:Backend\n")
    (tmp_path / "stvg_bomb").mkdir()
    (tmp_path / "stvg_bomb" / "__init__.py").write_text("import os\nos.abort()\n", encoding="utf-8")
    manifest = 'name = "bomb"\ndisplay_name = "A bomb"\nhook_api = 1\narchitectures = ["Bomb"]\n'
    (tmp_path / "stvg_bomb" / "stvg-backend.toml").write_text(manifest, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("STVG_LOAD_PLUGINS", "stvg-bomb")
    rows: dict[bool, dict[str, Any]] = {
        check: {row.name: row for row in look_at_backends(check)[0]} for check in (False, True)
    }
    assert rows[False]["bomb"].status == "ok"
    assert rows[True]["bomb"].status == "broken"
    assert "ended the interpreter" in rows[True]["bomb"].reason
    assert rows[True]["qwen2-vl"].status == "disabled"
