"""What of a dead program's output is shown."""

from hypothesis import given
from hypothesis import strategies as st

from shared.tools.local.words import last_words


def json_line(second: int, level: str, event: str, **more: object) -> str:
    fields = "".join(f',"{name}":{value}' for name, value in more.items())
    return f'{{"ts":"2026-11-24T11:48:{second:02}.5Z","level":"{level}","event":"{event}"{fields}}}'


def test_a_line_that_is_repeated_is_shown_once_with_its_count() -> None:
    """A service that waits for Kafka would bury the reason why another died."""
    waits = [json_line(n, "warning", "waiting", tries=n, in_s=0.1 * n) for n in range(50)]
    cause = json_line(3, "info", "starting")
    shown = last_words([*waits[:3], cause, *waits[3:]])
    assert shown == [cause, f"{waits[-1]}  (50 times)"]


def test_times_of_other_programs_are_seen_through() -> None:
    """Kafka writes its lines in another form."""
    lines = [f"11:48:{n:02}.123 [main] WARN it is slow" for n in range(5)]
    assert last_words(lines) == [f"{lines[-1]}  (5 times)"]


def test_errors_stay_where_there_is_no_room_for_all() -> None:
    """The error that ended it was often said long before the last line."""
    error = json_line(0, "critical", "the process ends")
    trace = ["Traceback (most recent call last):", "ValueError: no"]
    chatter = [f"loaded {chr(97 + n)}" for n in range(26)]
    assert last_words([error, *trace, *chatter], 5) == [error, *trace, "loaded y", "loaded z"]
    assert last_words([*trace, error], 2) == [trace[1], error], "the youngest of them"


def test_a_traceback_keeps_its_lines() -> None:
    """Two places in one file are two places."""
    trace = ['  File "a.py", line 1, in f', "    g()", '  File "a.py", line 2, in g']
    assert last_words(trace) == trace


@given(st.lists(st.text(alphabet="ab1{ E", max_size=4)), st.integers(1, 5))
def test_there_are_never_too_many_and_none_is_made_up(lines: list[str], most: int) -> None:
    """A terminal would be flooded."""
    shown = last_words(lines, most)
    assert len(shown) <= most
    assert {line.partition("  (")[0] for line in shown} <= {
        line.partition("  (")[0] for line in lines
    }
