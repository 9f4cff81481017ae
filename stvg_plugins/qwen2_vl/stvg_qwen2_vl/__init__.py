"""STVG backend for Qwen2-VL and Qwen2.5-VL: their table of differences, nothing else."""
