"""How long the log has kept events from Kafka."""

from services.collector.spool import Backlog


def test_the_age_is_that_of_the_first_unpublished_record() -> None:
    """An operator would not see that the log has been filling for an hour."""
    backlog = Backlog()
    assert backlog.oldest_s(0, 0, 100.0) == 0
    assert backlog.oldest_s(10, 0, 101.0) == 0
    assert backlog.oldest_s(20, 0, 103.0) == 2
    assert backlog.oldest_s(20, 9, 105.0) == 4
    assert backlog.oldest_s(20, 10, 106.0) == 3
    assert backlog.oldest_s(20, 20, 107.0) == 0
    assert backlog.oldest_s(21, 20, 108.0) == 0
