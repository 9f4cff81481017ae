"""Shapes and types of every annotated function are checked while the tests run."""

import os

import jaxtyping

# Tests never reach for the hub: what they load they have written themselves.
os.environ["HF_HUB_OFFLINE"] = "1"

jaxtyping.install_import_hook("stvg_core", "beartype.beartype")
