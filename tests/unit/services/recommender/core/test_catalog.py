from services.recommender.core.catalog import Catalog
from tests.unit.services.recommender.core.worlds import NOW_S, catalog_of, product


def test_a_row_stays_an_items_own() -> None:
    """A number handed out before a deletion would name another item afterwards."""
    catalog = catalog_of([product("a"), product("b")])
    catalog.remove("a")
    catalog.put(product("c"), NOW_S)
    assert [catalog.find(item) for item in ("a", "b", "c")] == [0, 1, 2]
    assert catalog.open.tolist() == [False, True, True]
    catalog.put(product("a"), NOW_S)
    assert catalog.open[0]


def test_thousands_of_items_keep_their_columns() -> None:
    """The columns would lose rows when they grow."""
    catalog = catalog_of([product(f"i{n}", price_cents=n) for n in range(3000)])
    assert catalog.price.tolist() == list(range(3000))
    assert catalog.open.all()


def test_categories_by_path_and_by_level() -> None:
    """A filter would let a namesake from another branch through, or miss a deeper level."""
    catalog = catalog_of(
        [
            product("milk", ("Grocery", "Dairy", "Milk")),
            product("bowl", ("Home", "Dairy")),
            product("bare"),
        ]
    )
    inside = [
        catalog.within(name)[catalog.path].tolist()
        for name in ("Grocery/Dairy", "Dairy", "Grocery", "Gro", "")
    ]
    assert inside == [
        [True, False, False],
        [True, True, False],
        [True, False, False],
        [False, False, False],
        [False, False, False],
    ]


def test_titles_by_language() -> None:
    """A Chinese explanation would name the item in English."""
    catalog = Catalog()
    catalog.put(product("bread", titles={"zh-CN": "面包"}), NOW_S)
    assert [catalog.title("bread", lang) for lang in ("zh", "en", "de")] == [
        "面包",
        "Bread",
        "Bread",
    ]
    assert catalog.title("unknown", "en") == "unknown"
