"""Results as files: JSON, overlay video, contact sheet."""
