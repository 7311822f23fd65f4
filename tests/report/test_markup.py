"""Text of others stays text, whatever it is."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from s2async.report.markup import Markup, element, join, text
from tests.support.pages import Page

NAMES = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]))


@given(NAMES)
@example("<script>alert(1)</script>")
@example('"><img src=x onerror=alert(1)>')
@example("'&amp;<!-- ]]> -->")
def test_a_name_comes_back_as_it_was_from_content_and_attributes(name: str) -> None:
    page = Page(element("p", name, title=name))
    assert page.tags == ["p"]
    assert "".join(page.texts) == name
    assert page.attributes == [("p", "title", name)]
    assert not page.comments


@given(st.text())
@example("\u202egnp.exe\u2066\x00\n\ud800")
def test_nothing_hidden_is_left_and_all_of_it_is_utf8(name: str) -> None:
    shown = text(name)
    shown.encode("utf-8")
    hidden = {char for char in shown if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert hidden <= {"\u200c", "\u200d"}


def test_what_is_hidden_is_told_by_its_number() -> None:
    assert text("a\u202eb\nc") == "a\\u202eb\\u000ac"


def test_joiners_of_scripts_and_emojis_stay() -> None:
    assert text("👩\u200d🌾") == "👩\u200d🌾"


def test_attributes() -> None:
    made = element("rect", x=1.5, y=2.0, width=1 / 3, class_="a b", aria_hidden="true", title=None)
    assert made == '<rect x="1.5" y="2" width="0.33" class="a b" aria-hidden="true"></rect>'


def test_markup_is_left_as_it_is_and_lists_are_joined() -> None:
    assert element("ul", [element("li", "<"), element("li", 1_000)]) == "<ul><li>&lt;</li><li>1000</li></ul>"
    assert join(["<", Markup("<br>")]) == "&lt;<br>"


@pytest.mark.parametrize("number", [0.0, 100.0, -0.004, 12.345])
def test_numbers_of_pictures_have_two_decimals_at_most(number: float) -> None:
    assert float(element("p", x=number).split('"')[1]) == pytest.approx(number, abs=0.005)
