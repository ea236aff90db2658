"""`shoploop forget`: erases a person and shows what each service removed."""

import asyncio
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.table import Table

from shared.contracts.errors import Invalid, Retryable
from shared.contracts.service import Process, Service
from shared.contracts.topics import ERASURES
from shared.runtime.erasure import answers
from shared.runtime.http.erasures import Begun
from shared.tools.cli.access import address, api_key, kafka_bus
from shared.tools.local.services import manifests, names

_SERVICE = Service(
    "command-line", "Asks for erasures.", (Process("forget", "Waits for answers."),), (ERASURES,)
)


def forget(
    user: Annotated[str, typer.Argument(help="The shop's own id of the person.")],
    timeout_s: Annotated[
        float, typer.Option("--timeout", help="Seconds to wait for the services.")
    ] = 60.0,
) -> None:
    """Erase a person everywhere: keys, views, topics; the next release is trained without them.

    Ends with 1 while a service has not answered; ask again then, it does no harm.
    """
    begun = _ask(user)
    expected = {s.name for s in manifests(names()) if ERASURES in s.reads}
    got = asyncio.run(_collect(begun.event_id, expected, timeout_s))
    table = Table("service", "removed", box=None, header_style="bold")
    table.add_row("vault", "the person's key")
    for name in sorted(expected | got.keys()):
        removed = got.get(name)
        shown = ", ".join(f"{n} {what}" for what, n in (removed or {}).items()) or "nothing"
        table.add_row(name, "[red]no answer yet[/]" if removed is None else shown)
    Console().print(table)
    if expected - got.keys():
        raise typer.Exit(1)


def _ask(user: str) -> Begun:
    try:
        answer = httpx.post(
            f"{address('collector')}/v1/erasures",
            json={"user": user},
            headers={"Authorization": f"Bearer {api_key('admin')}"},
            timeout=60,
        )
    except httpx.TransportError as error:
        raise Retryable(
            f"the collector does not answer ({error}); is `shoploop up` running?"
        ) from None
    if answer.status_code != httpx.codes.ACCEPTED:
        raise Invalid(f"the collector refused ({answer.status_code}): {_reason(answer)}")
    return Begun(**answer.json())


def _reason(answer: httpx.Response) -> str:
    """Return what a problem says, or the beginning of an answer that is none."""
    if not answer.headers.get("content-type", "").startswith("application/problem+json"):
        return answer.text[:500]
    return str(answer.json().get("detail"))


async def _collect(
    event_id: str, expected: set[str], timeout_s: float
) -> dict[str, dict[str, int]]:
    bus = kafka_bus(_SERVICE)
    got: dict[str, dict[str, int]] = {}
    try:
        async with asyncio.timeout(timeout_s):
            async for name, removed in answers(bus, event_id):
                got[name] = removed
                if got.keys() >= expected:
                    break
    except TimeoutError:
        pass
    finally:
        await bus.close()
    return got
