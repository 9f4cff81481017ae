"""Everything that can be run on this repository; `nox -l` lists it.

Sessions install the distributions from this checkout under constraints.txt, each into a
virtual environment of its own, and need no network but a package index.
"""

import os
import shutil
from pathlib import Path

import nox

nox.options.sessions = ["tests", "lint", "types"]
nox.options.default_venv_backend = "venv"

ROOT = Path(__file__).parent
PLUGINS = sorted(path.parent for path in ROOT.glob("stvg_plugins/*/pyproject.toml"))
DISTRIBUTIONS = [ROOT, *PLUGINS]
BACKENDS = ("internvl", "llava-next", "qwen2-vl")
CONFORMANCE_SUBJECTS = (*BACKENDS, "qwen2-vl/qwen2.5-vl")
OLDEST_TRANSFORMERS = "5.17.0"
AXE = "4.14.1"
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
    """Ground shipped clips, and compare the tiny models, offline: nox -s demo -- --out FOLDER --no-compare."""
    install(session)
    session.install("--quiet", "--constraint", str(ROOT / "constraints.txt"), "matplotlib")
    session.run("stvg", "demo", "--compare", *session.posargs, env=ONE_THREAD_PER_WORKER)


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
    """Check types of every distribution and example, strictly."""
    install(session, "lint", "test")
    session.run("mypy")


@nox.session
def wheels(session: nox.Session) -> None:
    """Build every wheel; in a clean environment install one backend after another, then all, and use them."""
    session.install("--quiet", "build", "hatchling")
    folder = Path(session.create_tmp()).resolve()
    for path in DISTRIBUTIONS:
        session.run(
            "python", "-m", "build", "--no-isolation", "--wheel", "--outdir", str(folder), str(path), silent=True
        )
    wheels = ("--quiet", "--constraint", str(ROOT / "constraints.txt"), "--find-links", str(folder))
    check = ("python", "-I", str(ROOT / "tests" / "clean_install.py"))
    session.chdir(folder)
    for name in BACKENDS:
        session.install(*wheels, "--force-reinstall", "--no-deps", "stvg-core", "stvg-huggingface", f"stvg-{name}")
        session.install(*wheels, f"stvg-{name}")
        session.run(*check, name)
        session.run("pip", "uninstall", "--quiet", "--yes", f"stvg-{name}")
    session.install(*wheels, *(f"stvg-{name}" for name in BACKENDS), "stvg-sam", "stvg-tiny")
    session.run(*check)


@nox.session
def conformance(session: nox.Session) -> None:
    """Prove every backend on its tiny random model: nox -s conformance -- qwen2-vl."""
    install(session)
    for subject in session.posargs or CONFORMANCE_SUBJECTS:
        session.run("stvg", "conformance", subject, env=ONE_THREAD_PER_WORKER)


@nox.session
def scaffold(session: nox.Session) -> None:
    """Write a backend of each family, build its wheel, install it in a clean environment, and prove it there."""
    session.install("--quiet", "build", "hatchling")
    folder = Path(session.create_tmp()).resolve()
    wheels, sources = folder / "wheels", folder / "sources"
    shutil.rmtree(folder)
    sources.mkdir(parents=True)

    def build(path: Path) -> None:
        session.run(
            "python", "-m", "build", "--no-isolation", "--wheel", "--outdir", str(wheels), str(path), silent=True
        )

    from_wheels = ("--quiet", "--constraint", str(ROOT / "constraints.txt"), "--find-links", str(wheels))
    for path in (ROOT, ROOT / "stvg_plugins" / "huggingface"):
        build(path)
    session.install(*from_wheels, "--force-reinstall", "--no-deps", "stvg-core", "stvg-huggingface")
    session.install(*from_wheels, "stvg-core", "stvg-huggingface", *groups("lint"))
    session.chdir(sources)
    offline = {**ONE_THREAD_PER_WORKER, "HF_HUB_OFFLINE": "1"}
    for family in ("custom", "huggingface"):
        name = f"new-{family}"
        session.run("stvg", "new-backend", name, "--family", family)
        build(sources / f"stvg-{name}")
        session.install(*from_wheels, "--force-reinstall", "--no-deps", f"stvg-{name}")
        session.install(*from_wheels, f"stvg-{name}[test]")
        session.run("stvg", "conformance", name, env=offline)
        session.chdir(sources / f"stvg-{name}")
        session.run("ruff", "check", ".")
        session.run("ruff", "format", "--check", ".")
        session.run("mypy", f"stvg_new_{family}", "tests")
        # Isolated: what is tested is the installed wheel, not the folder beside the tests.
        session.run("python", "-I", "-m", "pytest", "--quiet", "--import-mode=importlib", "tests", env=offline)
        session.chdir(sources)


