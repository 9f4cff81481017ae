"""What a plugin implements. Authors of backends, trackers and decomposers import from here alone.

>>> from stvg_core.plugin import MLLMAdapter, hookimpl

May import values, settings and errors. Names are imported on first use.
"""
