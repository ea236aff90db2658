"""Models: immutable once fitted, saved as an artifact, served with numpy alone."""
