"""Tokens that stand for a language, as the tokenizers of published models write them."""

import pytest
from transformers.models.mbart.tokenization_mbart import FAIRSEQ_LANGUAGE_CODES as MBART
from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES as NLLB

from unglossed.corpora.languages import base_language, language_of


@pytest.mark.parametrize(
    ("token", "language"),
    [
        *(("de_DE", "de"), ("en_XX", "en"), ("deu_Latn", "de"), ("spa_Latn", "es")),
        *(("zho_Hans", "zh"), ("yue_Hant", "zh"), ("nno_Latn", "no"), ("__de__", "de")),
        *(("<de>", "de"), ("<2de>", "de"), ("<|de|>", "de"), ("ceb_Latn", None)),
        *(("<s>", None), ("<pad>", None), ("<bos>", None), ("<xx>", None), ("de", None)),
    ],
)
def test_the_language_of_a_token(token: str, language: str | None) -> None:
    assert language_of(token) == language


def test_a_language_without_its_region() -> None:
    assert [base_language(code) for code in ("zh-CN", "cmn", "nb", "de")] == [
        *("zh", "zh", "no", "de")
    ]


def test_the_codes_of_published_tokenizers_are_told_apart() -> None:
    assert all(language_of(code) == code[:2] for code in MBART)
    known = {language_of(code) for code in NLLB} - {None}
    assert len(known) > 120
    assert {"de", "es", "pt", "pl", "tr", "sv", "ja", "cs"} <= known
