"""The last words of a program: what its log says that helps, without what it only repeats."""

import re
from collections.abc import Iterable

_MOST = 40
_NUMBER = re.compile(r"\d+(\.\d+)?")
_TIME = re.compile(r"^[\d:.,TZ+ -]+")
_GRAVE = re.compile(
    r'"level":"(error|critical)"|\b(ERROR|FATAL|CRITICAL)\b|^Traceback|^\w*(Error|Exception)\b'
)


def last_words(lines: Iterable[str], most: int = _MOST) -> list[str]:
    """Return at most `most` of the lines, in their order.

    Of lines that differ in nothing but times and numbers the last one stays, with their count.
    Where there are still too many, errors stay before others, and young ones before old ones.
    """
    found: dict[str, tuple[str, int]] = {}
    for line in lines:
        kind = _kind(line)
        _, before = found.pop(kind, ("", 0))
        found[kind] = line, before + 1  # at the end: they lie in the order of the last time
    grave = [kind for kind, (line, _) in found.items() if _GRAVE.search(line)]
    others = [kind for kind in found if kind not in grave]
    kept = {*grave[-most:], *others[max(0, len(others) + len(grave[-most:]) - most) :]}
    return [
        line if count == 1 else f"{line}  ({count} times)"
        for kind, (line, count) in found.items()
        if kind in kept
    ]


def _kind(line: str) -> str:
    """Return what lines that say the same have in common."""
    return _NUMBER.sub("0", line) if line.startswith("{") else _TIME.sub("", line)
