"""The page about a facade."""

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser

from shared.runtime.http.docs import POLICY, STYLE, page

SCHEMA = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "description": "What it is <called>.\nMore."},
        "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Part"}},
        "colour": {"anyOf": [{"enum": ["red", "茶色"]}, {"type": "null"}]},
    },
}
PART = {"properties": {"n": {"type": "integer", "minimum": 1, "maximum": 10**12, "default": 5}}}
PART |= {"properties": {**PART["properties"], "part": {"$ref": "#/components/schemas/Part"}}}
DOCUMENT = {
    "info": {"title": "shoploop <b>", "description": "A & B."},
    "paths": {
        "/v1/things/{id}": {
            "put": {
                "summary": "Change <it>",
                "security": [{"key": ["admin"]}, {"header": ["admin"]}],
                "operationId": "put",
                "parameters": [
                    {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
                ],
                "requestBody": {"content": {"application/json": {"schema": SCHEMA}}},
                "responses": {"200": {"description": "Done"}, "default": {}},
            },
            "get": {"responses": {}},
        }
    },
    "components": {"schemas": {"Part": PART}},
}


class Cells(HTMLParser):
    """Collects the cells of tables, and checks that what is opened is closed."""

    def __init__(self):
        super().__init__()
        self.rows, self.open = [], []

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "html"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if "td" in self.open:
            self.rows[-1][-1] += text


def test_fields_are_shown_with_their_types_however_deep() -> None:
    """A programmer at the shop would have to guess what to send."""
    cells = Cells()
    cells.feed(page(DOCUMENT).decode())
    assert cells.open == []
    assert [row for row in cells.rows if row] == [
        ["id", "path", "string", "", ""],
        ["name", "string", "What it is <called>.", ""],
        ["parts", "list of any", "", "optional"],
        ["parts[].n", "integer 1 to 1000000000000, default 5", "", "optional"],
        ["parts[].part", "any", "", "optional"],
        ["parts[].part.n", "integer 1 to 1000000000000, default 5", "", "optional"],
        ["parts[].part.part", "any", "", "optional"],
        ["colour", "red | 茶色 or null", "", "optional"],
    ]


def test_nothing_is_loaded_and_nothing_is_taken_for_markup() -> None:
    """A shop's network has no internet, and a description must not become part of the page."""
    text = page(DOCUMENT).decode()
    assert not re.search(r"src=|url\(|@import|<script|<link|https:", text)
    assert "shoploop &lt;b&gt;" in text
    assert "Change &lt;it&gt;" in text
    assert "(key: admin)" in text
    assert "(no key)" in text


def test_the_policy_lets_the_style_of_the_page_in_and_no_other() -> None:
    """The page would be without form, or every answer would allow what a stranger puts in."""
    digest = b64encode(sha256(STYLE.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'".encode() in POLICY
    assert f"<style>{STYLE}</style>" in page(DOCUMENT).decode()
    assert POLICY.startswith(b"default-src 'none'; ")
