"""Shapes and types are checked while the tests run, and nothing reaches for the hub."""

import os

import jaxtyping

os.environ["HF_HUB_OFFLINE"] = "1"
jaxtyping.install_import_hook(["stvg_llava_onevision"], "beartype.beartype")
