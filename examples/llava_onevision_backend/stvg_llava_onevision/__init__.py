"""LLaVA-OneVision as an STVG backend: the entry points are in `hooks` and `conformance`."""
