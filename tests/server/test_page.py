"""The files of the page: nothing comes from elsewhere, every text is there in both languages."""

from __future__ import annotations

import re

import pytest

from unglossed.server.app import PAGE

FILES = sorted(path for path in PAGE.iterdir() if path.suffix in (".html", ".js", ".css", ".svg"))
WORDS = (PAGE / "words.js").read_text(encoding="utf-8")
ENGLISH, GERMAN = (
    dict(re.findall(r'^    (\w+): "(.*)",$', part, re.MULTILINE))
    for part in WORDS.partition("  de: {")[::2]
)


def test_both_languages_have_every_text() -> None:
    assert len(ENGLISH) > 50
    assert ENGLISH.keys() == GERMAN.keys()
    for key, text in ENGLISH.items():
        places = [set(re.findall(r"\{(\w+)\}", one)) for one in (text, GERMAN[key])]
        assert places[0] == places[1], key
        assert text


def test_no_text_is_left_over() -> None:
    others = "".join(path.read_text(encoding="utf-8") for path in FILES if path.name != "words.js")
    used = set(re.findall(r'"(\w+)"', others))
    own = {key for key in ENGLISH if not key.endswith("_audio") and not key.startswith("problem_")}

    assert own - {"failed"} <= used  # that one is for refusals without words of their own
    assert {key.removesuffix("_audio") for key in ENGLISH if key.endswith("_audio")} <= own


def test_refusals_with_words_of_their_own_are_those_of_the_server() -> None:
    server = "".join(path.read_text(encoding="utf-8") for path in PAGE.parent.glob("*.py"))
    codes = [key.removeprefix("problem_") for key in ENGLISH if key.startswith("problem_")]
    own = [code for code in codes if not code.startswith("http_")]  # those are of its libraries

    assert len(own) > 5
    assert [code for code in own if f'"{code}"' not in server] == []
    for code in ("too_much_memory", "not_translatable", "upload_too_slow", "no_job", "http_503"):
        assert code in codes


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_comes_from_elsewhere_and_nothing_stands_inline(path) -> None:
    text = path.read_text(encoding="utf-8")

    assert not re.findall(r"(?:https?:)?//\w+\.\w+", text.replace("http://www.w3.org", ""))
    assert "innerHTML" not in text
    assert "eval(" not in text
    if path.suffix == ".html":
        assert not re.findall(r"<style|<script(?![^>]*src=)| style=| on\w+=", text)
