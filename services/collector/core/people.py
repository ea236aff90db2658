"""What a shop says of a person, before names and addresses are sealed."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from shared.contracts.errors import Invalid
from shared.contracts.events.fields import Id, Name

IDENTIFIERS = frozenset(
    [
        "name",
        "first_name",
        "last_name",
        "firstname",
        "lastname",
        "full_name",
        "username",
        "email",
        "e_mail",
        "phone",
        "mobile",
        "telephone",
        "address",
        "street",
        "city_street",
        "birthday",
        "birthdate",
        "date_of_birth",
        "avatar",
        "passport",
        "tax_id",
        "iban",
        "wechat",
        "line_id",
        "whatsapp",
    ]
)
"""Traits that point at one person; kept only encrypted, under whatever spelling."""
Scalar = str | float | bool
Short = Annotated[str, Meta(max_length=4096)]


class Person(Struct, frozen=True, kw_only=True):
    """A person under the shop's own user id.

    `identifiers` are encrypted field by field; so are traits whose name says that they point at
    one person.
    """

    user: Id
    identifiers: dict[str, Short] = {}
    traits: dict[str, Scalar] = {}
    consent: Name | None = None
    personalised: bool = True
    locale: Name | None = None

    @classmethod
    def of_traits(cls, user: str, traits: dict[str, Any]) -> "Person":
        """Read Segment's traits: text of identifiers is kept apart, nested values are left out.

        Raises `Invalid` for an identifier that is longer than 4,096 characters, and msgspec's
        `ValidationError` for what no person may have.
        """
        plain = {k: v for k, v in traits.items() if isinstance(v, (str, float, int, bool))}
        nested = {
            k: ", ".join(str(x) for x in v.values())
            for k, v in traits.items()
            if isinstance(v, dict) and _points(k)
        }
        locale = traits.get("locale")
        person = {
            "user": user,
            "identifiers": _short(nested),
            "traits": plain,
            "locale": locale if isinstance(locale, str) else None,
        }
        return msgspec.convert(person, cls)

    def parted(self) -> tuple[dict[str, str], dict[str, Scalar]]:
        """Return what must be sealed, and the traits that may stand open."""
        hidden = {k: str(v) for k, v in self.traits.items() if _points(k)}
        open_ = {k: v for k, v in self.traits.items() if not _points(k)}
        return {**_short(hidden), **self.identifiers}, open_


class Claim(Struct, frozen=True, kw_only=True):
    """The anonymous visitor `anonid` is the shop's user `user`."""

    anonid: Id
    user: Id


def _points(trait: str) -> bool:
    spelled = "".join(f"_{c.lower()}" if c.isupper() else c for c in trait).strip("_")
    return spelled.replace("-", "_").replace(" ", "_") in IDENTIFIERS or "email" in spelled


def _short(texts: dict[str, str]) -> dict[str, str]:
    for field, text in texts.items():
        if len(text) > 4096:
            raise Invalid("longer than 4096 characters", field=field)
    return texts
