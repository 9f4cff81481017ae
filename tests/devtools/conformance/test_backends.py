"""A backend of this repository, as its own author would test it; `nox -s conformance` proves all of them."""

from stvg_core.devtools.testing import BackendConformance


class TestLlavaNext(BackendConformance):
    backend = "llava-next"
