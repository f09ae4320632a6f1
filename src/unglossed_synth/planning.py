"""Decides what each clip of a generated corpus means, how it is said, who signs it, in which split.

Nothing is drawn and no file is touched here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unglossed.errors import InputError
from unglossed.media.augment import generator_for
from unglossed_synth.grammar import draw_meaning
from unglossed_synth.meaning import Meaning
from unglossed_synth.saying import LANGUAGES, say

SPLITS = ("train", "dev", "test", "test_seen")
TRAIN_SIGNERS = tuple(f"Signer{number:02d}" for number in range(1, 17))
UNSEEN_SIGNERS = ("Signer17", "Signer18")
EVALUATION_SHARE = 0.08
"""Share of all clips in each of dev, test and test_seen; train has the rest."""


@dataclass(frozen=True)
class Clip:
    """One clip to be drawn: all that a process needs to know of it.

    Attributes:
        id: Name of the clip, unique in the corpus.
        split: train, dev, test or test_seen.
        signer: Who signs.
        meaning: What is signed.
        text: How it is said, by language.
    """

    id: str
    split: str
    signer: str
    meaning: Meaning
    text: dict[str, str]


def plan_clips(num_sentences: int, seed: int, level: int) -> list[Clip]:
    """Decide meaning, text, split and signer of every clip.

    Each meaning is given to one split when it is first drawn, so that the evaluation splits have
    the same mixture of frequent and rare sentences as train. Train repeats meanings, in other
    words, as they are drawn; the other splits hold each meaning once.

    Args:
        num_sentences: Clips over all splits.
        seed: Everything that is drawn follows from it.
        level: Part of the grammar.

    Returns:
        Clips of train, then dev, test and test_seen.

    Raises:
        InputError: The level has too few meanings.
    """
    share = max(1, round(EVALUATION_SHARE * num_sentences))
    wanted = {"train": num_sentences - 3 * share, **dict.fromkeys(SPLITS[1:], share)}
    limits = np.cumsum([count / num_sentences for count in wanted.values()])
    generator = generator_for(seed, 0, "plan")
    found: dict[str, list[tuple[Meaning, dict[str, str]]]] = {split: [] for split in wanted}
    split_of: dict[Meaning | str, str] = {}
    for _ in range(4 * num_sentences + 1000):
        meaning = draw_meaning(generator, level)
        place = int(np.searchsorted(limits, generator.random(), side="right"))
        is_new = meaning not in split_of
        split = split_of.setdefault(meaning, SPLITS[min(place, len(SPLITS) - 1)])
        if len(found[split]) == wanted[split] or not (is_new or split == "train"):
            continue
        text = {language: say(meaning, language, generator) for language in LANGUAGES}
        # Two meanings can share a wording, so the texts of a split are its own as well.
        if any(split_of.get(words, split) != split for words in text.values()):
            continue
        split_of.update(dict.fromkeys(text.values(), split))
        found[split].append((meaning, text))
        if all(len(found[name]) == count for name, count in wanted.items()):
            return _assign_signers(found)
    counts = ", ".join(f"{len(found[name])} of {count} {name}" for name, count in wanted.items())
    raise InputError(
        f"--sentences: found {num_sentences}, expected fewer: level {level} of the grammar gave "
        f"only {counts} clips"
    )


def _assign_signers(found: dict[str, list[tuple[Meaning, dict[str, str]]]]) -> list[Clip]:
    seen = TRAIN_SIGNERS[: len(found["train"])]
    clips: list[Clip] = []
    for split, rows in found.items():
        signers = UNSEEN_SIGNERS if split == "test" else seen
        for place, (meaning, text) in enumerate(rows):
            signer = signers[place % len(signers)]
            clips.append(Clip(f"clip{len(clips) + 1:05d}", split, signer, meaning, text))
    return clips
