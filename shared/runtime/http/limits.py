"""Token buckets: how much one caller may ask for."""

from collections import OrderedDict

REMEMBERED = 20_000
"""Callers kept at once; the one that was silent for longest is forgotten first."""


class Buckets:
    """A token bucket for each caller: `rate_per_s` on average, `burst_s` seconds of it at once."""

    def __init__(
        self, rate_per_s: float, *, burst_s: float = 2.0, remembered: int = REMEMBERED
    ) -> None:
        self._rate = rate_per_s
        self._size = max(1.0, rate_per_s * burst_s)
        self._remembered = remembered
        self._callers: OrderedDict[object, tuple[float, float]] = OrderedDict()

    def take(self, caller: object, now_s: float) -> float:
        """Take one token; return 0, or the seconds to wait until there is one."""
        tokens, then = self._callers.get(caller, (self._size, now_s))
        tokens = min(self._size, tokens + (now_s - then) * self._rate)
        wait_s = 0.0 if tokens >= 1.0 else (1.0 - tokens) / self._rate
        self._callers[caller] = (tokens if wait_s else tokens - 1.0, now_s)
        self._callers.move_to_end(caller)
        if len(self._callers) > self._remembered:
            self._callers.popitem(last=False)
        return wait_s
