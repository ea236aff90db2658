from services.recommender.core.person import Person, Rows


def test_the_newest_word_counts() -> None:
    """A cart would keep what was taken out, or lose what was put back."""
    marks = [(b"ca", 30.0), (b"ra", 20.0), (b"cb", 10.0), (b"rb", 15.0), (b"cc", 5.0), (b"pc", 6.0)]
    marks += [(b"hx", 9.0), (b"hy", 9.0), (b"uy", 10.0)]
    person = Person.of(Rows(marks=marks))
    assert (person.cart, person.hidden) == ({"a"}, {"x"})


def test_bought_is_what_was_not_given_back() -> None:
    """A returned line would count as a purchase; an item with a bar in its id would be cut."""
    bought = [
        (b"+o1|tea", 1.0),
        (b"+o2|tea", 2.0),
        (b"-o1|tea", 3.0),
        (b"+o3|a|b", 4.0),
        (b"+o4|milk", 5.0),
        (b"-o4|", 6.0),
    ]
    assert Person.of(Rows(bought=bought)).bought == {"tea": [2.0], "a|b": [4.0]}


def test_histories_merge_to_the_newest_time() -> None:
    """What a visitor did before logging in would be lost or counted twice."""
    user = Rows(history=[(b"va", 5.0), (b"vb", 1.0)])
    visitor = Rows(history=[(b"vb", 9.0), (b"vc", 3.0)])
    assert list(Person.of(user, visitor).events) == [(b"vb", 9.0), (b"va", 5.0), (b"vc", 3.0)]


def test_who_opted_out_keeps_only_their_own_wishes() -> None:
    """A history would be used although it must not; or a hidden item would come back."""
    rows = Rows([(b"va", 1.0)], [(b"hx", 1.0)], [(b"+o|tea", 1.0)], opted_out=True)
    person = Person.of(rows, Rows(history=[(b"vb", 1.0)]))
    assert (person.events, person.bought, person.personalised) == ((), {}, False)
    assert person.hidden == {"x"}
