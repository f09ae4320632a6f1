"""Trained tokenizers lose nothing of a text and are the same every time."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from unglossed.errors import InputError
from unglossed.training.recipe import TokenizerSettings
from unglossed.training.tokenizer import SPECIAL_TOKENS, build_tokenizer, train_tokenizer

GERMAN = [
    "morgen regnet es im süden heftig",
    "am donnerstag  fällt schnee und graupel",
    "heute nacht minus zwölf grad in straßburg",
    "und nun die wettervorhersage für morgen .",
    "im norden   weht ein starker wind",
    'übermorgen?! "sonne" (vielleicht), 3-5 grad; ja:nein/ob\'s',
]
CHINESE = ["明天北方有小雨，气温零下十二度", "今天夜里南部可能下雪", "周末多云转晴"]
ENGLISH = ["tomorrow it's raining in the north", "don't expect sun , at all ."]


def train(texts: list[str], vocab_size: int = 200) -> PreTrainedTokenizerFast:
    return train_tokenizer(texts, "de", vocab_size)


TOKENIZER = train(GERMAN + CHINESE)
ALPHABET = sorted(set("".join(GERMAN + CHINESE)) - {" "})


def encode(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("vocab_size", [1, 120, 2000])
@pytest.mark.parametrize("texts", [GERMAN, CHINESE, ENGLISH], ids=["de", "zh", "en"])
def test_every_training_text_comes_back(texts: list[str], vocab_size: int) -> None:
    tokenizer = train(texts, vocab_size)

    for text in texts:
        ids = encode(tokenizer, text)
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == text
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


words = st.text(alphabet=ALPHABET, min_size=1, max_size=8)


@given(st.lists(st.tuples(words, st.integers(1, 3)), max_size=6), words)
def test_every_text_over_the_training_alphabet_comes_back(
    pieces: list[tuple[str, int]], last: str
) -> None:
    text = "".join(word + " " * num_spaces for word, num_spaces in pieces) + last

    assert TOKENIZER.decode(encode(TOKENIZER, text)) == text


def test_decomposed_umlauts_come_back_composed() -> None:
    assert TOKENIZER.decode(encode(TOKENIZER, "su\u0308den")) == "süden"


def test_an_unknown_character_is_the_unknown_token() -> None:
    assert TOKENIZER.unk_token_id in encode(TOKENIZER, "regen ☔")


def test_frequent_words_become_tokens_of_their_own() -> None:
    tokenizer = train(["morgen regen im norden", "heute regen im süden", "regen im westen"])

    assert len(encode(tokenizer, "regen im")) == 2
    assert len(tokenizer) <= 200


def test_special_tokens_are_there_once_and_never_come_from_text() -> None:
    vocabulary = TOKENIZER.get_vocab()

    assert [vocabulary[token] for token in [*SPECIAL_TOKENS, "<de>"]] == list(range(6))
    assert TOKENIZER.mask_token == "<mask>"
    assert not set(encode(TOKENIZER, GERMAN[0])) & set(TOKENIZER.all_special_ids)
    row = [*encode(TOKENIZER, GERMAN[0]), TOKENIZER.eos_token_id, TOKENIZER.pad_token_id]
    assert TOKENIZER.decode([5, *row], skip_special_tokens=True) == GERMAN[0]


def test_two_trainings_give_the_same_tokenizer() -> None:
    first, second = train(GERMAN), train(GERMAN)

    assert first.backend_tokenizer.to_str() == second.backend_tokenizer.to_str()
    assert first.backend_tokenizer.to_str() != train(ENGLISH).backend_tokenizer.to_str()


def test_a_saved_tokenizer_reads_texts_alike(tmp_path: Path) -> None:
    TOKENIZER.save_pretrained(tmp_path)

    loaded, start = build_tokenizer(
        TokenizerSettings(pretrained=str(tmp_path), start_token="<de>"), [], "de"
    )

    assert start == "<de>"
    for text in GERMAN + CHINESE:
        assert encode(loaded, text) == encode(TOKENIZER, text)
        assert loaded.decode(encode(loaded, text)) == text
    assert "clean_up_tokenization_spaces" in json.loads(
        (tmp_path / "tokenizer_config.json").read_text(encoding="utf-8")
    )
    assert len(AutoTokenizer.from_pretrained(tmp_path)) == len(TOKENIZER)


def test_without_a_source_it_is_trained_and_starts_with_its_language() -> None:
    tokenizer, start = build_tokenizer(TokenizerSettings(vocab_size=90), CHINESE, "zh")

    assert start == "<zh>"
    assert tokenizer.convert_tokens_to_ids("<zh>") != tokenizer.unk_token_id
    assert tokenizer.decode(encode(tokenizer, CHINESE[0])) == CHINESE[0]


def test_a_start_token_it_lacks_and_a_missing_folder_are_named(tmp_path: Path) -> None:
    TOKENIZER.save_pretrained(tmp_path)

    with pytest.raises(InputError, match=r"^tokenizer\.start_token: .*'de_DE'$"):
        build_tokenizer(TokenizerSettings(pretrained=str(tmp_path), start_token="de_DE"), [], "de")
    with pytest.raises(InputError, match=r"^tokenizer\.pretrained: .*none") as caught:
        build_tokenizer(TokenizerSettings(pretrained=str(tmp_path / "none")), [], "de")
    assert "\n" not in str(caught.value)
