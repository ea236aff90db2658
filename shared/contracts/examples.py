"""One example of each topic's records: in the schemas, for whoever writes a client, and in tests."""

from datetime import UTC, datetime
from typing import Any

from shared.contracts import events as ev
from shared.contracts import topics
from shared.contracts.envelope import encode
from shared.contracts.topics import Topic, wrap

_AT = datetime(2026, 5, 4, 9, 30, 12, 250_000, tzinfo=UTC)
_USER = "u_5dGmA0kQbH3pWzJx8nTf2w"
_ANON = "9f1c6d1e-visitor"
_REQUEST = "019684b2-7c1e-7a55-9d0e-3a0b51c7e2f4"


def _example(topic: Topic[Any], event: Any, source: str, **more: Any) -> tuple[str, bytes]:
    envelope = wrap(
        topic, event, id=f"019684b2-0000-7000-8000-{len(topic.name):012d}", source=source, time=_AT, **more
    )  # fmt: skip
    return topic.name, encode(envelope)


_MILK = ev.Touched("milk-1l", quantity=2, price_cents=129, position=3)
_LINE = ev.Line("milk-1l", quantity=2, price_cents=129, request_id=_REQUEST)

EXAMPLES: dict[str, bytes] = dict(
    (
        _example(
            topics.BEHAVIOUR,
            ev.Behaviour(
                action="add_to_cart", items=(_MILK,), request_id=_REQUEST, currency="EUR", bot=0.02
            ),
            "shop/web",
            userid=_USER,
            anonid=_ANON,
            receivedat=_AT,
            consent="analytics personalisation",
        ),
        _example(
            topics.BEHAVIOUR_REJECTED,
            ev.Rejected(
                door="/v1/events",
                reason="quantity must be positive",
                original=b'{"action":"add_to_cart","items":[{"id":"milk-1l","quantity":0}]}',
                field="items[0].quantity",
            ),
            "shop/web",
        ),
        _example(
            topics.ORDERS,
            ev.Order(
                order_id="2026-1001",
                status="placed",
                lines=(_LINE,),
                currency="EUR",
                total_cents=258,
                request_id=_REQUEST,
            ),
            "shop/backend",
            userid=_USER,
        ),
        _example(
            topics.CATALOG,
            ev.Product(
                id="milk-1l",
                title="Whole milk, 1 l",
                titles={"zh": "全脂牛奶 1 升"},
                category=("Grocery", "Dairy", "Milk"),
                brand="Meadow",
                price_cents=129,
                currency="EUR",
                attributes={"fat_percent": 3.5, "organic": True},
                weight_g=1030.0,
            ),
            "shop/backend",
        ),
        _example(
            topics.SHOPPERS,
            ev.Shopper(
                user=_USER,
                sealed={"email": "AQx1…"},
                traits={"member_since": "2024", "age_band": "25-34"},
                consent="analytics personalisation",
                locale="en-IE",
            ),
            "shop/backend",
        ),
        _example(topics.IDENTITIES, ev.Identity(anonid=_ANON, user=_USER), "shop/web"),
        _example(
            topics.SESSIONS,
            ev.Session(
                session_id="0c0f2f9e-9a0b-5d51-8f3e-6a1f6f1c2b7d",
                person=_USER,
                known=True,
                began=_AT,
                ended=_AT,
                steps=(ev.Step("e-1", 0, "view_item", items=("milk-1l",), request_id=_REQUEST),),
            ),
            "shoploop/collector/stream",
            userid=_USER,
            anonid=_ANON,
        ),
        _example(
            topics.ITEM_ACTIVITY,
            ev.ItemActivity(
                item_id="milk-1l",
                ended=_AT,
                views=(12.0, 160.0, 1100.0),
                carts=(3.0, 40.0, 260.0),
                buys=(1.0, 22.0, 150.0),
                growth=(2.4, 0.3, -0.1),
            ),
            "shoploop/collector/stream",
        ),
        _example(
            topics.DECISIONS,
            ev.Decision(
                request_id=_REQUEST,
                service="recommender",
                scenario="home",
                shown=(ev.Candidate("milk-1l", 0, 0.83, 0.95, {"slim": 0.8, "trending": 0.1}),),
                release="20260504T080000-1f0c",
                rung="current",
                withheld={"out of stock": 2},
            ),
            "shoploop/recommender",
            userid=_USER,
        ),
        _example(
            topics.MODELS,
            ev.ReleaseChanged(
                model="recommend",
                version="20260504T080000-1f0c",
                change="promoted",
                previous="20260503T080000-77aa",
                metrics={"ndcg@10": 0.104, "ndcg@10_popular": 0.061},
                by="trainer",
            ),
            "shoploop/trainer",
        ),
        _example(topics.ERASURES, ev.Erasure(user=_USER, anonids=(_ANON,)), "shop/backend"),
        _example(
            topics.AUDIT_COUNTS,
            ev.AuditCount(stage="collector-in", minute=_AT, count=1200, digest="9c1185a5c5e9fc54"),
            "shoploop/collector",
        ),
    )
)
"""Topic name to the value of a record."""
