"""Paired tests against sacreBLEU's own command, plain loops, and cases whose answer is known."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unglossed.errors import InputError
from unglossed.evaluation.metrics import rouge_l, score, word_error_rate
from unglossed.evaluation.significance import SEED, _swaps, paired_differences
from unglossed_synth.grammar import draw_meaning
from unglossed_synth.parsing import slot_f1_meanings, slot_f1_measure
from unglossed_synth.saying import say

WORDS = [f"wort{number}" for number in range(30)]


def sentences(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(3, 12))) for _ in range(count)]


def worse(texts: list[str], share: float, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [
        " ".join(rng.choice(WORDS) if rng.random() < share else word for word in text.split())
        for text in texts
    ]


REFERENCES = sentences(120, seed=1)
BASELINE, SYSTEM = worse(REFERENCES, 0.4, seed=2), worse(REFERENCES, 0.33, seed=3)


def test_p_is_that_of_sacrebleus_own_command_where_nothing_ties(tmp_path: Path) -> None:
    texts = {"references": REFERENCES, "baseline": BASELINE, "system": SYSTEM}
    for name, lines in texts.items():
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    options = ["-m", "bleu", "chrf", "--paired-ar", "--paired-ar-n", "1000", "-f", "json"]
    command = [sys.executable, "-m", "sacrebleu", "references", "-i", "baseline", "system"]
    environment = {key: value for key, value in os.environ.items() if key != "SACREBLEU_SEED"}
    done = subprocess.run(
        [*command, *options], cwd=tmp_path, env=environment, capture_output=True, check=True
    )
    first, second = json.loads(done.stdout)

    found = paired_differences(BASELINE, SYSTEM, REFERENCES, "de", trials=1000)

    for ours, theirs in (("BLEU-4", "BLEU"), ("chrF", "chrF2")):
        assert found[ours].p == second[theirs]["p_value"]
        assert found[ours].baseline == pytest.approx(first[theirs]["score"], abs=1e-9)
        assert found[ours].system == pytest.approx(second[theirs]["score"], abs=1e-9)


def test_equal_outputs_are_equal_beyond_doubt() -> None:
    found = paired_differences(BASELINE, BASELINE, REFERENCES, "de", trials=500)

    assert {one.p for one in found.values()} == {1.0}
    assert {(one.difference, one.low, one.high) for one in found.values()} == {(0.0, 0.0, 0.0)}


def test_one_better_sentence_of_200_is_not_significant() -> None:
    references = sentences(200, seed=4)
    baseline = worse(references, 0.4, seed=5)
    system = [*baseline[:-1], references[-1]]
    assert system != baseline

    found = paired_differences(baseline, system, references, "de", trials=500)

    assert all(one.is_better and one.p > 0.3 for one in found.values()), found


def test_a_system_that_is_better_everywhere_is_significantly_so() -> None:
    baseline = worse(REFERENCES, 0.7, seed=6)

    found = paired_differences(baseline, SYSTEM, REFERENCES, "de", trials=500)

    for one in found.values():
        assert one.is_better
        assert one.p == 1 / 501
        assert (one.low > 0) == (one.high > 0) == (one.difference > 0)
        assert one.low <= one.difference <= one.high


def test_rouge_l_and_slot_f1_are_tested_on_the_swaps_of_bleu() -> None:
    rng = np.random.default_rng(7)
    meanings = [draw_meaning(rng, 1) for _ in range(40)]
    references = [say(meaning, "de", rng) for meaning in meanings]
    shifted = [*references[5:], *references[:5]]
    better = [*references[:8], *shifted[8:]]
    few_words = worse(shifted, 0.1, seed=8)
    swaps = np.random.default_rng(SEED).integers(2, size=(99, 40), dtype=bool)

    def rouge(texts: list[str]) -> float:
        pairs = zip(texts, references, strict=True)
        return float(np.mean([rouge_l(text, other, "de") for text, other in pairs]))

    def slots(texts: list[str]) -> float:
        return slot_f1_meanings(texts, meanings, "de")

    measure = slot_f1_measure(meanings, "de")
    for system in (better, few_words):
        found = paired_differences(shifted, system, references, "de", 99, more=[measure])
        for name, scored in (("ROUGE-L", rouge), ("slot F1", slots)):
            real = abs(scored(system) - scored(shifted))
            count = 0
            for row in swaps:
                one = [a if keep else b for keep, a, b in zip(row, shifted, system, strict=True)]
                two = [b if keep else a for keep, a, b in zip(row, shifted, system, strict=True)]
                count += abs(scored(one) - scored(two)) >= real - 1e-9
            assert found[name].p == (count + 1) / 100
            assert found[name].system == pytest.approx(scored(system))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from("abcd"), max_size=6).map(" ".join),
            st.lists(
                st.lists(st.sampled_from("abcd"), min_size=1, max_size=6).map(" ".join),
                min_size=1,
                max_size=3,
            ),
        ),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(["de", "zh", "ja"]),
)
def test_scores_are_those_of_score(rows: list[tuple[str, list[str]]], language: str) -> None:
    texts, references = [text for text, _ in rows], [others for _, others in rows]
    expected = score(texts, references, language)

    found = paired_differences(texts, texts, references, language, trials=1)

    values = {f"BLEU-{order}": value for order, value in enumerate(expected.bleu, start=1)}
    values |= {"chrF": expected.chrf, "ROUGE-L": expected.rouge_l}
    if language == "de" and all(len(others) == 1 for others in references):
        values["WER"] = word_error_rate(texts, [others[0] for others in references])
    assert {name: one.system for name, one in found.items()} == pytest.approx(
        {name: value for name, value in values.items() if value is not None}
    )


def test_swaps_do_not_depend_on_the_blocks_in_which_they_are_drawn() -> None:
    size, trials = 70_000, 40
    blocks = list(_swaps(size, trials, SEED))
    whole = np.random.default_rng(SEED).integers(2, size=(trials, size), dtype=bool)

    assert len(blocks) == 2
    assert (np.concatenate(blocks) == whole).all()


@pytest.mark.parametrize(
    ("baseline", "system", "references", "told"),
    [
        (["a"], ["a", "b"], ["a", "b"], "found 1, 2 and 2 sentences"),
        ([], [], [], "found 0, 0 and 0 sentences"),
        (["a"], ["a"], [" "], "references: found no text in sentence 1"),
        ("a", ["a"], ["a"], "baseline: found a single text"),
    ],
)
def test_what_cannot_be_compared(
    baseline: list[str], system: list[str], references: list[str], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        paired_differences(baseline, system, references, "de")


@pytest.mark.parametrize(("name", "value"), [("trials", 0), ("trials", 10**7), ("seed", -1)])
def test_settings_out_of_range(name: str, value: int) -> None:
    with pytest.raises(InputError, match=name):
        paired_differences(["a"], ["b"], ["a"], "de", **{name: value})
