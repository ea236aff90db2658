"""Waiting that ends when the process is told to end."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def unless(stop: asyncio.Event, step: Coroutine[Any, Any, T]) -> T | None:
    """Take a step that `stop` cuts short: its result, or None; raises what it raises."""
    taking = asyncio.ensure_future(step)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({taking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return taking.result() if taking.done() else None
    finally:
        taking.cancel()
        stopping.cancel()
