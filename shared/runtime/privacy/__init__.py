"""Pseudonyms at every door, and the vault that holds each person's own key."""

from shared.runtime.privacy.port import Pseudonyms, Vault
from shared.runtime.privacy.pseudonyms import HmacPseudonyms
from shared.runtime.privacy.vault import VAULT, RedisVault

__all__ = ["VAULT", "HmacPseudonyms", "Pseudonyms", "RedisVault", "Vault"]
