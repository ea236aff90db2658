"""What stands between the shop's people and the log."""

from typing import Protocol

from shared.contracts.ids import UserId


class Pseudonyms(Protocol):
    """Turns the shop's user ids into pseudonyms."""

    def of(self, user: str) -> UserId:
        """Return HMAC-SHA-256 of `user` under the installation's key, 128 bits in base64url.

        The same id always gives the same pseudonym within one installation; a pseudonym given
        again becomes a different one, so call it once, at the door. About 3 µs, or 0.2 µs for one
        that was seen lately. Raises `Invalid` for an id that is empty or too long.
        """
        ...


class Vault(Protocol):
    """Encrypts direct identifiers under a key of the person; destroying the key forgets them."""

    async def seal(self, user: UserId, field: str, text: str) -> str:
        """Return `text` under AES-256-GCM, bound to user and field; makes the person's key if new.

        Raises `NotFound` for a person who was forgotten, `Retryable` when the vault is away.
        """
        ...

    async def open(self, user: UserId, field: str, sealed: str) -> str:
        """Return the text; `NotFound` when the key is gone, `Invalid` when it was tampered with."""
        ...

    async def forget(self, user: UserId) -> bool:
        """Destroy the person's key for good; True if there was one.

        On disk when it returns; raises `Retryable` when that cannot be had, and is called again.
        """
        ...

    async def forgotten(self, user: UserId) -> bool:
        """Whether `forget` was called for this person."""
        ...
