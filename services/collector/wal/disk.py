"""The few calls to the file system that the log rests on, in one place so that a test can fail them."""

import os
from pathlib import Path


class Disk:
    """The operating system's files; every call blocks, and raises OSError."""

    def create(self, path: Path) -> int:
        """Open a new file for appending and make its name durable; return its descriptor."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self.sync_folder(path.parent)
        return fd

    def append(self, fd: int, blob: bytes) -> None:
        """Write all of `blob`."""
        view = memoryview(blob)
        while view:
            view = view[os.write(fd, view) :]

    def sync(self, fd: int) -> None:
        """Return when what was written would survive a loss of power."""
        os.fdatasync(fd)

    def close(self, fd: int) -> None:
        """Close the descriptor."""
        os.close(fd)

    def read(self, path: Path, at: int, limit: int) -> bytes:
        """Return up to `limit` bytes from position `at`."""
        with path.open("rb") as file:
            file.seek(at)
            return file.read(limit)

    def size(self, path: Path) -> int:
        """Return the file's length in bytes."""
        return path.stat().st_size

    def cut(self, path: Path, length: int) -> None:
        """Shorten the file durably."""
        fd = os.open(path, os.O_WRONLY)
        try:
            os.ftruncate(fd, length)
            os.fsync(fd)
        finally:
            os.close(fd)

    def replace(self, path: Path, content: bytes) -> None:
        """Put a whole new file in the place of `path`, durably and at once."""
        fresh = path.with_name(path.name + ".new")
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        self.sync_folder(path.parent)

    def remove(self, path: Path) -> None:
        """Delete the file; one that is already gone is fine."""
        path.unlink(missing_ok=True)

    def sync_folder(self, folder: Path) -> None:
        """Make names that were added to or removed from the folder durable."""
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
