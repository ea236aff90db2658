"""The key space of the vault, which several services declare."""

from shared.contracts.service import Key

VAULT = Key(
    "vault",
    ("user",),
    "string",
    "The person's own key, wrapped; empty once the person was forgotten. Not rebuilt from the log.",
    bound="about 130 bytes a person",
    view=False,
)
"""Declared by the services that seal, open or forget."""
