"""What the demo says: both languages say the same."""

import string

import pytest

from shared.tools.demo.shopping import ARMS
from shared.tools.demo.words import LANGS, TEXTS, Words, language


def _places(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("name", TEXTS)
def test_both_languages_have_the_same_places(name: str) -> None:
    """A reader of one language would get a stack trace, or miss a figure."""
    assert _places(TEXTS[name].en) == _places(TEXTS[name].zh)


@pytest.mark.parametrize(
    ("environ", "lang"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_TW"}, "zh"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "en_GB.UTF-8"}, "en"),
        ({"LANG": "de_DE", "LC_MESSAGES": "zh_CN"}, "zh"),
        ({"LC_ALL": "", "LANG": "zh_CN"}, "zh"),
    ],
)
def test_the_terminal_says_which_language(environ: dict[str, str], lang: str) -> None:
    """A Chinese shop's operator would read English, or the other way round."""
    assert language(environ) == lang


@pytest.mark.parametrize("lang", LANGS)
def test_a_new_phase_of_the_trainer_is_told_as_it_is(lang: str) -> None:
    """A phase that the trainer gains later would end the demo."""
    words = Words(lang)  # type: ignore[arg-type]
    assert words.phase("count the stars") == "count the stars"
    assert words.phase("evaluate") in TEXTS["phase.evaluate"]


@pytest.mark.parametrize("arm", ARMS)
def test_every_kind_of_list_has_a_name(arm: str) -> None:
    """The last table of the report would not be printed."""
    assert f"arm.{arm}" in TEXTS
