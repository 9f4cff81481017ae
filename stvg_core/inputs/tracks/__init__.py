"""Object tracks: the proposer interface and the two trackers that need no other model."""
