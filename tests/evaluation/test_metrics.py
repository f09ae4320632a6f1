"""Scores against values worked out by hand, or by plain code after the papers, in this file."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from unglossed.corpora.languages import tokenisation
from unglossed.errors import InputError
from unglossed.evaluation.metrics import rouge_l, score, score_by_language, sentence_bleu

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
    assert chinese.bleu2 > 80 > 60 > as_german.bleu2
    assert "tok:zh" in chinese.signature
    assert "tok:13a" in as_german.signature


def test_english_punctuation_is_split_off_and_case_kept() -> None:
    # 13a makes "tomorrow , rain" of both; only the case of one word in five differs.
    found = score(["Tomorrow, rain and wind"], ["tomorrow , rain and wind"], "en")
    assert found.bleu1 == pytest.approx(100 * 4 / 5)


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
        *("bleu1", "bleu2", "bleu3", "bleu4", "chrf", "rouge_l", "num_samples", "signature"),
        *("tokenizer", "normalisation"),
    ]
    assert content["bleu1"] == 83.3333
    assert str(content["signature"]).startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp")


def test_languages_without_spaces_are_scored_by_characters() -> None:
    # 6 of 7 characters, 5 of 6 pairs; one word against another would give nothing at all.
    japanese = score(["明日は雨でしょ"], ["明日は雨でしょう"], "ja")
    assert japanese.bleu1 == pytest.approx(100 * math.exp(1 - 8 / 7))
    assert "tok:char" in japanese.signature
    assert japanese.tokenizer == "char"
    assert rouge_l("ฝนตก", "ฝน ตก", "th") == pytest.approx(100)


def test_other_languages_with_spaces_are_scored_by_words() -> None:
    korean = score(["내일 비가 옵니다"], ["내일 눈이 옵니다"], "ko")
    assert korean.bleu1 == pytest.approx(100 * 2 / 3)
    assert "tok:13a" in korean.signature


def test_blank_references_are_refused_and_blank_hypotheses_are_wrong() -> None:
    with pytest.raises(InputError, match=r"no text in 2 of 3 \(first: sentence 2\)"):
        score(["a", "b", "c"], ["a", " ", "\t"], "de")
    # What is left of a reference that is nothing but the appended stop is no sentence either.
    with pytest.raises(InputError, match="sentence 1"):
        score(["a ."], [" ."], "de", "nfc_no_final_stop.v1")
    assert score(["wind", ""], ["wind", "wind"], "de").rouge_l == pytest.approx(50)


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


Token = TypeVar("Token")

# Three languages: hypothesis, reference, and both as somebody split them by hand. Sentences are
# invented; there are double spaces, " ." at the end, digits, quotes, umlauts, full-width marks.
SPLIT_BY_HAND = {
    "de": [
        (
            "am  freitag fällt im süden bis 25,5 grad warmer regen .",
            "am freitag  fällt im süden bei 25,5 grad etwas regen .",
            "am freitag fällt im süden bis 25,5 grad warmer regen .",
            "am freitag fällt im süden bei 25,5 grad etwas regen .",
        ),
        (
            "nachts -3 grad, sonst klar.",
            "nachts -3 grad, sonst bleibt es klar .",
            "nachts -3 grad , sonst klar .",
            "nachts -3 grad , sonst bleibt es klar .",
        ),
        (
            "und nun weiter zum wetter",
            "nun geht es weiter zum wetter",
            "und nun weiter zum wetter",
            "nun geht es weiter zum wetter",
        ),
    ],
    "en": [
        (
            'She said: "Don\'t pay $5.50 for it," and left.',
            'He said: "Don\'t pay $5.50 for  it" and went .',
            """She said : " Don't pay $ 5.50 for it , " and left .""",
            """He said : " Don't pay $ 5.50 for it " and went .""",
        ),
        (
            "Well-known dishes (about 3,000) need salt & oil; try them",
            "Well-known dishes, about 3,000, need salt & oil - try them!",
            "Well-known dishes ( about 3,000 ) need salt & oil ; try them",
            "Well-known dishes , about 3,000 , need salt & oil - try them !",
        ),
    ],
    "zh": [
        (
            "明天北部气温25度，有小雨。",
            "明天北部  气温是25度，没有雨。 .",
            "明 天 北 部 气 温 25 度 ， 有 小 雨 。",
            "明 天 北 部 气 温 是 25 度 ， 没 有 雨 。 .",
        ),
        (
            "她说：“我们去OK超市买东西！”",
            "他说：“我们去OK超市 买书！”",
            "她 说 ： “ 我 们 去 OK 超 市 买 东 西 ！ ”",
            "他 说 ： “ 我 们 去 OK 超 市 买 书 ！ ”",
        ),
    ],
}


def ngrams(tokens: Sequence[Token], order: int) -> Counter[tuple[Token, ...]]:
    return Counter(tuple(tokens[i : i + order]) for i in range(len(tokens) - order + 1))


def overlap(
    found: Sequence[Sequence[str]], wanted: Sequence[Sequence[str]], order: int
) -> tuple[int, int, int]:
    """N-grams common to both sides, counted a sentence at a time, and those of each side."""
    pairs = [
        (ngrams(one, order), ngrams(other, order)) for one, other in zip(found, wanted, strict=True)
    ]
    return (
        sum((one & other).total() for one, other in pairs),
        sum(one.total() for one, _ in pairs),
        sum(other.total() for _, other in pairs),
    )


def plain_bleu(
    found: Sequence[Sequence[str]], wanted: Sequence[Sequence[str]], order: int
) -> float:
    """BLEU of Papineni et al. 2002, sections 2.2 and 2.3, without smoothing."""
    counts = [overlap(found, wanted, n) for n in range(1, order + 1)]
    assert all(common for common, _, _ in counts), "smoothing would come in"
    log_mean = sum(math.log(common / total) for common, total, _ in counts) / order
    length, wanted_length = counts[0][1:]
    brevity = 1.0 if length > wanted_length else math.exp(1 - wanted_length / length)
    return 100 * brevity * math.exp(log_mean)


def plain_chrf(found: Sequence[str], wanted: Sequence[str]) -> float:
    """CHRF2 of Popović 2015: 1 to 6 characters, no spaces, F of the mean precision and recall."""
    sides = ["".join(text.split()) for text in found], ["".join(text.split()) for text in wanted]
    counts = [overlap(*sides, n) for n in range(1, 7)]
    precision = sum(common / total for common, total, _ in counts) / 6
    recall = sum(common / total for common, _, total in counts) / 6
    return 100 * 5 * precision * recall / (4 * precision + recall)


def plain_rouge_l(found: Sequence[str], wanted: Sequence[str]) -> float:
    """ROUGE-L of Lin 2004, section 3.1, beta 1.2, by the recursion that defines a subsequence."""

    def longest(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return 0
        if (i, j) not in known:
            same = found[i - 1] == wanted[j - 1]
            known[i, j] = (
                longest(i - 1, j - 1) + 1 if same else max(longest(i - 1, j), longest(i, j - 1))
            )
        return known[i, j]

    known: dict[tuple[int, int], int] = {}
    common = longest(len(found), len(wanted))
    recall, precision = common / len(wanted), common / len(found)
    return 100 * 2.44 * recall * precision / (recall + 1.44 * precision)


@pytest.mark.parametrize("language", SPLIT_BY_HAND)
def test_tokenisation_is_what_one_would_do_by_hand(language: str) -> None:
    tokenize = BLEU(tokenize=tokenisation(language)).tokenizer
    for hypothesis, reference, found, wanted in SPLIT_BY_HAND[language]:
        assert tokenize(hypothesis).split() == found.split()
        assert tokenize(reference).split() == wanted.split()


@pytest.mark.parametrize("language", SPLIT_BY_HAND)
def test_bleu_and_chrf_agree_with_plain_code_after_the_papers(language: str) -> None:
    hypotheses, references, found, wanted = zip(*SPLIT_BY_HAND[language], strict=True)
    sides = [text.split() for text in found], [text.split() for text in wanted]
    expected = [plain_bleu(*sides, order) for order in (1, 2, 3, 4)]
    assert bleu_values(list(hypotheses), list(references), language) == pytest.approx(expected)
    chrf = score(hypotheses, references, language).chrf
    assert chrf == pytest.approx(plain_chrf(hypotheses, references))


@pytest.mark.parametrize("language", SPLIT_BY_HAND)
def test_rouge_l_agrees_with_plain_code_after_the_paper(language: str) -> None:
    expected = []
    for hypothesis, reference, *_ in SPLIT_BY_HAND[language]:
        # Single spaces part tokens, so that a double one leaves an empty token; no punctuation is
        # split off. Chinese: every character that is no space.
        if language == "zh":
            sides = [c for c in hypothesis if c != " "], [c for c in reference if c != " "]
        else:
            sides = hypothesis.split(" "), reference.split(" ")
        expected.append(plain_rouge_l(*sides))
    hypotheses, references, *_ = zip(*SPLIT_BY_HAND[language], strict=True)
    found = score(hypotheses, references, language).rouge_l
    assert found == pytest.approx(sum(expected) / len(expected))


def test_the_plain_code_itself_gives_fractions_done_by_hand() -> None:
    found, wanted = GERMAN.split(), GERMAN_OTHER.split()
    for order, value in enumerate(BLEU_BY_HAND, start=1):
        assert plain_bleu([found], [wanted], order) == pytest.approx(100 * value)
    short = plain_bleu([["am", "montag"]], [["am", "montag", "regen"]], 2)
    assert short == pytest.approx(100 * math.exp(-1 / 2))
    assert plain_rouge_l(found, wanted) == pytest.approx(100 * 5 / 6)
    # abcdef against abcdeg: 5/6, 4/5, 3/4, 2/3, 1/2 and 0/1 of the n-grams, on both sides.
    assert plain_chrf(["abc def"], ["abcdeg"]) == pytest.approx(
        100 * (5 / 6 + 4 / 5 + 3 / 4 + 2 / 3 + 1 / 2) / 6
    )


def test_bleu_of_texts_too_short_for_it_is_not_defined_instead_of_0() -> None:
    scores = score(["guten tag", "regen"], ["guten tag", "viel regen"], "de")
    assert (scores.bleu3, scores.bleu4) == (None, None)
    assert scores.bleu2 == pytest.approx(100 * math.exp(1 - 4 / 3))
    assert "/ n/a / n/a (n/a: no reference has 3 words)" in str(scores)
    assert json.loads(json.dumps(scores.to_dict()))["bleu4"] is None
    # Texts that could have it and do not are wrong, which is 0.
    assert score(["regen"], ["es regnet im norden"], "de").bleu4 == 0


REFERENCES = [
    ["es regnet im norden stark", "im norden fällt viel regen", "starker regen im norden"],
    ["morgen scheint die sonne im süden"],
    ["am abend wird es kalt", "der abend wird kalt"],
]
HYPOTHESES = ["im norden regnet es stark", "morgen scheint im süden die sonne", "abend wird kalt"]


def test_several_references_count_as_sacrebleu_counts_them() -> None:
    scores = score(HYPOTHESES, REFERENCES, "de")
    streams = [[*(texts[n] if n < len(texts) else None for texts in REFERENCES)] for n in range(3)]
    assert scores.bleu4 == pytest.approx(BLEU().corpus_score(HYPOTHESES, streams).score)
    assert scores.chrf == pytest.approx(CHRF().corpus_score(HYPOTHESES, streams).score)
    best = [
        max(rouge_l(h, r, "de") for r in own) for h, own in zip(HYPOTHESES, REFERENCES, strict=True)
    ]
    assert scores.rouge_l == pytest.approx(sum(best) / 3)
    assert scores.signature.startswith("nrefs:var|")
    assert score(HYPOTHESES[:1], [REFERENCES[0][:2]], "de").signature.startswith("nrefs:2|")
    first = [own[0] for own in REFERENCES]
    assert score(HYPOTHESES, [[text] for text in first], "de") == score(HYPOTHESES, first, "de")


@pytest.mark.parametrize(
    ("hypotheses", "references", "told"),
    [
        ("今天下雨了", "今天下雨了", "hypotheses: found a single text, expected a list of texts"),
        (["eins"], "eins", "references: found a single text, expected a list"),
        (["eins"], None, "references: found NoneType"),
        ([None], ["eins"], "hypotheses, sentence 1: found NoneType, expected a text"),
        (["eins"], [["eins", 2]], "references, sentence 1, sentence 2: found int"),
        (["eins"], [[]], "references, sentence 1: found none, expected at least one"),
        (["eins"], [3], "references, sentence 1: found int, expected a list of texts"),
        (["eins"], [["eins", " "]], "references: found no text in 1 of 1"),
    ],
)
def test_what_is_no_list_of_texts_is_refused(hypotheses, references, told: str) -> None:
    with pytest.raises(InputError) as caught:
        score(hypotheses, references, "de")
    assert told in str(caught.value)


def test_each_language_is_scored_by_its_own_words() -> None:
    texts = ["明天北部下雨", "es regnet im norden", "明天有风"]
    scores = score_by_language(texts, ["明天南部下雨", texts[1], texts[2]], ["zh", "de", "zh"])
    assert list(scores.languages) == ["zh", "de"]
    assert scores.languages["zh"] == score([texts[0], texts[2]], ["明天南部下雨", texts[2]], "zh")
    assert scores.languages["de"].bleu4 == pytest.approx(100)
    assert scores.bleu1 == pytest.approx((100 + scores.languages["zh"].bleu1) / 2)
    assert scores.tokenizer == "zh: zh; de: 13a"
    assert str(scores).splitlines()[-1].startswith("mean of 2 languages: BLEU-1..4 ")
    assert scores.to_dict()["languages"]["de"]["num_samples"] == 1
