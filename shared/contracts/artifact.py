"""What a trained model is made of: named arrays, small JSON, named bytes. Never a pickle."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta, Struct

from shared.contracts.errors import Invalid

FORMAT = 1
ALLOWED_DTYPES = frozenset(
    {"|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8"}
)
MAX_BYTES = 8 << 30
MAX_SIDES = 32
Json = Any
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Artifact:
    """A model's content.

    Attributes
    ----------
    kind : str
        Which class in `shared.learning.models` reads it.
    arrays : mapping
        Name to array of a little-endian number or bool type.
    meta : mapping
        JSON-ready values, small.
    blobs : mapping
        Name to bytes, such as a LightGBM text or the UTF-8 of item ids.
    """

    kind: str
    arrays: Mapping[str, Array] = field(default_factory=dict)
    meta: Mapping[str, Json] = field(default_factory=dict)
    blobs: Mapping[str, bytes] = field(default_factory=dict)


class Part(Struct, frozen=True, kw_only=True):
    """One array (`dtype` and `shape` given) or one blob, in the order of the content."""

    name: str
    bytes: Annotated[int, Meta(ge=0, le=MAX_BYTES)]
    sha256: str
    dtype: str | None = None
    shape: tuple[Annotated[int, Meta(ge=0)], ...] = ()


class Contents(Struct, frozen=True, kw_only=True):
    """The table of contents, checked before memory is allocated."""

    kind: str
    format: int = FORMAT
    meta: dict[str, Any] = {}
    parts: tuple[Part, ...] = ()

    @property
    def bytes(self) -> int:
        """The length of all parts together."""
        return sum(part.bytes for part in self.parts)


def pack(artifact: Artifact) -> tuple[Contents, list[memoryview]]:
    """Return the table of contents and the parts' bytes in its order, without a copy where possible.

    Raises
    ------
    Invalid
        An array of objects, text or another type that is not a plain number.
    """
    parts, buffers = [], []
    for name, array in artifact.arrays.items():
        dense = np.ascontiguousarray(array)
        dense = dense.astype(dense.dtype.newbyteorder("<"), copy=False)
        if dense.dtype.str not in ALLOWED_DTYPES:
            raise Invalid(f"arrays of type {array.dtype} cannot be released", field=name)
        view = dense.reshape(-1).view(np.uint8).data if dense.size else memoryview(b"")
        buffers.append(view)
        parts.append(_part(name, view, dense.dtype.str, np.shape(array)))
    for name, blob in artifact.blobs.items():
        buffers.append(memoryview(blob))
        parts.append(_part(name, memoryview(blob), None, ()))
    # A round trip through JSON here, so that a value that JSON changes is seen by the one who packs.
    meta = msgspec.json.decode(msgspec.json.encode(dict(artifact.meta)))
    return Contents(kind=artifact.kind, meta=meta, parts=tuple(parts)), buffers


def _part(name: str, view: memoryview, dtype: str | None, shape: tuple[int, ...]) -> Part:
    digest = hashlib.sha256(view).hexdigest()
    return Part(name=name, bytes=view.nbytes, sha256=digest, dtype=dtype, shape=shape)


def check(contents: Contents, *, max_bytes: int = MAX_BYTES) -> None:
    """Refuse a table of contents that cannot be true, before anything is allocated for it.

    Raises
    ------
    Invalid
        Unknown format or type, a shape that does not match its length or that no array has, two
        parts of one name, or more than `max_bytes` in all.
    """
    if contents.format != FORMAT:
        raise Invalid(f"format {contents.format} is not known here; this code reads {FORMAT}")
    if contents.bytes > max_bytes:
        raise Invalid(f"{contents.bytes} bytes exceed the limit of {max_bytes}")
    names = [part.name for part in contents.parts]
    if len(set(names)) != len(names):
        raise Invalid("two parts have the same name")
    for part in contents.parts:
        if part.dtype is None:
            continue
        if part.dtype not in ALLOWED_DTYPES:
            raise Invalid(f"type {part.dtype} is not allowed", field=part.name)
        # math.prod is exact: numpy's product of a hostile shape could wrap around to the length.
        if math.prod(part.shape) * np.dtype(part.dtype).itemsize != part.bytes:
            raise Invalid(f"shape {part.shape} does not match {part.bytes} bytes", field=part.name)
        # An array of no bytes may have sides, and numpy bounds these too.
        if len(part.shape) > MAX_SIDES or math.prod(n or 1 for n in part.shape) > MAX_BYTES:
            raise Invalid(f"no array has the shape {part.shape}", field=part.name)


def unpack(contents: Contents, content: bytes | bytearray | memoryview) -> Artifact:
    """Return the artifact; its arrays are read-only views of `content`.

    Raises
    ------
    Invalid
        As `check`, or the content is truncated, too long, or does not match a hash.
    """
    check(contents)
    view = memoryview(content)
    if view.nbytes != contents.bytes:
        raise Invalid(f"the content has {view.nbytes} bytes, the manifest says {contents.bytes}")
    arrays: dict[str, Array] = {}
    blobs: dict[str, bytes] = {}
    for part, chunk in _slices(contents, view):
        if hashlib.sha256(chunk).hexdigest() != part.sha256:
            raise Invalid("the bytes do not match their sha256", field=part.name)
        if part.dtype is None:
            blobs[part.name] = bytes(chunk)
        else:
            array = np.frombuffer(chunk, dtype=part.dtype).reshape(part.shape)
            array.flags.writeable = False
            arrays[part.name] = array
    return Artifact(contents.kind, arrays, contents.meta, blobs)


def _slices(contents: Contents, view: memoryview) -> Iterator[tuple[Part, memoryview]]:
    start = 0
    for part in contents.parts:
        yield part, view[start : start + part.bytes]
        start += part.bytes
