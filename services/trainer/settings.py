"""The only reader of the environment."""

from pathlib import Path

from pydantic import Field

from shared.runtime.settings import Settings as Common


class Settings(Common):
    """Settings of the trainer."""

    lake: Path | None = Field(None, description="folder of the history; default HOME/lake")
    lake_flush_s: float = Field(5.0, gt=0, description="longest time from a record to its file")
    lake_flush_records: int = Field(50_000, ge=1, description="records written to files at once")

    train_every_hours: float = Field(24.0, gt=0, description="a model is trained at least so often")
    train_after_events: int = Field(
        200_000, ge=1, description="new events after which it is trained earlier"
    )
    train_first_events: int = Field(
        1_000, ge=1, description="events after which a model is trained for the first time"
    )
    train_memory_mib: int = Field(
        8192,
        ge=256,
        description="address space of a job, about four times what it holds in memory; "
        "one that needs more is ended",
    )
    train_threads: int = Field(2, ge=1, description="threads of a job")
    train_timeout_s: float = Field(3600.0, gt=0, description="a job that takes longer is ended")
    train_attempts: int = Field(3, ge=1, description="tries of a job whose worker died")

    click_minutes: float = Field(30.0, gt=0, description="a click later than this is not counted")
    purchase_hours: float = Field(24.0, gt=0, description="the same for a purchase")

    canary_percent: int = Field(
        0,
        ge=0,
        le=90,
        description="share of the shoppers who get a release that passed the gate before all "
        "others do; 0: everybody at once",
    )
    canary_hours: float = Field(
        72.0,
        gt=0,
        description="after this a canary that did no harm is promoted, and one that nobody was "
        "shown is taken back",
    )
    canary_margin: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="a canary is promoted earlier once its shoppers are sure to click no more "
        "than this share less often",
    )
    canary_look_s: float = Field(60.0, gt=0, description="time between two looks at a canary")

    @property
    def lake_folder(self) -> Path:
        """Where the history is."""
        return self.lake or self.home / "lake"

    @property
    def jobs_folder(self) -> Path:
        """Where jobs leave their results until they are released."""
        return self.home / "trainer" / "jobs"
