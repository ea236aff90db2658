"""How likely it is that no human did this: by user agent and by pace."""

import re
from functools import lru_cache

_DECLARED = re.compile(
    r"bot\b|bot/|crawl|spider|slurp|archiver|preview|monitor|scan|fetch|headless|phantomjs|selenium"
    r"|puppeteer|playwright|lighthouse|pingdom|facebookexternalhit|embedly|mediapartners"
    r"|gptbot|claudebot|ccbot|bytespider|ahrefs|semrush|yandex\.com/bots|baiduspider",
    re.IGNORECASE,
)
_LIBRARY = re.compile(
    r"^(python|curl|wget|go-http-client|java/|okhttp|axios|node|ruby|perl|libwww|apache-httpclient"
    r"|scrapy|httpx|aiohttp|postman)",
    re.IGNORECASE,
)
_BROWSER = re.compile(r"^(mozilla|opera|dalvik)/", re.IGNORECASE)


@lru_cache(maxsize=4096)
def agent_score(agent: str | None) -> float:
    """Return the probability that this user agent is no human's browser or app, 0 to 1.

    A program that says what it is gets .99, a bare HTTP library .9, nothing at all .5, an unknown
    word .2: shops' own apps name themselves as they like.
    """
    if not agent:
        return 0.5
    if _DECLARED.search(agent):
        return 0.99
    if _LIBRARY.match(agent):
        return 0.9
    return 0.0 if _BROWSER.match(agent) else 0.2


class Paces:
    """Events a minute of each person, for the current minute; bounded.

    Beyond `most` people in one minute the count begins anew, which forgives and never accuses.
    """

    def __init__(self, *, human: int = 120, most: int = 50_000) -> None:
        self._human = human
        self._most = most
        self._minute = -1
        self._counts: dict[str, int] = {}

    def score(self, person: str, now_s: float) -> float:
        """Count one event of `person` and return the probability that the pace is a machine's.

        0 up to `human` events a minute, then rising to .95 at ten times that.
        """
        minute = int(now_s // 60)
        if minute != self._minute or len(self._counts) >= self._most:
            self._minute = minute
            self._counts = {}
        count = self._counts[person] = self._counts.get(person, 0) + 1
        if count <= self._human:
            return 0.0
        return min(0.95, 0.95 * (count - self._human) / (9 * self._human))


def either(a: float, b: float) -> float:
    """Return the probability that at least one of two independent signs is right, to 3 digits."""
    return round(1 - (1 - a) * (1 - b), 3)
