"""What the shop knows of a person, and who an anonymous visitor turned out to be."""

from msgspec import Struct

from shared.contracts.events.fields import Id, Name


class Shopper(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A person as the shop describes them.

    `sealed` holds direct identifiers (name, e-mail, phone, address), each encrypted under the
    person's own key; `traits` holds what identifies nobody. `consent` is in the envelope's
    spelling. `personalised` False is honoured by every service.
    """

    user: Id
    sealed: dict[str, str] = {}
    traits: dict[str, str | float | bool] = {}
    consent: Name | None = None
    personalised: bool = True
    locale: Name | None = None


class Identity(Struct, frozen=True, kw_only=True):
    """The anonymous visitor `anonid` is `user`."""

    anonid: Id
    user: Id
