"""Releases in a folder: what a service starts from without Redis, and where large ones live."""

import secrets
import shutil
import tempfile
from pathlib import Path

import msgspec

from shared.contracts.errors import Invalid, NotFound
from shared.runtime.releases.manifest import MAX_MANIFEST_BYTES, checked_name, verified
from shared.runtime.releases.package import Package
from shared.runtime.releases.port import Manifest, Pointer
from shared.runtime.releases.signing import Verifier


class ReleaseFolder:
    """Releases as ``<path>/<model>/<version>/{manifest.json,content}``; every read is verified.

    All methods block on the disk.

    Parameters
    ----------
    path : Path
        Created when the first release is saved.
    verifier : Verifier
        Whose signatures count: a folder is trusted no more than Redis is.
    max_bytes : int
        Larger contents are refused.
    """

    def __init__(self, path: Path, verifier: Verifier, max_bytes: int) -> None:
        self._path = path
        self._verifier = verifier
        self._max_bytes = max_bytes

    def save(self, package: Package) -> None:
        """Store a release whole or not at all; one that is there whole is left as it is."""
        manifest, raw, content = package
        target = self._of(manifest.model, manifest.version)
        if target.exists():
            if _holds(target, package):
                return
            shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Replicas may share a folder: each writes a draft of its own, the first rename wins.
        draft = Path(tempfile.mkdtemp(prefix=f".{manifest.version}-", dir=target.parent))
        try:
            (draft / "content").write_bytes(content)
            (draft / "manifest.json").write_bytes(raw)
            draft.rename(target)
        except OSError:
            shutil.rmtree(draft, ignore_errors=True)
            if not target.exists():
                raise

    def versions(self, model: str) -> list[str]:
        """Return the versions that are here, newest first."""
        folder = self._path / checked_name(model)
        if not folder.is_dir():
            return []
        return sorted((p.name for p in folder.iterdir() if _is_release(p)), reverse=True)

    def package(self, model: str, version: str) -> Package:
        """Return a release; the content's length is checked before it is read.

        Raises
        ------
        NotFound
            It is not here, or not whole.
        Invalid
            The manifest is not to be trusted, or the content is longer or shorter than it says.
        """
        raw = self._raw_manifest(model, version)
        manifest = verified(
            raw, model=model, version=version, verifier=self._verifier, max_bytes=self._max_bytes
        )
        return Package(manifest, raw, self.content(manifest))

    def content(self, manifest: Manifest) -> bytes:
        """Return the content of a verified manifest; `NotFound` or `Invalid` as `package`."""
        file = self._of(manifest.model, manifest.version) / "content"
        try:
            size = file.stat().st_size
            if size != manifest.contents.bytes:
                expected = manifest.contents.bytes
                raise Invalid(f"the content is {size} bytes, the manifest says {expected}")
            return file.read_bytes()
        except OSError as error:
            raise NotFound(f"the content of {manifest.version} cannot be read: {error}") from error

    def prune(self, model: str, keep: set[str]) -> None:
        """Remove all releases of `model` but those in `keep`, and drafts that a crash left."""
        folder = self._path / checked_name(model)
        for path in folder.iterdir() if folder.is_dir() else ():
            kept = path.name in keep or any(path.name.startswith(f".{v}-") for v in keep)
            if path.is_dir() and not kept:
                shutil.rmtree(path, ignore_errors=True)

    def save_pointer(self, model: str, pointer: Pointer) -> None:
        """Remember which release is live."""
        if pointer == self.pointer(model):
            return
        folder = self._path / checked_name(model)
        folder.mkdir(parents=True, exist_ok=True)
        # An operator's command and the trainer may write at once: each a draft of its own.
        draft = folder / f".pointer.json.{secrets.token_hex(4)}"
        draft.write_bytes(msgspec.json.encode(pointer))
        draft.rename(folder / "pointer.json")

    def pointer(self, model: str) -> Pointer | None:
        """Return what `save_pointer` stored; None if nothing readable is there."""
        file = self._path / checked_name(model) / "pointer.json"
        try:
            return msgspec.json.decode(file.read_bytes(), type=Pointer)
        except (OSError, msgspec.DecodeError):
            return None

    def _raw_manifest(self, model: str, version: str) -> bytes:
        file = self._of(model, version) / "manifest.json"
        try:
            with file.open("rb") as source:
                return source.read(MAX_MANIFEST_BYTES + 1)
        except OSError as error:
            raise NotFound(f"no release {model} {version} in {self._path}: {error}") from error

    def _of(self, model: str, version: str) -> Path:
        return self._path / checked_name(model) / checked_name(version)


def _is_release(path: Path) -> bool:
    return not path.name.startswith(".") and (path / "manifest.json").is_file()


def _holds(target: Path, package: Package) -> bool:
    try:
        raw, content = (target / "manifest.json").read_bytes(), (target / "content").read_bytes()
    except OSError:
        return False
    return raw == package.raw and content == package.content
