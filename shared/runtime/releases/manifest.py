"""A manifest's bytes: written by the one who signs, believed only when everything fits."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from shared.contracts.artifact import check
from shared.contracts.envelope import utc
from shared.contracts.errors import Invalid
from shared.runtime.releases.port import Manifest
from shared.runtime.releases.signing import Signer, Verifier

MAX_MANIFEST_BYTES = 4 << 20
MAX_CHUNK_BYTES = 16 << 20
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,99}")


def checked_name(name: str) -> str:
    """Return `name` if it may name a model or version, in keys and in folders alike; else `Invalid`."""
    if not _NAME.fullmatch(name) or ".." in name:
        raise Invalid(f"{name!r} is no name of a model or version (a-z, 0-9, dot and dash)")
    return name


def version_of(created_at: float, buffers: list[memoryview]) -> str:
    """Return a version that sorts by time and ends with six digits of the content's hash."""
    digest = hashlib.sha256()
    for buffer in buffers:
        digest.update(buffer)
    stamp = utc(created_at).strftime("%Y%m%dt%H%M%S%f")[:-3]
    return f"{stamp}-{digest.hexdigest()[:6]}"


def signed(manifest: Manifest, signer: Signer) -> tuple[Manifest, bytes]:
    """Return the manifest with its signature, and the bytes to store.

    Raises
    ------
    Invalid
        A value that JSON cannot hold.
    """
    try:
        fields = msgspec.json.decode(msgspec.json.encode(manifest))
    except TypeError as error:
        raise Invalid(f"the manifest must be JSON: {error}") from error
    fields["signature"] = signer.sign(canonical(fields))
    raw = msgspec.json.encode(fields, order="sorted")
    return msgspec.json.decode(raw, type=Manifest), raw


def canonical(fields: Mapping[str, Any]) -> bytes:
    """Return what a signature covers: all fields but the signature, keys sorted, without spaces."""
    return msgspec.json.encode(
        {name: value for name, value in fields.items() if name != "signature"}, order="sorted"
    )


def verified(
    raw: bytes, *, model: str, version: str, verifier: Verifier, max_bytes: int
) -> Manifest:
    """Return the manifest in `raw` if a trusted key signed it for this model and version.

    Fields that this code does not know are covered by the signature and otherwise ignored, so
    that a newer trainer can serve older services.

    Raises
    ------
    Invalid
        Not JSON, not signed by a trusted key, of another model or version, or contents that
        cannot be true or exceed `max_bytes`.
    """
    if len(raw) > MAX_MANIFEST_BYTES:
        raise Invalid(f"a manifest of more than {MAX_MANIFEST_BYTES} bytes")
    try:
        fields = msgspec.json.decode(raw, type=dict[str, Any])
        manifest = msgspec.convert(fields, Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"the manifest cannot be read: {error}") from error
    verifier.verify(canonical(fields), manifest.signature)
    if (manifest.model, manifest.version) != (model, version):
        raise Invalid(
            f"the release is {manifest.model} {manifest.version}, expected {model} {version}"
        )
    check(manifest.contents, max_bytes=max_bytes)
    _check_chunks(manifest)
    return manifest


def _check_chunks(manifest: Manifest) -> None:
    if not 0 < manifest.chunk_bytes <= MAX_CHUNK_BYTES:
        raise Invalid(f"must lie in 1 … {MAX_CHUNK_BYTES}", field="chunk_bytes")
    expected = len(chunk_lengths(manifest))
    if len(manifest.chunks) != expected:
        raise Invalid(f"{len(manifest.chunks)} chunks listed, {expected} needed", field="chunks")


def chunk_lengths(manifest: Manifest) -> list[int]:
    """Return the length of each chunk in bytes: all full but the last."""
    total, size = manifest.contents.bytes, manifest.chunk_bytes
    return [min(size, total - start) for start in range(0, total, size)]


def check_chunk(manifest: Manifest, number: int, chunk: bytes | memoryview) -> None:
    """Raise `Invalid` unless `chunk` is the one that the manifest lists under `number`."""
    expected = chunk_lengths(manifest)[number]
    if len(chunk) != expected:
        raise Invalid(f"chunk {number} is {len(chunk)} bytes, {expected} expected")
    if hashlib.sha256(chunk).hexdigest() != manifest.chunks[number]:
        raise Invalid(f"chunk {number} does not match its sha256")
