"""What the demo found out: as a table for people, as JSON for programs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from shared.tools.demo.loading import Loaded
from shared.tools.demo.shoppers import Difference, Share, difference
from shared.tools.demo.shopping import POPULAR, Arm, Click, Joined, Sent
from shared.tools.demo.training import K, Trained
from shared.tools.demo.words import Words

FILE = "demo-report.json"
EXAMPLES: Mapping[str, tuple[str, str]] = {
    "collector": (
        "web",
        """-d '{{"userid":"household-1","data":{{"action":"view_item","items":[{{"id":"{item}"}}]}}}}' \\
       {url}/v1/events""",
    ),
    "recommender": ("shop", "'{url}/v1/recommendations/household-1?k=5'"),
    "trainer": ("trainer", "{url}/v1/reports/feedback"),
}
"""Service to the key that is shown and what comes after curl and the key."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is worth keeping of one run; `titles` names the products that it mentions."""

    seed: int
    households: int
    households_in_source: int
    loaded: Loaded
    trained: Trained
    sent: Sent
    joined: Joined
    again: bool
    click: Click
    titles: dict[str, str]
    steps: dict[str, float]
    urls: dict[str, str]

    def to_json(self) -> bytes:
        """Return it as JSON, the derived figures beside the counted ones."""
        fields = msgspec.to_builtins(self)
        fields["click_through"] = {
            name: {
                **_share_json(arm.click_through),
                "above_popular": _against(arm, self.joined.arms)._asdict(),
                "simulated": True,
            }
            for name, arm in self.joined.arms.items()
        }
        fields["seconds"] = sum(self.steps.values())
        return msgspec.json.format(msgspec.json.encode(fields))


def show(report: Report, console: Console, words: Words) -> None:
    """Print lists before and after, then the figures."""
    console.print()
    console.print(_before_after(report.click, report.titles, words))
    if report.click.why and report.click.because:
        why, because = report.titles[report.click.why], report.click.because
        console.print(words("why", title=why, because=because), style="dim", highlight=False)
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for name, value in _figures(report, words):
        grid.add_row(name, Text(value))
    console.print(Panel(grid, title=words("report"), border_style="green"))
    console.print(_online(report.joined.arms, words))
    console.print(words("report.online.about"), style="dim", highlight=False)
    if report.again:
        console.print(words("report.again"), style="yellow", highlight=False)


def _figures(report: Report, words: Words) -> list[tuple[str, str]]:
    seconds = [f"{words(name)} {words('seconds', s=took)}" for name, took in report.steps.items()]
    return [
        (words("report.events"), _events(report.loaded, words)),
        (words("report.release"), report.trained.version),
        (words("report.offline"), _offline(report.trained, words)),
        ("", _gap(report.trained, words)),
        ("", words("report.offline.about", asked=report.trained.asked)),
        (words("report.click"), _click(report.click, words)),
        (words("report.steps"), " · ".join(seconds)),
        (words("report.total"), words("seconds", s=sum(report.steps.values()))),
    ]


def _events(loaded: Loaded, words: Words) -> str:
    n = loaded.products + loaded.orders
    if loaded.known:
        return words("report.events.known", n=n)
    return words("report.events.is", n=n, lines=loaded.lines, rate=loaded.rate)


def _offline(trained: Trained, words: Words) -> str:
    ours, theirs = (trained.offline.get(name, {}) for name in ("candidate", "popularity"))
    return words(
        "report.offline.is",
        ours=_interval(ours, "ndcg"),
        theirs=_interval(theirs, "ndcg"),
        recall=_interval(ours, "recall"),
        their_recall=_interval(theirs, "recall"),
    )


def _gap(trained: Trained, words: Words) -> str:
    verdict = trained.verdict
    gap = f"{verdict['difference']:+.4f} [{verdict['low']:+.4f}, {verdict['high']:+.4f}]"
    return words("report.offline.gap", gap=gap, reference=verdict["reference"])


def _interval(figures: Mapping[str, Any], metric: str) -> str:
    found = figures.get(f"{metric}@{K}")
    if not isinstance(found, dict):
        return "–"
    return f"{found['mean']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def _click(click: Click, words: Words) -> str:
    if click.ms is None:
        return "–"
    changed = sum(one not in click.before for one in click.after)
    return words("report.click.is", ms=click.ms, changed=changed, k=len(click.after))


def _online(arms: Mapping[str, Arm], words: Words) -> Table:
    columns = [words(f"arm{name}") for name in ("", ".visits", ".clicked", ".bought", ".gap")]
    table = Table(*columns, title=words("report.online"), title_justify="left", box=None)
    for name, arm in arms.items():
        gap = _against(arm, arms)
        clicked, bought = arm.click_through, arm.conversion
        table.add_row(
            words(f"arm.{name}"),
            str(arm.visits),
            _percent(clicked.value, *clicked.bounds),
            _percent(bought.value, *bought.bounds),
            "" if name == POPULAR else _percent(*gap),
        )
    return table


def _against(arm: Arm, arms: Mapping[str, Arm]) -> Difference:
    return difference(arm.click_through, arms[POPULAR].click_through)


def _percent(value: float, low: float, high: float) -> str:
    return f"{value:.0%} [{low:.0%}, {high:.0%}]"


def _share_json(share: Share) -> dict[str, Any]:
    low, high = share.bounds
    return {"hits": share.hits, "n": share.n, "value": share.value, "low": low, "high": high}


def _before_after(click: Click, titles: Mapping[str, str], words: Words) -> Table:
    table = Table(
        "",
        words("before"),
        words("after", title=titles[click.item]),
        title=words("list.of", user=click.user),
        title_justify="left",
        header_style="bold",
    )
    for place, (old, new) in enumerate(zip(click.before, click.after, strict=False), start=1):
        table.add_row(str(place), titles[old], _marked(new, old, click.before, titles))
    return table


def _marked(new: str, old: str, before: Sequence[str], titles: Mapping[str, str]) -> Text:
    if new == old:
        return Text(f"  {titles[new]}", style="dim")
    if new in before:
        return Text(f"↕ {titles[new]}", style="yellow")
    return Text(f"+ {titles[new]}", style="bold green")


def invite(
    url: Callable[[str], str], texts: Mapping[str, str], item: str, console: Console, words: Words
) -> None:
    """Print where everything is, and one request to each service with the key that it takes."""
    console.print(f"\n{words('open')}", style="bold")
    for service, (key, rest) in EXAMPLES.items():
        at = url(service)
        console.print(words("open.key", service=service, url=at), style="bold", soft_wrap=True)
        console.print(f"  {words(f'open.{service}', key=key)}", style="dim", soft_wrap=True)
        command = f"curl -H 'Authorization: Bearer {texts[key]}' {rest.format(url=at, item=item)}"
        console.print(f"  {command}", markup=False, highlight=False, soft_wrap=True)
    console.print(words("open.keys"), style="dim")
