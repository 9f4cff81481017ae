"""STVG backend for InternVL (its transformers-native checkpoints): its table of differences, nothing else."""
