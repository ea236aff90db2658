"""The vault: a key for each person, wrapped by the installation's, in Redis."""

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.contracts.errors import Invalid, NotFound, Undeclared
from shared.contracts.ids import UserId
from shared.contracts.vault import VAULT
from shared.runtime.kv.port import KeyValue

__all__ = ["VAULT", "RedisVault"]

_NONCE = 12
_FORGOTTEN = b""


class RedisVault:
    """Envelope encryption with AES-256-GCM (NIST SP 800-38D).

    Each text is encrypted under its person's key with user and field as associated data, so that a
    ciphertext moved to another person or field does not open. Each person's key is encrypted under
    the installation's key with the user as associated data.

    `forget` overwrites the key with an empty value, which also keeps a new one from being made,
    and waits until Redis has written that to disk. Old append-only files and backups of Redis hold
    the wrapped key until they are rewritten or deleted; that is part of an operator's deadline.

    Parameters
    ----------
    kv : KeyValue
        Of a service that declares `VAULT`.
    key : bytes or None
        The installation's vault key, 32 bytes; without it a vault can forget but not seal or open.
    """

    def __init__(self, kv: KeyValue, key: bytes | None) -> None:
        self._kv = kv
        self._key = key

    async def seal(self, user: UserId, field: str, text: str) -> str:
        """Return `text` encrypted, in base64url; makes the person's key if there is none."""
        found = await self._kv.get(VAULT, user)
        if found is None:
            fresh = _encrypt(self._wrap(), AESGCM.generate_key(256), user.encode())
            # Another replica may have made one meanwhile: the first wins, for both.
            await self._kv.set(VAULT, user, value=fresh, only_new=True)
            found = await self._kv.get(VAULT, user)
        cipher = self._person(user, found)
        return urlsafe_b64encode(_encrypt(cipher, text.encode(), _bound(user, field))).decode()

    async def open(self, user: UserId, field: str, sealed: str) -> str:
        """Return the text; `NotFound` when the key is gone, `Invalid` when it was tampered with."""
        cipher = self._person(user, await self._kv.get(VAULT, user))
        try:
            return _decrypt(cipher, urlsafe_b64decode(sealed), _bound(user, field)).decode()
        except (InvalidTag, ValueError):
            raise Invalid("this was not sealed for that person and field", field=field) from None

    async def forget(self, user: UserId) -> bool:
        """Destroy the person's key for good, on disk when it returns; True if there was one."""
        found = await self._kv.get(VAULT, user)
        await self._kv.set(VAULT, user, value=_FORGOTTEN)
        await self._kv.durable()
        return bool(found)

    async def forgotten(self, user: UserId) -> bool:
        """Whether `forget` was called for this person."""
        return await self._kv.get(VAULT, user) == _FORGOTTEN

    def _wrap(self) -> AESGCM:
        if self._key is None:
            raise Undeclared("this process was not given the vault's key")
        return AESGCM(self._key)

    def _person(self, user: UserId, wrapped: bytes | None) -> AESGCM:
        if not wrapped:
            raise NotFound("this person was forgotten, or never had a key")
        try:
            return AESGCM(_decrypt(self._wrap(), wrapped, user.encode()))
        except (InvalidTag, ValueError):
            raise Invalid("the person's key was not wrapped by this installation") from None


def _bound(user: UserId, field: str) -> bytes:
    # Pseudonyms hold no bar, so no two pairs of user and field look alike.
    return f"{user}|{field}".encode()


def _encrypt(cipher: AESGCM, plain: bytes, bound: bytes) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + cipher.encrypt(nonce, plain, bound)


def _decrypt(cipher: AESGCM, sealed: bytes, bound: bytes) -> bytes:
    return cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], bound)
