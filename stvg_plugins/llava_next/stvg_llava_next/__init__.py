"""STVG backend for LLaVA-NeXT-Video: its table of differences, nothing else."""
