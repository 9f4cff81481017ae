"""The conformance kit, one test a check; the same as `stvg conformance llava-onevision`."""

from stvg_core.devtools.testing import BackendConformance


class TestLlavaOnevision(BackendConformance):
    backend = "llava-onevision"
