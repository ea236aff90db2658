"""The installation's secrets, and the keys with which others come to its doors."""

import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Meta

from shared.contracts.errors import Invalid, NotFound
from shared.contracts.service import Scope

Ack = Literal["memory", "disk", "kafka"]
"""What an accepted event has reached when the sender is answered."""
ACKS: tuple[Ack, ...] = ("memory", "disk", "kafka")
Granted = Literal["events", "serve", "train", "admin"]
GRANTED: tuple[Granted, ...] = ("events", "serve", "train", "admin")
PUBLISHABLE, SECRET = "pk_", "sk_"
Key = Annotated[bytes, Meta(min_length=32, max_length=32)]
"""Of AES-256 and of Ed25519."""


class ApiKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One key of a sender.

    A publishable key (``pk_…``) stands in web pages, may only send events, and is bound to
    `origins` where given. `sha256` is of the whole key; `key` itself is kept only for those that
    were made with the installation, so that its owner can try it out.
    """

    name: str
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    scopes: tuple[Granted, ...]
    origins: tuple[str, ...] = ()
    ack: Ack = "disk"
    key: str | None = None

    @property
    def publishable(self) -> bool:
        """Whether the key is no secret."""
        return self.scopes == ("events",)

    def may(self, scope: Scope) -> bool:
        """Whether the key opens routes of `scope`."""
        return scope == "open" or scope in self.scopes

    def from_origin(self, origin: str | None) -> bool:
        """Whether a page of `origin` (None: no browser) may use the key."""
        return origin is None or not self.origins or origin in self.origins


class Secrets(msgspec.Struct, frozen=True, kw_only=True):
    """What the keys file holds.

    A deployment may hand each service only what it needs: the private half of `release` to the
    trainer alone, the vault's key to those that open it.
    """

    pseudonym_key: Annotated[bytes, Meta(min_length=16)]
    vault_key: Key | None = None
    release_private: Key | None = None
    release_public: tuple[Key, ...] = ()
    """All that are trusted, so that the private key can be changed without a gap."""
    api_keys: tuple[ApiKey, ...] = ()


class ApiKeys:
    """Finds a key by its text; follows the file, so that keys come and go without a restart."""

    def __init__(self, keys: Iterable[ApiKey], file: Path | None = None) -> None:
        self._file = file
        self._seen = _stamp(file)
        self._load(keys)

    def find(self, text: str | bytes) -> ApiKey | None:
        """Return the key whose text this is.

        Looks up a hash: how long that takes tells nothing about keys that exist.
        """
        raw = text.encode() if isinstance(text, str) else text
        return self._by_hash.get(hashlib.sha256(raw).digest())

    def refresh(self) -> bool:
        """Read the file again if it changed; False if it did not, or cannot be read at the moment."""
        stamp = _stamp(self._file)
        if self._file is None or stamp is None or stamp == self._seen:
            return False
        try:
            self._load(load(self._file).api_keys)
        except (Invalid, NotFound, OSError):
            return False
        self._seen = stamp
        return True

    def _load(self, keys: Iterable[ApiKey]) -> None:
        self._by_hash = {bytes.fromhex(key.sha256): key for key in keys}


def make(name: str, scopes: Sequence[Granted], **rest: Any) -> tuple[str, ApiKey]:
    """Return a new key's text, which nobody can find out again, and what is kept of it."""
    unknown = set(scopes) - set(GRANTED)
    if unknown or not scopes:
        raise Invalid(f"scopes are some of {', '.join(GRANTED)}", field="scopes")
    scopes = tuple(scope for scope in GRANTED if scope in scopes)
    prefix = PUBLISHABLE if scopes == ("events",) else SECRET
    text = prefix + secrets.token_urlsafe(24)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return text, ApiKey(name=name, sha256=digest, scopes=scopes, **rest)


def generate() -> Secrets:
    """Return the secrets of a new installation, with one publishable and three secret API keys."""
    private = Ed25519PrivateKey.generate()
    api_keys = []
    for name, scopes in (
        ("web", ("events",)),
        ("shop", ("events", "serve")),
        ("trainer", ("train",)),
        ("owner", GRANTED),
    ):
        text, kept = make(name, scopes)
        api_keys.append(msgspec.structs.replace(kept, key=text))
    return Secrets(
        pseudonym_key=secrets.token_bytes(32),
        vault_key=secrets.token_bytes(32),
        release_private=private.private_bytes_raw(),
        release_public=(private.public_key().public_bytes_raw(),),
        api_keys=tuple(api_keys),
    )


def load(file: Path) -> Secrets:
    """Read the secrets.

    Raises
    ------
    NotFound
        There is no such file.
    Invalid
        It is not readable as secrets; the text never quotes it.
    """
    try:
        return msgspec.json.decode(file.read_bytes(), type=Secrets)
    except FileNotFoundError:
        raise NotFound(
            f"no keys in {file}: make them with `shoploop keys init`, or name the file in SHOPLOOP_KEYS"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{file} does not hold an installation's keys: {error}") from None


def load_or_generate(file: Path) -> Secrets:
    """Read the secrets, making them first if there are none; safe with any number of callers at once."""
    try:
        return load(file)
    except NotFound:
        _write_new(file, generate())
        return load(file)


def save(file: Path, kept: Secrets) -> None:
    """Replace the file, whole or not at all."""
    _written(file, kept).replace(file)
    _sync(file.parent)


def _write_new(file: Path, kept: Secrets) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    written = _written(file, kept)
    try:
        # A link fails where a rename would replace what another process has just made.
        os.link(written, file)
    except FileExistsError:
        pass
    finally:
        written.unlink()
    _sync(file.parent)


def _written(file: Path, kept: Secrets) -> Path:
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".keys-", delete=False) as out:
        out.write(msgspec.json.format(msgspec.json.encode(kept)))
        out.flush()
        os.fsync(out.fileno())
    return Path(out.name)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _stamp(file: Path | None) -> tuple[int, int] | None:
    if file is None:
        return None
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
