"""Scores against values worked out by hand from the definitions."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unglossed.errors import InputError
from unglossed.evaluation.metrics import bleu_tokenizer, rouge_l, score, sentence_bleu

GERMAN = "morgen scheint die sonne im süden"
GERMAN_OTHER = "morgen scheint die sonne im norden"
# 5 of 6 words, 4 of 5 pairs, 3 of 4 triples, 2 of 3 quadruples agree.
BLEU_BY_HAND = [5 / 6, (2 / 3) ** (1 / 2), (1 / 2) ** (1 / 3), (1 / 3) ** (1 / 4)]


def bleu_values(hypotheses: list[str], references: list[str], language: str) -> list[float]:
    scores = score(hypotheses, references, language)
    return [scores.bleu1, scores.bleu2, scores.bleu3, scores.bleu4]


def test_german_bleu_by_hand() -> None:
    found = bleu_values([GERMAN], [GERMAN_OTHER], "de")
    assert found == pytest.approx([100 * value for value in BLEU_BY_HAND])


def test_corpus_bleu_pools_counts_instead_of_averaging_sentences() -> None:
    hypotheses = [GERMAN, "am montag regnet es"]
    references = [GERMAN_OTHER, "am montag regnet es"]
    expected = (9 / 10 * 7 / 8 * 5 / 6 * 3 / 4) ** (1 / 4)
    assert score(hypotheses, references, "de").bleu4 == pytest.approx(100 * expected)


def test_short_output_pays_the_brevity_penalty() -> None:
    found = bleu_values(["am montag regnet es"], ["am montag regnet es im norden"], "de")
    assert found == pytest.approx([100 * math.exp(1 - 6 / 4)] * 4)


def test_chinese_is_scored_by_characters() -> None:
    # 5 of 6 characters, 3 of 5 pairs, 1 of 4 triples, none of 3 quadruples (smoothed to 1 / 6).
    expected = [5 / 6, (1 / 2) ** (1 / 2), 1 / 2, (1 / 48) ** (1 / 4)]
    found = bleu_values(["明天北部下雨"], ["明天南部下雨"], "zh")
    assert found == pytest.approx([100 * value for value in expected])


def test_chinese_scored_by_words_would_be_far_lower() -> None:
    hypotheses, references = ["明天北部下雨转晴,有风"], ["明天南部下雨转晴,有风"]
    chinese = score(hypotheses, references, "zh")
    as_german = score(hypotheses, references, "de")
    assert chinese.bleu4 > 60 > as_german.bleu4
    assert "tok:zh" in chinese.signature
    assert "tok:13a" in as_german.signature


def test_english_punctuation_is_split_off_and_case_kept() -> None:
    # 13a makes "tomorrow , rain" of both; only the case of one word in five differs.
    found = score(["Tomorrow, rain and wind"], ["tomorrow , rain and wind"], "en")
    assert found.bleu1 == pytest.approx(100 * 4 / 5)


def test_appended_full_stop_changes_the_score_and_is_never_added_here() -> None:
    plain = score([GERMAN], [GERMAN_OTHER], "de").bleu1
    dotted = score([GERMAN + " ."], [GERMAN_OTHER + " ."], "de").bleu1
    assert plain == pytest.approx(100 * 5 / 6)
    assert dotted == pytest.approx(100 * 6 / 7)


def test_double_space_in_a_reference() -> None:
    scores = score(["am montag regnet es"], ["am montag  regnet es"], "de")
    assert scores.bleu4 == pytest.approx(100)
    # Four words against five tokens, one of them empty: P = 1, R = 4 / 5.
    assert scores.rouge_l == pytest.approx(100 * 2.44 * 0.8 / (0.8 + 1.44))


def test_chrf_by_hand() -> None:
    # One of two letters agrees and the only pair does not: precision and recall (1/2 + 0) / 2.
    assert score(["ab"], ["ac"], "de").chrf == pytest.approx(25)


def test_rouge_l_by_hand() -> None:
    assert rouge_l(GERMAN, GERMAN_OTHER, "de") == pytest.approx(100 * 5 / 6)
    # P = 1, R = 2 / 3: recall weighs 1.44 times.
    short = rouge_l("am montag regnet es", "am montag regnet es im norden", "de")
    assert short == pytest.approx(100 * 2.44 * (2 / 3) / (2 / 3 + 1.44))
    # Same words in another order: the longest common subsequence has three of four.
    assert rouge_l("am montag regnet es", "montag regnet es am", "de") == pytest.approx(75)


def test_rouge_l_keeps_umlauts_and_chinese() -> None:
    assert rouge_l("böen", "boen", "de") == 0
    assert rouge_l("schön kühl", "schon kühl", "de") == pytest.approx(50)
    assert rouge_l("明天北部下雨", "明天南部 下雨", "zh") == pytest.approx(100 * 5 / 6)


def test_rouge_l_of_a_corpus_is_the_mean_of_its_sentences() -> None:
    scores = score(["wind", "regen"], ["wind", "sonne"], "de")
    assert scores.rouge_l == pytest.approx(50)
    assert scores.num_samples == 2


def test_empty_hypothesis_counts_as_nothing_right() -> None:
    assert rouge_l("", "es regnet", "de") == 0
    assert score([""], ["es regnet"], "de").bleu1 == 0


def test_sentence_bleu_of_a_short_sentence() -> None:
    assert sentence_bleu("es regnet", "es regnet", "de") == pytest.approx(100)
    assert sentence_bleu(GERMAN, GERMAN_OTHER, "de") == pytest.approx(100 * BLEU_BY_HAND[3])


def test_to_dict_has_the_keys_of_metrics_json() -> None:
    content = score([GERMAN], [GERMAN_OTHER], "de").to_dict()
    assert list(content) == [
        *("bleu1", "bleu2", "bleu3", "bleu4", "chrf", "rouge_l", "num_samples", "signature")
    ]
    assert content["bleu1"] == 83.3333
    assert str(content["signature"]).startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp")


@pytest.mark.parametrize(("code", "tokenizer"), [("de", "13a"), ("zh-CN", "zh"), ("zh_Hans", "zh")])
def test_tokenizer_of_a_language(code: str, tokenizer: str) -> None:
    assert bleu_tokenizer(code) == tokenizer


@pytest.mark.parametrize("code", ["chinese", "cn", "ja", ""])
def test_unknown_language_is_refused_rather_than_guessed(code: str) -> None:
    with pytest.raises(InputError, match=f"found '{code}', expected one of .*zh"):
        score(["a"], ["a"], code)


def test_lengths_that_differ_and_no_samples_are_refused() -> None:
    with pytest.raises(InputError, match="found 1 and 2 sentences"):
        score(["a"], ["a", "b"], "de")
    with pytest.raises(InputError, match="no sentence"):
        score([], [], "de")


words = st.lists(st.sampled_from(["wind", "regen", "im", "norden", "süden"]), min_size=1)


@given(words, words)
def test_rouge_l_is_bounded_and_full_only_for_the_same_tokens(
    first: list[str], second: list[str]
) -> None:
    value = rouge_l(" ".join(first), " ".join(second), "de")
    assert 0 <= value <= 100 + 1e-9
    assert (value > 100 - 1e-9) == (first == second)
    assert (value == 0) == set(first).isdisjoint(second)
