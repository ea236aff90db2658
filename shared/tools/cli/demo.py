"""`shoploop demo`: the loop turns once before one's eyes, and stays up."""

import os
from typing import Annotated

import typer
from rich.console import Console

from shared.tools.cli.stack import HomeOption, complaining, terminable
from shared.tools.demo.doors import keys_in
from shared.tools.demo.report import FILE, invite, show
from shared.tools.demo.run import Demo
from shared.tools.demo.steps import Steps
from shared.tools.demo.words import LANGS, Lang, Words, language
from shared.tools.local.paths import default_home


def _language(given: str) -> Lang:
    for lang in LANGS:
        if given == lang:
            return lang
    raise typer.BadParameter(f"one of {', '.join(LANGS)}")


@complaining
def demo(
    leave: Annotated[
        bool, typer.Option("--exit", help="End after the report, and leave nothing running.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is drawn.")] = 7,
    households: Annotated[
        int | None, typer.Option(min=1, help="How many of the 2,469 to load; default all.")
    ] = None,
    lang: Annotated[
        str | None, typer.Option(help="en or zh; default by LANG.", show_default=False)
    ] = None,
    random_ports: Annotated[
        bool, typer.Option("--random-ports", help="Take free ports, not the usual ones.")
    ] = False,
    home: HomeOption = None,
) -> None:
    """Start everything, load a real grocer's year, train, release, and let shoppers close the loop."""
    words = Words(_language(lang) if lang else language(os.environ))
    console = Console()
    folder = home.resolve() if home else default_home().root
    run = Demo(
        home=folder,
        steps=Steps(console, words),
        seed=seed,
        households=households,
        environ=dict(os.environ),
        random_ports=random_ports,
    )
    console.print(words("title"), style="bold")
    console.print(words("about"), style="dim", highlight=False)
    try:
        with terminable(), run.stack() as stack:
            report = run.turn(stack)
            show(report, console, words)
            console.print(words("report.file", file=folder / FILE), soft_wrap=True)
            if leave:
                console.print(words("stopping"), style="dim")
            else:
                invite(stack.url, keys_in(run.keys_file), report.click.item, console, words)
                stack.wait()
    except KeyboardInterrupt:
        pass
    console.print(words("stopped"))
