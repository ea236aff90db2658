"""Pseudonyms."""

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.errors import Invalid
from shared.runtime.privacy import HmacPseudonyms

KEY = b"0123456789abcdef0123456789abcdef"


def test_a_pseudonym_is_the_published_construction() -> None:
    """A rewrite would make strangers of all shoppers."""
    digest = hmac.new(KEY, b"ann", hashlib.sha256).digest()
    expected = base64.urlsafe_b64encode(digest[:16]).rstrip(b"=").decode()
    assert HmacPseudonyms(KEY).of("ann") == expected == "B9tbS7pf71PHY_GpyxroLA"


@given(st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=60))
def test_people_stay_themselves_and_apart(ann: str, bob: str) -> None:
    """Two shoppers would become one, or one shopper two."""
    first, second = HmacPseudonyms(KEY), HmacPseudonyms(KEY)
    if ann.isspace() or bob.isspace():
        return
    assert first.of(ann) == first.of(ann) == second.of(ann)
    assert (first.of(ann) == first.of(bob)) == (ann == bob)
    assert len(first.of(ann)) == 22
    assert first.of(first.of(ann)) != first.of(ann)


def test_another_installation_knows_other_pseudonyms() -> None:
    """Two shops could join their shoppers."""
    assert HmacPseudonyms(KEY).of("ann") != HmacPseudonyms(KEY[::-1]).of("ann")


@pytest.mark.parametrize("user", ["", " ", "\t\n", "x" * 257, "é" * 129])
def test_ids_that_name_nobody_are_refused(user: str) -> None:
    """All shoppers without an id would be one person."""
    with pytest.raises(Invalid) as refused:
        HmacPseudonyms(KEY).of(user)
    assert refused.value.field == "user"


def test_a_guessable_key_is_refused() -> None:
    """Pseudonyms could be undone by trying keys."""
    with pytest.raises(ValueError, match="16 bytes"):
        HmacPseudonyms(b"short")
