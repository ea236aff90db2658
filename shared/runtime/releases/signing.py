"""Who made a release: Ed25519 signatures (RFC 8032) over its manifest."""

import base64
import binascii
from collections.abc import Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shared.contracts.errors import Invalid


class Signer:
    """Signs with one private key.

    Parameters
    ----------
    seed : bytes
        The 32 bytes of an Ed25519 private key.
    """

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    def sign(self, message: bytes) -> str:
        """Return the signature in base64."""
        return base64.b64encode(self._key.sign(message)).decode()

    @property
    def public(self) -> bytes:
        """The 32 bytes of the public key."""
        return self._key.public_key().public_bytes_raw()


class Verifier:
    """Accepts what any of the trusted keys signed, so that keys can be changed without a gap.

    Parameters
    ----------
    trusted : sequence of bytes
        Ed25519 public keys, 32 bytes each.
    """

    def __init__(self, trusted: Sequence[bytes]) -> None:
        self._keys = [Ed25519PublicKey.from_public_bytes(key) for key in trusted]

    def verify(self, message: bytes, signature: str) -> None:
        """Raise `Invalid` unless a trusted key signed exactly `message`."""
        try:
            raw = base64.b64decode(signature, validate=True)
        except (binascii.Error, ValueError):
            raise Invalid("the signature is not base64", field="signature") from None
        if not any(_signed(key, raw, message) for key in self._keys):
            raise Invalid("no trusted key made this signature", field="signature")


def _signed(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True
