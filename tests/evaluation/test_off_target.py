"""Texts in another language than the one that was asked for."""

from __future__ import annotations

import pytest

from unglossed.evaluation import off_target as module
from unglossed.evaluation.metrics import each_language, score_by_language
from unglossed.evaluation.off_target import PACKAGE, off_target, why_unknown
from unglossed_synth.saying import LANGUAGES, draw_texts


def test_sentences_of_the_generated_world_are_told_apart() -> None:
    pytest.importorskip(PACKAGE)
    for code in LANGUAGES:
        texts = [
            text for level in (1, 3) for text in draw_texts(code, level, 200, seed=5, exclude=set())
        ]
        others = [one for one in LANGUAGES if one != code]
        assert off_target(texts, [code] * len(texts), LANGUAGES) == [False] * len(texts)
        for other in others:
            assert off_target(texts, [other] * len(texts), LANGUAGES) == [True] * len(texts)


def test_a_text_without_a_letter_is_in_no_other_language() -> None:
    pytest.importorskip(PACKAGE)
    assert off_target(["", " ", "12", "?!"], ["de"] * 4, LANGUAGES) == [False] * 4


def test_scores_count_them_by_language() -> None:
    pytest.importorskip(PACKAGE)
    written = ["morgen regnet es im norden", "it rains in the north", "明天北部下雨", "es regnet"]
    wanted = ["morgen regnet es im norden", "morgen schneit es", "明天北部下雨", "it rains today"]
    asked = ["de", "de", "zh", "en"]
    scores = score_by_language(written, wanted, asked, known=LANGUAGES)

    found = {code: own.off_target for code, own in scores.languages.items()}
    assert found == {"de": 50.0, "zh": 0.0, "en": 100.0}
    assert scores.off_target == 50.0
    assert "off-target 50.00 %" in str(scores)
    assert score_by_language(written, wanted, asked).off_target is None  # of one that writes one


def test_what_cannot_be_told_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(PACKAGE)
    assert why_unknown(LANGUAGES) is None
    assert why_unknown(["zh", "yue"]) == "zh, yue cannot be told apart"
    assert why_unknown(["de", "ii"]) == "py3langid does not know ii"
    assert off_target(["ja"], ["de"], ["de", "ii"]) is None
    monkeypatch.setattr(module, "PACKAGE", "no_such_package")
    assert why_unknown(LANGUAGES) == (
        "needs the package no_such_package: pip install 'unglossed[languages]'"
    )


def test_rows_come_back_in_their_order() -> None:
    seen = {}

    def work(code: str, rows: list[int]) -> list[str]:
        seen[code] = rows
        return [f"{code}{row}" for row in rows]

    assert each_language(["de", "zh", "de"], work, ["de", "zh"]) == ["de0", "zh1", "de2"]
    assert seen == {"de": [0, 2], "zh": [1]}
