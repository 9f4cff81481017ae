"""The recipe that trains, calibrates and measures the checkpoints of stvg-tiny; in no wheel."""
