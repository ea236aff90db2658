"""A manifest cannot lie: what it does not declare is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.consent import allows, spelled
from shared.contracts.errors import UndeclaredKey, UndeclaredModel, UndeclaredTopic
from shared.contracts.ids import uuid7
from shared.contracts.service import Key, ModelUse, Process, Service
from shared.contracts.topics import BEHAVIOUR, CATALOG, ORDERS

CART = Key("cart", ("user", "item"), "hash", "What lies in a cart.")
SHOP = Service(
    "shop",
    "An example.",
    (Process("http", "Answers.", port=9000),),
    reads=(BEHAVIOUR,),
    writes=(ORDERS,),
    keys=(CART,),
    models=(ModelUse("rank", "by price"),),
)


def test_what_is_declared_is_granted_and_the_rest_refused() -> None:
    """Otherwise the map, the access rules and the compose file describe another system."""
    SHOP.may_read(BEHAVIOUR)
    SHOP.may_write(ORDERS)
    SHOP.may_use_key(CART)
    SHOP.may_use_model("rank")
    with pytest.raises(UndeclaredTopic, match="catalog"):
        SHOP.may_read(CATALOG)
    with pytest.raises(UndeclaredTopic, match="behaviour"):
        SHOP.may_write(BEHAVIOUR)
    with pytest.raises(UndeclaredKey, match="other"):
        SHOP.may_use_key(Key("other", (), "string", ""))
    with pytest.raises(UndeclaredModel, match="chat"):
        SHOP.may_use_model("chat")


def test_a_wrong_process_name_is_answered_with_the_right_ones() -> None:
    """An operator who mistypes a process learns what there is."""
    with pytest.raises(LookupError, match="it has: http"):
        SHOP.process("web")


text = st.text(min_size=1, max_size=8, alphabet="ab:%{}A3 7D")


@given(text, text, text, text)
def test_different_people_never_share_a_key(a: str, b: str, c: str, d: str) -> None:
    """Ids may hold colons and braces; two people under one key would see each other's cart."""
    assert (CART.of(a, b) == CART.of(c, d)) == ((a, b) == (c, d))


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=16))
def test_uuid7_sorts_by_time_and_says_its_version(now_ms: int, entropy: bytes) -> None:
    """Ids made later sort later, so that stores append."""
    made = uuid7(now_ms, entropy)
    assert made[14] == "7"
    assert made[19] in "89ab"
    assert int(made.replace("-", "")[:12], 16) == now_ms


@pytest.mark.parametrize(
    ("consent", "granted"),
    [
        (None, {"analytics", "personalisation"}),
        ("none", set()),
        ("analytics", {"analytics"}),
        (spelled(["marketing", "analytics", "unknown"]), {"analytics", "marketing"}),
    ],
)
def test_consent_grants_what_it_says(consent: str | None, granted: set[str]) -> None:
    """Nobody is contacted who was not asked, and nobody is profiled who said no."""
    assert {
        p for p in ("analytics", "personalisation", "marketing") if allows(consent, p)
    } == granted
