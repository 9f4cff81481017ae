"""What tests of trackers need: tiny checkpoints of the real architectures, and painted clips with their truth."""
