import numpy as np
import pytest

from services.recommender.manifest import RATINGS
from shared.learning.features.interactions import Interactions
from shared.learning.models.biased_factors import BiasedFactors
from shared.learning.models.bundle import Bundle
from shared.learning.models.filled_svd import FilledSvd
from shared.learning.models.ids import IdIndex
from tests.component.recommender.conftest import Shop

ARTICLE = np.array(
    [[4, 3, 2, 1, 5], [5, 4, 5, 4, 3], [3, 2, 1, 3, 2], [4, 2, 3, 2, 4], [3, 5, 4, 5, 3]], float
)


def rated() -> Interactions:
    user, item = np.indices(ARTICLE.shape).reshape(2, -1)
    return Interactions(user, item, np.zeros(25), ARTICLE.ravel(), 5, 5)


def ids(shop: Shop) -> dict[str, IdIndex]:
    users = IdIndex(shop.user(f"u{n}") for n in range(5))
    return {"users": users, "items": IdIndex(f"i{n}" for n in range(5))}


async def served(shop: Shop, made: Bundle) -> None:
    version = await shop.release(made, RATINGS)

    async def there() -> bool:
        response = await shop.http.http.get("/v1/ratings/u0/i0")
        return response.status_code == 200 and response.json()["release"] == version

    await shop.eventually(there)


async def test_the_articles_matrix_comes_back_through_http(shop: Shop) -> None:
    """The worked example that the project began with would not be what the facade answers."""
    model = FilledSvd.fit(rated(), rank=5)
    await served(shop, Bundle(ids(shop), {"svd": model}, {}))
    for user in range(5):
        for item in range(5):
            answer = await shop.get(f"/v1/ratings/u{user}/i{item}")
            assert answer["rating"] == pytest.approx(ARTICLE[user, item], abs=1e-6)
            assert sum(answer["parts"].values()) == pytest.approx(answer["rating"], abs=1e-6)


async def test_strangers_and_new_items_get_what_is_known(shop: Shop) -> None:
    """A new shopper would get an error instead of what all together say."""
    await shop.sell("new")
    model = BiasedFactors.fit(rated())
    await served(shop, Bundle(ids(shop), {"ratings": model}, {}))
    stranger = await shop.get("/v1/ratings/nobody/i1")
    assert (stranger["known_user"], stranger["known_item"]) == (False, True)
    assert stranger["parts"]["user"] == 0
    new = await shop.get("/v1/ratings/u0/new")
    assert new["known_item"] is False
    assert (await shop.http.http.get("/v1/ratings/u0/nothing")).status_code == 404


async def test_without_a_release_it_is_said(shop: Shop) -> None:
    """A shop would take a missing model for a missing item."""
    response = await shop.http.http.get("/v1/ratings/u0/i0")
    assert response.status_code == 503
    assert "Retry-After" in response.headers
