"""Helpers without a subject of their own; no part of the public interface, may change without notice."""
