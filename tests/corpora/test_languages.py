"""Which tokenisation the texts of a language are scored with."""

import pytest
from sacrebleu.metrics.bleu import BLEU

from unglossed.corpora.languages import BY_CHARACTER, has_spaces, tokenisation
from unglossed.errors import InputError


@pytest.mark.parametrize(
    ("code", "name"),
    [
        *(("de", "13a"), ("ko", "13a"), ("vi", "13a"), ("hi", "13a"), ("ar", "13a")),
        *(("zh", "zh"), ("zh-CN", "zh"), ("zh_Hans", "zh"), ("yue", "zh")),
        *(("ja", "char"), ("th", "char"), ("lo", "char"), ("km", "char"), ("my", "char")),
    ],
)
def test_tokenisation_of_a_language(code: str, name: str) -> None:
    assert tokenisation(code) == name
    assert has_spaces(code) == (name == "13a")


# A sign language has no written form of its own: somebody meant that of the text.
@pytest.mark.parametrize("code", ["ase", "jsl", "chinese", "cn", "jp", ""])
def test_unknown_language_is_refused_rather_than_guessed(code: str) -> None:
    with pytest.raises(InputError, match=f"found '{code}', expected .* written text") as caught:
        tokenisation(code)
    assert all(f" {known}" in str(caught.value) for known in ["de", *BY_CHARACTER, "zh"])
    assert "\n" not in str(caught.value)


def test_every_language_that_needs_it_is_split_into_characters() -> None:
    for code in BY_CHARACTER:
        assert BLEU(tokenize=tokenisation(code)).tokenizer("ab c").split() == ["a", "b", "c"]
