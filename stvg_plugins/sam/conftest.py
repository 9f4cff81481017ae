"""Leaves this distribution's tests out where it is not installed."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("stvg_sam") else ["*"]
