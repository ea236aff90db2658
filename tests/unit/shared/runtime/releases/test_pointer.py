"""How the pointer moves, and what may name a release."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.errors import Invalid
from shared.runtime.releases import Pointer
from shared.runtime.releases.manifest import checked_name
from shared.runtime.releases.pointer import (
    from_fields,
    gets_canary,
    promoted,
    restored,
    rolled_back,
    to_fields,
    with_canary,
    without_canary,
)

LIVE = Pointer(current="2", previous="1", canary="3", canary_percent=10, epoch=7)
NAMES = st.sampled_from(["1", "2", "3", None])


def test_promoting_ends_the_canary_and_keeps_the_way_back() -> None:
    """An operator could not undo a promotion."""
    assert promoted(LIVE, "3") == Pointer(current="3", previous="2", epoch=8)


def test_promoting_what_is_live_keeps_the_way_back() -> None:
    """Promoting twice would make a release its own predecessor."""
    assert promoted(LIVE, "2").previous == "1"


def test_rolling_back_goes_to_the_previous_and_finds_the_one_before() -> None:
    """After one roll-back there would be no second."""
    assert rolled_back(Pointer(current="3", previous="2", epoch=1), ["3", "2", "1"]) == Pointer(
        current="2", previous="1", epoch=2
    )
    with pytest.raises(Invalid, match="no previous"):
        rolled_back(Pointer(current="1"), ["1"])


def test_a_canary_that_is_taken_back_leaves_nothing() -> None:
    """A finished canary would stay in every service's memory, or take the way back with it."""
    assert without_canary(LIVE) == Pointer(current="2", previous="1", epoch=8)
    with pytest.raises(Invalid, match="no canary"):
        without_canary(Pointer(current="2"))


def test_a_canary_at_nothing_is_loaded_and_served_to_nobody() -> None:
    """A release could not be tried by the replicas before shoppers get it."""
    shadow = with_canary(LIVE, "4", 0)
    assert (shadow.canary, shadow.canary_percent, shadow.epoch) == ("4", 0, 8)
    assert not any(gets_canary("4", f"user-{n}", 0) for n in range(1000))


@pytest.mark.parametrize("percent", [-1, 101])
def test_no_share_beyond_everybody(percent: int) -> None:
    """A wrong number would be served to all or to none, and nobody would notice."""
    with pytest.raises(Invalid, match="100"):
        with_canary(LIVE, "3", percent)


def test_a_canary_needs_another_release_beside_it() -> None:
    """The trial would compare a release with itself, or with nothing."""
    with pytest.raises(Invalid, match="for everybody already"):
        with_canary(LIVE, "2", 10)
    with pytest.raises(Invalid, match="no release in service"):
        with_canary(Pointer(), "1", 10)


def test_who_gets_a_canary_is_drawn_anew_for_each() -> None:
    """The same shoppers would try every canary, and those of a larger share would change sides."""
    users = [f"user-{n}" for n in range(4000)]
    first, second = ({u for u in users if gets_canary(v, u, 20)} for v in ("1", "2"))
    assert len(first) / 4000 == pytest.approx(0.2, abs=0.02)
    assert len(first & second) / 4000 == pytest.approx(0.04, abs=0.012)
    assert first <= {u for u in users if gets_canary("1", u, 40)}


def test_restoring_points_to_what_is_left() -> None:
    """A pointer to a damaged release would be restored."""
    assert restored(LIVE, ["2", "1"]) == Pointer(current="2", previous="1", epoch=8)
    assert restored(LIVE, ["1"]) == Pointer(current="1", epoch=8)


@given(
    st.builds(
        Pointer,
        current=NAMES,
        previous=NAMES,
        canary=NAMES,
        canary_percent=st.integers(0, 100),
        epoch=st.integers(0, 2**40),
    )
)
def test_a_pointer_survives_its_hash(pointer: Pointer) -> None:
    """Redis would hand back another pointer than was stored."""
    assert from_fields(to_fields(pointer)) == pointer


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "A", "a..b", "x" * 101, "a:b"])
def test_a_name_that_could_leave_its_folder_is_refused(name: str) -> None:
    """A signed release of a careless publisher could write outside the release folder."""
    with pytest.raises(Invalid):
        checked_name(name)
