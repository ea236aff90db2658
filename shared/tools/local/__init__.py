"""Kafka, Redis and the services as supervised processes of one machine."""

from shared.tools.local.errors import LocalStackError
from shared.tools.local.stack import Stack

__all__ = ["LocalStackError", "Stack"]
