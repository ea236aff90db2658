"""What time it was when something happened, when the sender's clock may be wrong."""

from datetime import UTC, datetime, timedelta

from shared.contracts.errors import Invalid

AHEAD_KEPT = timedelta(minutes=1)
AHEAD_CORRECTED = timedelta(days=1)
EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)


def happened(
    time: datetime | None,
    now: datetime,
    *,
    sent_at: datetime | None = None,
    oldest: timedelta | None = None,
) -> datetime:
    """Return when the event happened by the collector's clock.

    With `sent_at` (the sender's clock when it sent the request) the sender's error is known and
    taken out. Without it, a time up to a minute ahead is kept, up to a day ahead becomes `now`.

    Parameters
    ----------
    time : datetime or None
        By the sender's clock; None means now.
    now : datetime
        By the collector's, with an offset.
    sent_at : datetime or None
        The sender's clock when the request left it.
    oldest : timedelta or None
        How old an event may be; None for a sender that loads its history.

    Raises
    ------
    Invalid
        No UTC offset, further ahead than a day, or too old.
    """
    if time is None:
        return now
    if time.tzinfo is None:
        raise Invalid("needs a UTC offset, such as 2026-05-04T12:00:00Z", field="time")
    if sent_at is not None and sent_at.tzinfo is not None and abs(sent_at - now) > AHEAD_KEPT:
        time = _corrected(time, now - sent_at)
    if time > now:
        return _ahead(time, now)
    if oldest is not None and now - time > oldest:
        raise Invalid(
            f"is {_days(now - time)} old, this key takes {oldest.days}; load history with a secret key",
            field="time",
        )
    if time < EARLIEST:
        raise Invalid("lies before 1990; send seconds as RFC 3339 text", field="time")
    return time


def _corrected(time: datetime, error: timedelta) -> datetime:
    try:
        return time + error
    except OverflowError:
        raise Invalid(
            f"lies outside of all years once the sender's clock is put right by {_days(error)}",
            field="time",
        ) from None


def _ahead(time: datetime, now: datetime) -> datetime:
    ahead = time - now
    if ahead > AHEAD_CORRECTED:
        raise Invalid(f"is {_days(ahead)} ahead of our clock; set the sender's", field="time")
    return now if ahead > AHEAD_KEPT else time


def _days(span: timedelta) -> str:
    return f"{span.total_seconds() / 86_400:.1f} days"
