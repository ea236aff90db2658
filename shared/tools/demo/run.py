"""The demo from beginning to end."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from shared.contracts.errors import Invalid
from shared.runtime.bus import admin
from shared.tools.demo import shopping
from shared.tools.demo.bodies import shift_of, user_of
from shared.tools.demo.doors import Doors, keys_in, open_doors
from shared.tools.demo.grocer import Year, best_sellers, data_folder, titles_of, wanted
from shared.tools.demo.loading import Loaded, caught_up, load
from shared.tools.demo.memory import Memory
from shared.tools.demo.report import FILE, Report
from shared.tools.demo.shopping import Arm, Click, Joined, Sent, Wants
from shared.tools.demo.steps import Step, Steps
from shared.tools.demo.training import Trained, train, until_served
from shared.tools.local import Stack
from shared.tools.local.services import names

SHOPPERS = 400
CLICKED_IN = "Produce"
"""Where the newcomer clicks: fruit and vegetables are told apart without the names of brands."""
SETTINGS: Mapping[str, str] = {
    # The demo asks for its training itself, at the moment when all is loaded.
    "SHOPLOOP_TRAIN_FIRST_EVENTS": "1000000000",
    "SHOPLOOP_TRAIN_EVERY_HOURS": "100000",
    # Groceries are bought again and again.
    "SHOPLOOP_HIDE_BOUGHT": "[]",
    "SHOPLOOP_LAKE_FLUSH_S": "2",
}
"""How the services run in the demo; the environment wins."""


@dataclass(frozen=True)
class Goods:
    """The year cut into what has happened and what the shoppers are going to want."""

    year: Year
    past: pl.DataFrame
    wants: Wants

    @property
    def prices(self) -> dict[str, int]:
        """Item to its price in cents."""
        return dict(self.year.products.select("item", "price_cents").iter_rows())


@dataclass(frozen=True)
class Demo:
    """One run.

    Parameters
    ----------
    home : Path
        Folder of the stack's data.
    seed : int
        Draws households, shoppers and what they do.
    households : int or None
        How many to load; all if None.
    environ : mapping
        The environment of the services.
    """

    home: Path
    steps: Steps
    seed: int
    households: int | None
    environ: Mapping[str, str]
    random_ports: bool = False

    @contextmanager
    def stack(self) -> Iterator[Stack]:
        """Run all that there is: Kafka, Redis, every service. Raises `LocalStackError`."""
        words = self.steps.words
        data_folder()  # what is missing is said before anything starts
        with ExitStack() as running:
            with self.steps.step("start") as step:
                stack = running.enter_context(self._stack(step))
                step.done(words("start.done", programs=len(stack.programs())))
            yield stack

    @property
    def keys_file(self) -> Path:
        """Where the installation's keys are."""
        return Path(self.environ.get("SHOPLOOP_KEYS") or self.home / "keys.json")

    def turn(self, stack: Stack) -> Report:
        """Let the loop turn once, and write the report into the home.

        Raises
        ------
        Invalid
            Something was refused; the text says what and why.
        Retryable
            Something did not come in time; the text says where to look.
        """
        with open_doors(stack.url, keys_in(self.keys_file)) as doors:
            goods = self._goods()
            now = datetime.now(UTC).replace(microsecond=0)
            kafka = self.environ.get("SHOPLOOP_KAFKA", "")
            known = Memory.read(self.home, kafka=kafka, now=now)
            loaded = self._load(doors, goods, known)
            known = Memory.read(self.home, kafka=kafka, now=now)
            trained = train(doors, self.steps)
            self._serve(doors, stack, trained, goods)
            report = self._close(doors, stack, goods, known, (loaded, trained))
        (self.home / FILE).write_bytes(report.to_json())
        return report

    def _stack(self, step: Step) -> Stack:
        def progress(done: int, total: int) -> None:
            step.of(total)
            step.at(done, self.steps.words("start.jars"))

        return Stack(
            home=self.home,
            services=names(),
            random_ports=self.random_ports,
            kafka=self.environ.get("SHOPLOOP_KAFKA", ""),
            redis=self.environ.get("SHOPLOOP_REDIS", ""),
            prepare=self._prepare,
            environ={**SETTINGS, **self.environ},
            progress=progress,
        )

    def _prepare(self, stack: Stack) -> None:
        admin.ensure_topics(stack.kafka, admin.wanted_by(names(), production=False))
        keys_in(self.keys_file)

    def _goods(self) -> Goods:
        with self.steps.step("read") as step:
            year = Year.read(data_folder(), households=self.households, seed=self.seed)
            past, future = year.split()
            orders = year.lines["basket"].n_unique()
            step.done(
                self.steps.words(
                    "read.done",
                    households=year.households,
                    of=year.of,
                    orders=orders,
                    lines=year.lines.height,
                )
            )
        wants = wanted(past, future)
        if not wants:
            raise Invalid(self.steps.words("error.few"))
        return Goods(year, past, wants)

    def _load(self, doors: Doors, goods: Goods, known: Memory) -> Loaded:
        year, words = goods.year, self.steps.words
        if known.holds(seed=self.seed, households=year.households):
            self.steps.console.print(f"✓ {words('orders')}: {words('known')}", highlight=False)
            return Loaded(
                products=year.products.height,
                orders=goods.past["basket"].n_unique(),
                lines=goods.past.height,
                known=True,
            )
        unfinished = msgspec.structs.replace(known, seed=self.seed, households=0)
        unfinished.write(self.home)
        shift = shift_of(year.ends, known.ends)
        loaded = load(doors, self.steps, year.products, goods.past, shift)
        msgspec.structs.replace(unfinished, households=year.households).write(self.home)
        return loaded

    def _serve(self, doors: Doors, stack: Stack, trained: Trained, goods: Goods) -> None:
        words, logs = self.steps.words, self.home / "logs"
        with self.steps.step("serve") as step:
            late = words("error.not_served", version=trained.version, logs=logs)
            until_served(doors, trained.version, user_of(min(goods.wants)), late)
            caught_up(stack.kafka, lambda n: words("error.behind", n=n, logs=logs))
            step.done(words("serve.done"))

    def _close(
        self,
        doors: Doors,
        stack: Stack,
        goods: Goods,
        known: Memory,
        made: tuple[Loaded, Trained],
    ) -> Report:
        """Let shoppers close the loop."""
        loaded, trained = made
        drawn = shopping.choose(goods.wants, known.met, SHOPPERS, seed=self.seed)
        again = bool(set(drawn) & set(known.met))
        earlier = shopping.arms_of(doors.feedback(), trained.version)
        sent = self._shop(doors, goods, drawn)
        msgspec.structs.replace(known, met=tuple(sorted({*known.met, *drawn}))).write(self.home)
        joined = self._join(doors, trained.version, earlier, sent)
        # Behind the report, in which the newcomer's lists would count as lists without a click.
        click = self._click(doors, goods)
        mentioned = sorted({click.item, *click.before, *click.after})
        return Report(
            seed=self.seed,
            households=goods.year.households,
            households_in_source=goods.year.of,
            loaded=loaded,
            trained=trained,
            sent=sent,
            again=again,
            click=click,
            joined=joined,
            titles=dict(zip(mentioned, titles_of(goods.year.products, mentioned), strict=True)),
            steps=dict(self.steps.seconds),
            urls=stack.urls(),
        )

    def _shop(self, doors: Doors, goods: Goods, households: list[int]) -> Sent:
        words = self.steps.words
        with self.steps.step("shop") as step:
            step.of(len(households))
            sent = shopping.shop(
                doors, goods.wants, households, goods.prices, seed=self.seed, told=step.advance
            )
            step.done(words("shop.done", visits=sent.lists, clicks=sent.clicks, orders=sent.orders))
        return sent

    def _click(self, doors: Doors, goods: Goods) -> Click:
        words = self.steps.words
        liked = best_sellers(goods.past, goods.year.products, CLICKED_IN)
        drawn = np.random.default_rng(self.seed).permutation(liked).tolist()
        newcomer = f"newcomer-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        with self.steps.step("click") as step:
            click = shopping.click_once(doors, newcomer, drawn, words.lang)
            if click.ms is None:
                step.done(words("click.same", s=shopping.CHANGED_WITHIN_S))
            else:
                step.done(words("click.done", ms=click.ms))
        return click

    def _join(self, doors: Doors, version: str, earlier: Mapping[str, Arm], sent: Sent) -> Joined:
        words = self.steps.words
        with self.steps.step("feedback") as step:
            joined = shopping.joined(doors, version, earlier, sent)
            text = "feedback.done" if joined.complete else "feedback.late"
            step.done(
                words(
                    text,
                    requests=joined.lists,
                    clicks=joined.clicks,
                    sent=sent.lists,
                    clicked=sent.clicks,
                )
            )
        return joined
