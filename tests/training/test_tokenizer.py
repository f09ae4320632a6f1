"""Trained tokenizers lose nothing of a text and are the same every time."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from unglossed.corpora.sample import Sample
from unglossed.errors import InputError
from unglossed.training.recipe import TokenizerSettings
from unglossed.training.tokenizer import (
    SPECIAL_TOKENS,
    build_tokenizer,
    check_texts,
    train_tokenizer,
)

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


def test_a_chinese_character_is_a_token_and_words_of_other_languages_are() -> None:
    texts = [*CHINESE, "今天 Regen 北方"]
    tokenizer = train_tokenizer(texts * 9, "de", 400, ["zh"])

    pieces = [tokenizer.decode([token]) for token in encode(tokenizer, CHINESE[1])]
    assert pieces == ["", *CHINESE[1]]  # the first stands for the begin of a word
    assert "▁Regen" in tokenizer.get_vocab()
    assert all(tokenizer.decode(encode(tokenizer, text)) == text for text in texts)
    alone = train_tokenizer(CHINESE * 9, "de", 400)  # what no spaces cut is learnt whole
    assert len(encode(alone, CHINESE[2])) < len(CHINESE[2])


def test_a_start_token_it_lacks_and_a_missing_folder_are_named(tmp_path: Path) -> None:
    TOKENIZER.save_pretrained(tmp_path)

    with pytest.raises(InputError, match=r"^tokenizer\.start_token: .*'de_DE'$"):
        build_tokenizer(TokenizerSettings(pretrained=str(tmp_path), start_token="de_DE"), [], "de")
    with pytest.raises(InputError, match=r"^tokenizer\.pretrained: .*none") as caught:
        build_tokenizer(TokenizerSettings(pretrained=str(tmp_path / "none")), [], "de")
    assert "\n" not in str(caught.value)


def write_tokenizer(folder: Path, *codes: str) -> TokenizerSettings:
    tokenizer = train(GERMAN)
    tokenizer.add_tokens(list(codes), special_tokens=True)
    tokenizer.save_pretrained(folder)
    return TokenizerSettings(pretrained=str(folder), start_token=codes[0])


@pytest.mark.parametrize(
    ("codes", "language", "expected"),
    [
        (("en_XX", "de_DE"), "de", "<de> or de_DE"),
        (("eng_Latn", "spa_Latn"), "es-MX", "spa_Latn"),
        (("deu_Latn", "zho_Hans", "zho_Hant"), "zh", "zho_Hans or zho_Hant"),
    ],
)
def test_the_code_of_another_language_is_refused_where_there_is_a_better_one(
    codes: tuple[str, ...], language: str, expected: str, tmp_path: Path
) -> None:
    settings = write_tokenizer(tmp_path, *codes)

    with pytest.raises(InputError) as caught:
        build_tokenizer(settings, [], language)

    assert str(caught.value) == (
        f"tokenizer.start_token: found {codes[0]!r}, but the corpus is in {language!r}:"
        f" expected {expected}"
    )


def test_the_code_of_another_language_is_noted_where_there_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = write_tokenizer(tmp_path, "de_DE")

    assert build_tokenizer(settings, [], "hu")[1] == "de_DE"
    noted = capsys.readouterr().err
    assert noted.startswith("note: tokenizer.start_token: found 'de_DE', but the corpus is in 'hu'")
    assert noted.count("\n") == 1
    build_tokenizer(settings, [], "de")
    assert capsys.readouterr().err == ""


def samples(*texts: str) -> list[Sample]:
    return [Sample(f"clip{i}", Path("a.mp4"), text, "train", "de") for i, text in enumerate(texts)]


def test_texts_of_a_script_that_the_tokenizer_lacks_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        check_texts(train(GERMAN), samples(GERMAN[0], *CHINESE))

    message = str(caught.value)
    assert "tokens to be <unk> (train clip 'clip1': '明天北方有小雨" in message
    assert "expected 10% at most: it lacks the letters of CJK" in message
    assert "\n" not in message


def test_single_unknown_tokens_are_noted(capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = train(GERMAN)
    check_texts(tokenizer, samples(*GERMAN))
    assert capsys.readouterr().err == ""

    text = "sonne ☔"
    check_texts(tokenizer, samples(*GERMAN, text))

    noted = capsys.readouterr().err
    num_tokens = sum(len(encode(tokenizer, text)) for text in [*GERMAN, text])
    assert noted == (
        "note: the tokenizer does not know everything in 1 of 7 train texts: 1 of"
        f" {num_tokens} tokens are <unk> (train clip 'clip6': {text!r}); it lacks '☔' (once)\n"
    )


def test_one_token_may_begin_end_and_stand_for_the_unknown_as_gpt_2_has_it(tmp_path: Path) -> None:
    one = "<|endoftext|>"
    core = Tokenizer(BPE({one: 0, "a": 1, "b": 2, "ab": 3}, [("a", "b")], unk_token=one))
    PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=one, eos_token=one, unk_token=one
    ).save_pretrained(tmp_path)

    tokenizer, start = build_tokenizer(TokenizerSettings(pretrained=str(tmp_path)), ["ab"], "en")

    assert start == tokenizer.pad_token == one
    with pytest.raises(InputError, match=r"^tokenizer\.start_token: .*'<de>'$"):
        build_tokenizer(TokenizerSettings(pretrained=str(tmp_path), start_token="<de>"), [], "de")
