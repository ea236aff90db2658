"""What the collector reads from the environment."""

from pathlib import Path

from pydantic import Field

from shared.runtime.settings import Settings


class CollectorSettings(Settings):
    """The collector's own settings; see `Settings` for the rest."""

    spool: Path | None = Field(None, description="the log's folder; default HOME/collector")
    spool_max_bytes: int = Field(
        4 << 30, ge=16 << 20, description="the log's size on disk; beyond it senders get 429"
    )
    spool_segment_bytes: int = Field(
        64 << 20, ge=1 << 16, description="a segment of the log; deleted when all of it is in Kafka"
    )
    spool_memory_bytes: int = Field(
        32 << 20,
        ge=1 << 20,
        description="records kept in memory for the relay; more are read again",
    )
    spool_group_s: float = Field(
        0.001, ge=0, le=1, description="least time between two syncs of the log under load"
    )
    receipts_max_bytes: int = Field(
        1 << 30, ge=32 << 20, description="where published records lie, 24 bytes each"
    )
    duplicates_hours: float = Field(24, gt=0, description="how long ids are remembered")
    duplicates_max_ids: int = Field(
        4_000_000, ge=100_000, description="ids remembered at most, about 20 bytes each"
    )
    max_events: int = Field(2000, ge=1, description="events in one request")
    browser_oldest_days: int = Field(
        30, ge=1, description="age of events that a publishable key may send"
    )
    human_events_per_minute: int = Field(
        120, ge=1, description="a faster shopper is more and more likely a program"
    )
    kafka_ack_s: float = Field(
        10.0, gt=0, description="longest wait of a sender that asked for Kafka's acknowledgement"
    )

    @property
    def spool_folder(self) -> Path:
        """Where the log lies."""
        return self.spool or self.home / "collector"