@nox.session
def oldest(session: nox.Session) -> None:
    """Compare every backend with plain transformers at the lower end of the range that they declare."""
    install(session, "test")
    session.install("--quiet", f"transformers=={OLDEST_TRANSFORMERS}", "huggingface-hub<2")
    session.run("pytest", "--numprocesses=2", "tests/backends", *session.posargs, env=ONE_THREAD_PER_WORKER)


@nox.session
def bench(session: nox.Session) -> None:
    """Fail where the method has become more expensive beside the plain procedure: counted, not timed."""
    install(session)
    session.run("python", "-m", "benchmarks.method_cost.floors", env={**ONE_THREAD_PER_WORKER, "PYTHONPATH": str(ROOT)})


def chromium(session: nox.Session) -> str:
    """Return the browser; where it is missing it is installed from the system's packages."""
    found = os.environ.get("STVG_CHROMIUM") or shutil.which("chromium")
    if found:
        return found
    if not shutil.which("apt-get") or os.geteuid() != 0:
        session.error("expected Chromium, got none, and only root can install it; run: apt-get install chromium")
    session.run("apt-get", "update", external=True, silent=True)
    session.run("apt-get", "install", "--yes", "--no-install-recommends", "chromium", external=True, silent=True)
    return shutil.which("chromium") or session.error("expected apt-get to install chromium, but it is not in PATH")


def axe(session: nox.Session) -> dict[str, str]:
    """Fetch axe-core, which looks for what screen readers and weak eyes cannot use; nothing where npm is missing."""
    if not shutil.which("npm"):
        session.warn("npm is not installed: what axe-core would find in the pages is NOT looked for")
        return {}
    folder = Path(session.create_tmp()).resolve()
    options = ("--no-save", "--ignore-scripts", "--no-audit", "--no-fund")
    session.run("npm", "install", "--prefix", str(folder), *options, f"axe-core@{AXE}", external=True, silent=True)
    return {"STVG_AXE": str(folder / "node_modules" / "axe-core" / "axe.min.js")}


@nox.session
def browser(session: nox.Session) -> None:
    """Look at the pages in a real browser: nox -s browser -- -k phone."""
    install(session, "test", "browser")
    environment = {**ONE_THREAD_PER_WORKER, "STVG_CHROMIUM": chromium(session), **axe(session)}
    session.run("pytest", "-m", "browser", "tests/browser", *session.posargs, env=environment)


@nox.session
def screenshots(session: nox.Session) -> None:
    """Make the pictures of pages that docs show, with the tiny models: nox -s screenshots -- --out docs/images."""
    install(session, "test", "browser")
    environment = {**ONE_THREAD_PER_WORKER, "STVG_CHROMIUM": chromium(session), "PYTHONPATH": str(ROOT)}
    session.run("python", "benchmarks/page_pictures.py", *session.posargs, env=environment)


@nox.session
def gpu(session: nox.Session) -> None:
    """Run the tests that need a CUDA device, with the torch that the machine's package index gives."""
    install(session, "test")
    session.run("pytest", "-m", "gpu", *session.posargs)


@nox.session
def train_tiny(session: nox.Session) -> None:
    """Train a tiny checkpoint from its seed: nox -s train_tiny -- qwen2-vl|llava-next|internvl --out FOLDER."""
    install(session)
    session.install("--quiet", "--constraint", str(ROOT / "constraints.txt"), "matplotlib")
    # Or glibc gives every step's large tensors back to the system and asks for them again: several times slower.
    memory = {"MALLOC_MMAP_THRESHOLD_": "2000000000", "MALLOC_TRIM_THRESHOLD_": "20000000000"}
    environment = {**ONE_THREAD_PER_WORKER, **memory, "PYTHONPATH": str(ROOT / "stvg_plugins" / "tiny" / "research")}
    session.run("python", "-m", "tiny_recipe.train", *session.posargs, env=environment)
