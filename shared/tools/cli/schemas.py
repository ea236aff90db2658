"""`shoploop schemas`: JSON Schemas and AsyncAPI of the topics, and what may not change in them."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from shared.contracts import schema
from shared.contracts.compatibility import breaks
from shared.contracts.errors import Invalid
from shared.contracts.topics import TOPICS
from shared.tools.cli.generated import write_or_check
from shared.tools.local import services
from shared.tools.local.paths import CHECKOUT

FOLDER = Path("shared/contracts/schemas")


def schemas(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; end with 1 if a file is stale.")
    ] = False,
    against: Annotated[
        str, typer.Option(help="The commit whose schemas must still be understood.")
    ] = "HEAD",
) -> None:
    """Write the events' JSON Schemas and AsyncAPI, unless a change would break a reader."""
    broken = list(incompatible(CHECKOUT, against))
    if broken:
        raise Invalid(
            "readers of records that are already written would break:\n  "
            + "\n  ".join(broken)
            + "\npublish a new version of the event beside the old one instead"
        )
    write_or_check(documents(CHECKOUT), check=check, command="schemas")


def documents(root: Path) -> dict[Path, str]:
    """Return every generated document by its path."""
    declared = services.manifests(services.names(root))
    files = {
        root / FOLDER / f"{topic.type}.json": _formatted(schema.schema_of(topic))
        for topic in TOPICS.values()
    }
    document = schema.asyncapi(list(TOPICS.values()), declared)
    return files | {root / "docs" / "asyncapi.json": _formatted(document)}


def incompatible(root: Path, commit: str) -> Iterator[str]:
    """Yield what in today's schemas breaks against those of a commit; nothing outside of git.

    Accepting more is transitive: a schema that takes all that its predecessor took takes all that
    any of its ancestors took, so that the last commit stands for all before it.
    """
    today = {f"{topic.type}.json": schema.schema_of(topic) for topic in TOPICS.values()}
    for name, old in committed(root, commit).items():
        if name not in today:
            yield f"{name}: is gone; its records are not"
        else:
            for problem in breaks(old, today[name]):
                yield f"{name}: {problem}"


def committed(root: Path, commit: str) -> dict[str, Any]:
    """Return the schemas of a commit by file name; empty where there is no such commit."""
    listed = _git(root, "ls-tree", "--name-only", commit, f"{FOLDER}/")
    return {
        Path(path).name: json.loads(_git(root, "show", f"{commit}:./{path}") or "{}")
        for path in (listed or "").split()
    }


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ("git", "-C", str(root), *arguments), check=False, capture_output=True, text=True
        )
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def _formatted(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
