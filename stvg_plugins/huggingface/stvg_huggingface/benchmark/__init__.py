"""What the method costs, beside the plain procedure that it replaces; not used by the method itself."""
