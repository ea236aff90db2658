import pytest

from services.recommender.core.explain import Part, because, language
from tests.unit.services.recommender.core.worlds import catalog_of, product

CATALOG = catalog_of([product("tea", titles={"zh": "茶"})])


@pytest.mark.parametrize(
    ("parts", "en", "zh"),
    [
        ([Part("slim", 0.5, "tea", "view_item")], "because you viewed Tea", "因为您浏览过“茶”"),
        (
            [
                Part("slim", 0.2, "tea", "purchase"),
                Part("ials", 0.2, "tea", "purchase"),
                Part("popular", 0.3),
            ],
            "because you bought Tea",
            "因为您购买过“茶”",
        ),
        (
            [Part("popular", 0.3), Part("slim", -0.9, "tea", "view_item")],
            "popular with other shoppers",
            "很多顾客喜欢",
        ),
        ([Part("slim", 0.5, "tea", "anchor")], "goes with Tea", "与“茶”相配"),
        ([Part("mystery", 0.5)], "chosen for you", "为您推荐"),
        ([], "chosen for you", "为您推荐"),
    ],
)
def test_the_greatest_reason_is_told(parts: list[Part], en: str, zh: str) -> None:
    """The shopper would be told a reason that spoke against the item."""
    assert because(parts, CATALOG, "en") == en
    assert because(parts, CATALOG, "zh") == zh


@pytest.mark.parametrize(
    ("header", "lang"),
    [("zh-CN,zh;q=0.9", "zh"), ("de, en;q=0.8", "en"), ("fr", "en"), ("", "en"), ("*", "en")],
)
def test_the_language_is_the_first_that_we_speak(header: str, lang: str) -> None:
    """A shopper would read a language they did not ask for."""
    assert language(header) == lang
