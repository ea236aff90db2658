"""The facts that topics carry, one module an area; every struct is frozen and only ever gains optional fields."""

from shared.contracts.events.behaviour import Behaviour, Rejected, Touched
from shared.contracts.events.catalog import Product
from shared.contracts.events.decisions import Candidate, Decision
from shared.contracts.events.loop import AuditCount, Erasure, ReleaseChanged
from shared.contracts.events.orders import Line, Order
from shared.contracts.events.people import Identity, Shopper
from shared.contracts.events.sessions import ItemActivity, Session, Step

__all__ = [
    "AuditCount",
    "Behaviour",
    "Candidate",
    "Decision",
    "Erasure",
    "Identity",
    "ItemActivity",
    "Line",
    "Order",
    "Product",
    "Rejected",
    "ReleaseChanged",
    "Session",
    "Shopper",
    "Step",
    "Touched",
]
