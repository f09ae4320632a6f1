import numpy as np
import pytest
import sacrebleu

from unglossed.errors import InputError
from unglossed_synth.grammar import LEVELS, draw_meaning
from unglossed_synth.parsing import slot_f1_meanings
from unglossed_synth.saying import LANGUAGES, say
from unglossed_synth.yardsticks import ceiling, consensus


def corpus(language, level, num_sentences, seed=21):
    rng = np.random.default_rng(seed)
    meanings = [draw_meaning(rng, level) for _ in range(num_sentences)]
    return meanings, [say(meaning, language, rng) for meaning in meanings]


def bleu(hypotheses, references, language):
    tokenize = "zh" if language == "zh" else "13a"
    return sacrebleu.corpus_bleu(hypotheses, [references], tokenize=tokenize).score


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("level", LEVELS)
def test_a_perfect_translator_is_well_below_100(language, level):
    meanings, references = corpus(language, level, 400)
    hypotheses = ceiling(meanings, references, language, seed=0)
    assert 35 < bleu(hypotheses, references, language) < 60
    assert slot_f1_meanings(hypotheses, meanings, language) == 1.0


def test_the_seed_decides():
    meanings, references = corpus("de", 1, 50)
    first = ceiling(meanings, references, "de", seed=0)
    assert ceiling(meanings, references, "de", seed=0) == first
    assert ceiling(meanings, references, "de", seed=1) != first


def test_the_corpus_seed_does_not_give_the_references_again():
    rng = np.random.default_rng(0)
    meanings = [draw_meaning(np.random.default_rng(i), 3) for i in range(50)]
    references = [say(meaning, "de", rng) for meaning in meanings]
    hypotheses = ceiling(meanings, references, "de", seed=0)
    assert sum(h == r for h, r in zip(hypotheses, references, strict=True)) < 15


def test_the_consensus_comes_closer_to_the_references():
    meanings, references = corpus("de", 1, 120)
    usual = consensus(meanings, "de", seed=0)
    drawn = ceiling(meanings, references, "de", seed=0)
    assert slot_f1_meanings(usual, meanings, "de") == 1.0
    assert bleu(usual, references, "de") > bleu(drawn, references, "de") + 5


def test_references_of_other_clips_are_refused():
    meanings, references = corpus("de", 1, 20)
    with pytest.raises(InputError, match="references: row 0, found"):
        ceiling(meanings, references[::-1], "de", seed=0)
    with pytest.raises(InputError, match="references: found 19, expected 20"):
        ceiling(meanings, references[1:], "de", seed=0)
