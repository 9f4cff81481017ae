"""Everything that can be run on this repository; `nox -l` lists it.

Sessions install the distributions from this checkout under constraints.txt, each into a
virtual environment of its own, and need no network but a package index.
"""

import os
from pathlib import Path

import nox

nox.options.sessions = ["tests", "lint", "types"]
nox.options.default_venv_backend = "venv"

ROOT = Path(__file__).parent
PLUGINS = [ROOT / "stvg_plugins" / name for name in ("huggingface", "qwen2_vl", "tiny")]
DISTRIBUTIONS = [ROOT, *PLUGINS]
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
ONE_THREAD_PER_WORKER = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def groups(*names: str) -> tuple[str, ...]:
    """Return the requirements of dependency groups in pyproject.toml."""
    return nox.project.dependency_groups(PROJECT, *names)


def install(session: nox.Session, *names: str) -> None:
    """Install all distributions of this repository, editable, and dependency groups."""
    editable = [part for path in DISTRIBUTIONS for part in ("--editable", str(path))]
    session.install("--quiet", "--constraint", str(ROOT / "constraints.txt"), *editable, *groups(*names))


@nox.session
def demo(session: nox.Session) -> None:
    """Ground a shipped clip with a tiny trained model, offline: nox -s demo -- --out FOLDER."""
    install(session)
    session.run("stvg", "demo", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests: nox -s tests -- -m slow -k tube."""
    install(session, "test")
    session.run("pytest", "--numprocesses=2", *session.posargs, env=ONE_THREAD_PER_WORKER)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and who may import whom; reads the sources alone, installs none of them."""
    session.install("--quiet", "--constraint", str(ROOT / "constraints.txt"), *groups("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", env={"PYTHONPATH": os.pathsep.join(map(str, DISTRIBUTIONS))})


@nox.session
def types(session: nox.Session) -> None:
    """Check types of every distribution, strictly."""
    install(session, "lint")
    session.run("mypy")


@nox.session
def wheels(session: nox.Session) -> None:
    """Build every wheel, install them into a clean environment, and list plugins there."""
    session.install("--quiet", "build", "hatchling")
    folder = Path(session.create_tmp()).resolve()
    for path in DISTRIBUTIONS:
        session.run(
            "python", "-m", "build", "--no-isolation", "--wheel", "--outdir", str(folder), str(path), silent=True
        )
    built = sorted(str(wheel) for wheel in folder.glob("stvg_*.whl"))
    session.install("--quiet", "--constraint", str(ROOT / "constraints.txt"), "--force-reinstall", *built)
    session.chdir(folder)
    session.run("python", "-I", str(ROOT / "tests" / "clean_install.py"))


@nox.session
def train_tiny(session: nox.Session) -> None:
    """Train a tiny checkpoint from its seed: nox -s train_tiny -- qwen2-vl --out FOLDER."""
    install(session)
    session.run("python", "-m", "stvg_tiny.train", *session.posargs)
