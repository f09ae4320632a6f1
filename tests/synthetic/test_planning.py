from collections import Counter

import pytest

from unglossed.errors import InputError
from unglossed_synth.planning import SPLITS, TRAIN_SIGNERS, UNSEEN_SIGNERS, plan_clips
from unglossed_synth.saying import LANGUAGES


@pytest.fixture(scope="module", params=[1, 3])
def clips(request):
    return plan_clips(400, seed=5, level=request.param)


def by_split(clips, value):
    return {split: [value(clip) for clip in clips if clip.split == split] for split in SPLITS}


def test_shares_of_the_splits(clips):
    counts = Counter(clip.split for clip in clips)
    assert counts == {"train": 304, "dev": 32, "test": 32, "test_seen": 32}
    assert len({clip.id for clip in clips}) == 400


@pytest.mark.parametrize("what", ["meaning", *LANGUAGES])
def test_no_sentence_is_in_two_splits(clips, what):
    values = by_split(clips, lambda clip: clip.meaning if what == "meaning" else clip.text[what])
    distinct = [set(column) for column in values.values()]
    assert sum(map(len, distinct)) == len(set.union(*distinct))


def test_evaluation_splits_repeat_no_meaning(clips):
    values = by_split(clips, lambda clip: clip.meaning)
    for split in SPLITS[1:]:
        assert len(set(values[split])) == len(values[split])


def test_only_test_has_its_own_signers(clips):
    signers = {split: set(names) for split, names in by_split(clips, lambda c: c.signer).items()}
    assert signers["test"] == set(UNSEEN_SIGNERS)
    assert signers["train"] == set(TRAIN_SIGNERS)
    assert signers["dev"] | signers["test_seen"] <= signers["train"]
    assert not signers["test"] & signers["train"]


def test_evaluation_is_as_hard_as_training(clips):
    # A split made of rare leftovers would have more slots a sentence than train.
    slots = by_split(clips, lambda clip: len(clip.meaning.slots()))
    means = {split: sum(column) / len(column) for split, column in slots.items()}
    assert means["dev"] == pytest.approx(means["train"], rel=0.15)


def test_smallest_corpus_has_every_split_and_keeps_signers_apart():
    clips = plan_clips(4, seed=0, level=1)
    assert [clip.split for clip in clips] == list(SPLITS)
    assert clips[3].signer == clips[0].signer != clips[2].signer


def test_seed_decides():
    assert plan_clips(20, seed=1, level=2) == plan_clips(20, seed=1, level=2)
    assert plan_clips(20, seed=1, level=2) != plan_clips(20, seed=2, level=2)


def test_level_with_too_few_meanings_says_how_many_there_were():
    message = r"--sentences: found 12000, .* level 1 .* only 9120 of 9120 train, \d+ of 960 dev"
    with pytest.raises(InputError, match=message):
        plan_clips(12_000, seed=0, level=1)
