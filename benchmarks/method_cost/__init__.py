"""What the method costs beside the plain procedure that it replaces: `python -m benchmarks.method_cost --help`."""
