"""The conformance kit, proven by planted bugs: each must be caught by the check that is meant for it."""
