"""Sentences composed of recorded words, with landmarks that are drawn at random."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments.landmark_hands import LANDMARKS, SIDE, SKELETON, write_corpus
from unglossed.corpora.registry import read_corpus
from unglossed.media.array_files import open_array
from unglossed.media.frames import read_frames


@pytest.fixture
def landmarks(tmp_path: Path) -> Path:
    """Ten recordings of each of six words, of 8 frames; one hand is never seen."""
    rng = np.random.default_rng(0)
    frames = rng.uniform(0.2, 0.8, (60 * 8, 128))
    frames[:, 65:] = 0
    words = np.repeat([f"wort{number}" for number in range(6)], 10)
    path = tmp_path / "landmarks.npz"
    np.savez(path, frames=frames.astype(np.float16), lengths=np.full(60, 8), words=words)
    return path


def test_sentences_are_composed_drawn_and_read(landmarks: Path, tmp_path: Path) -> None:
    output = tmp_path / "corpus"

    write_corpus(landmarks, output, 0, counts={"train": 20, "dev": 4, "test": 4})

    corpus = read_corpus(f"table:{output / 'clips.jsonl'}")
    assert {split: len(rows) for split, rows in corpus.splits.items()} == {
        "train": 20,
        "dev": 4,
        "test": 4,
    }
    texts = [sample.text for rows in corpus.splits.values() for sample in rows]
    assert len(set(texts)) == len(texts)
    clip = corpus.split("test")[0]
    frames = read_frames(clip.media)
    assert frames.shape == (4 * len(clip.text.split()), SIDE, SIDE, 3)
    assert len(np.unique(frames)) > 2


def test_a_share_of_the_sentences_of_train_repeats(landmarks: Path, tmp_path: Path) -> None:
    counts = {"train": 60, "dev": 4, "test": 4}
    write_corpus(landmarks, tmp_path / "corpus", 0, repeated=0.5, counts=counts)

    corpus = read_corpus(f"table:{tmp_path / 'corpus' / 'clips.jsonl'}")
    train = [sample.text for sample in corpus.split("train")]
    assert 20 <= len(train) - len(set(train)) <= 40
    assert not set(train) & {sample.text for sample in corpus.split("test")}


def test_the_poses_are_those_that_were_drawn(landmarks: Path, tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    write_corpus(landmarks, folder, 0, counts={"train": 4, "dev": 1, "test": 1})

    corpus = read_corpus(f"table:{folder / 'clips.jsonl'}?features={folder / LANDMARKS}")
    array = open_array(corpus.split("train")[0].media)

    pictures = len(list((folder / "train" / "00000").iterdir()))
    assert array.values.shape == (pictures, len(SKELETON.points), 2)
    assert array.told.points == SKELETON.points
    hands = {
        name: array.values[:, [SKELETON.points.index(point) for point in SKELETON.groups[name]]]
        for name in SKELETON.groups
    }
    assert np.isfinite(hands["left_hand"]).all()
    assert np.isnan(hands["right_hand"]).all()  # which is never seen
    assert np.isfinite(hands["body"][:, 0]).all()
    assert np.isnan(hands["body"][:, 1:]).all()
