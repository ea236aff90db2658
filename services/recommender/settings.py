"""The only reader of the environment."""

from pydantic import Field

from services.recommender.core.query import SCENARIOS, Rules
from shared.runtime.settings import Settings as Common


class Settings(Common):
    """Settings of the recommender."""

    pool: int = Field(256, ge=100, le=5000, description="candidates filtered and reranked")
    page_size: int = Field(10, ge=1, le=100, description="items where a request does not say")
    half_life_days: float = Field(30.0, gt=0, description="an older event says half as much")
    repeat_half_life_days: float = Field(45.0, gt=0, description="the same for a purchase")
    hide_bought: tuple[str, ...] = Field(
        ("home", "product", "cart"), description="scenarios that leave out what was bought"
    )
    repeatable_categories: tuple[str, ...] = Field(
        (), description="categories shown again all the same"
    )
    category_share: float = Field(0.4, gt=0, le=1, description="of a list for one category")
    diversity: float = Field(0.1, ge=0, le=1, description="0 by score alone, 1 by being different")
    explore: float = Field(0.05, ge=0, le=1, description="chance of a new item on the last place")
    shelf_refresh_s: float = Field(
        0.5, ge=0, description="least time between takings-in of catalogue and counts"
    )
    explanation_slots: int = Field(
        20_000, ge=1, description="lists that can be explained at one time, about 3 kB each"
    )
    decision_queue: int = Field(10_000, ge=1, description="decisions waiting for Kafka")

    def rules(self) -> Rules:
        """Return how lists are made."""
        day_s = 86_400.0
        return Rules(
            pool=self.pool,
            half_life_s=self.half_life_days * day_s,
            repeat_half_life_s=self.repeat_half_life_days * day_s,
            hide_bought=frozenset(self.hide_bought) & frozenset(SCENARIOS),
            repeatable=self.repeatable_categories,
            category_share=self.category_share,
            diversity=self.diversity,
            explore=self.explore,
        )
