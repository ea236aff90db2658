"""A release as it is stored: the manifest, the manifest's own bytes, the content."""

import hashlib
from typing import NamedTuple

import msgspec

from shared.contracts.artifact import Artifact, pack, unpack
from shared.runtime.releases.manifest import chunk_lengths, signed, version_of
from shared.runtime.releases.port import Manifest
from shared.runtime.releases.signing import Signer


class Package(NamedTuple):
    """A verified manifest, the bytes it was read from, and the content of the right length."""

    manifest: Manifest
    raw: bytes
    content: bytes | bytearray

    def artifact(self) -> Artifact:
        """Return the content as arrays and blobs; `Invalid` when a hash does not match."""
        return unpack(self.manifest.contents, self.content)


def packaged(base: Manifest, artifact: Artifact, signer: Signer, inline_bytes: int) -> Package:
    """Return `base` with the artifact's contents, hashes, version and signature filled in.

    A content above `inline_bytes` goes to the release folder. `Invalid` when the artifact or
    the manifest holds what cannot be released.
    """
    contents, buffers = pack(artifact)
    unhashed = msgspec.structs.replace(
        base,
        contents=contents,
        version=version_of(base.created_at, buffers),
        store="redis" if contents.bytes <= inline_bytes else "folder",
    )
    content = b"".join(buffers)
    manifest, raw = signed(
        msgspec.structs.replace(unhashed, chunks=_hashes(unhashed, content)), signer
    )
    return Package(manifest, raw, content)


def _hashes(manifest: Manifest, content: bytes) -> tuple[str, ...]:
    view, size = memoryview(content), manifest.chunk_bytes
    starts = range(0, len(chunk_lengths(manifest)) * size, size)
    return tuple(hashlib.sha256(view[start : start + size]).hexdigest() for start in starts)
