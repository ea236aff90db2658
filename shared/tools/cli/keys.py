"""`shoploop keys`: the installation's secrets and API keys."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from shared.contracts.errors import Invalid, NotFound
from shared.runtime import keys
from shared.tools.local.paths import default_home

app = typer.Typer(
    help="Make, list and revoke API keys. Running services follow within seconds.",
    no_args_is_help=True,
    add_completion=False,
)
FileOption = Annotated[
    Path | None,
    typer.Option("--file", envvar="SHOPLOOP_KEYS", help="The keys file; default HOME/keys.json."),
]


def keys_file(named: Path | None) -> Path:
    """Return the file that is meant."""
    return named or default_home().root / "keys.json"


@app.command()
def init(file: FileOption = None) -> None:
    """Make the secrets of a new installation, if there are none yet."""
    chosen = keys_file(file)
    there = chosen.exists()
    keys.load_or_generate(chosen)
    Console().print(f"{'kept' if there else 'made'} {chosen}", highlight=False, soft_wrap=True)


@app.command("list")
def list_keys(file: FileOption = None) -> None:
    """Show the API keys; the text only of those that were made with the installation."""
    table = Table("name", "scopes", "origins", "ack", box=None, header_style="bold")
    table.add_column("key", no_wrap=True, min_width=36)
    for key in keys.load(keys_file(file)).api_keys:
        table.add_row(
            key.name, " ".join(key.scopes), " ".join(key.origins) or "any", key.ack, key.key or "-"
        )
    Console(soft_wrap=True).print(table)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="As `keys list` shows it.")], file: FileOption = None
) -> None:
    """Print the text of one key that was made with the installation, for scripts."""
    for key in keys.load(keys_file(file)).api_keys:
        if key.name == name and key.key:
            print(key.key)
            return
    raise NotFound(
        f"the text of a key {name!r} is not kept here; `shoploop keys list` shows which are"
    )


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What you call it; must be new.")],
    scope: Annotated[
        list[str], typer.Option(help="events, serve, train or admin; may be given several times.")
    ],
    origin: Annotated[
        list[str] | None, typer.Option(help="Where pages may use it: https://shop.example")
    ] = None,
    ack: Annotated[str, typer.Option(help="memory, disk or kafka.")] = "disk",
    file: FileOption = None,
) -> None:
    """Make a key and print it once; with the scope events alone it is publishable."""
    chosen = keys_file(file)
    secrets = keys.load(chosen)
    if not name.isprintable() or not name.strip():
        raise Invalid("give the key a name that can be read", field="name")
    if any(key.name == name for key in secrets.api_keys):
        raise Invalid(f"there is a key {name!r} already: choose another name", field="name")
    text, kept = keys.make(
        name, _scopes(scope), origins=tuple(map(_origin, origin or ())), ack=_ack(ack)
    )
    keys.save(chosen, msgspec.structs.replace(secrets, api_keys=(*secrets.api_keys, kept)))
    print(text)


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="As `keys list` shows it.")], file: FileOption = None
) -> None:
    """Take a key back: within seconds it opens nothing any more."""
    chosen = keys_file(file)
    secrets = keys.load(chosen)
    left = tuple(key for key in secrets.api_keys if key.name != name)
    if len(left) == len(secrets.api_keys):
        raise NotFound(f"there is no key {name!r}; `shoploop keys list` shows them")
    keys.save(chosen, msgspec.structs.replace(secrets, api_keys=left))
    Console(stderr=True).print(f"{name} opens nothing any more", markup=False, highlight=False)


def _scopes(given: list[str]) -> tuple[keys.Granted, ...]:
    unknown = sorted(set(given) - set(keys.GRANTED))
    if unknown:
        raise Invalid(f"{unknown[0]!r} is none of {', '.join(keys.GRANTED)}", field="scope")
    return tuple(scope for scope in keys.GRANTED if scope in given)


def _origin(given: str) -> str:
    """Return an origin as browsers spell it, international names included."""
    wrong = Invalid(f"{given!r} is not like https://shop.example", field="origin")
    try:
        parts = urlsplit(given.rstrip("/"))
        host = (parts.hostname or "").encode("idna").decode()
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("http", "https") or not host or parts.path or parts.query:
        raise wrong
    return f"{parts.scheme}://{host}{port}"


def _ack(given: str) -> keys.Ack:
    for level in keys.ACKS:
        if level == given:
            return level
    raise Invalid(f"{given!r} is none of {', '.join(keys.ACKS)}", field="ack")
