"""A corpus of composed sentences: landmarks of recorded words, drawn as hands, one after the other.

The landmarks are 1,755 recordings of 30 words of German Sign Language from the repository
Tachionstrahl/SignLanguageRecognition (Apache-2.0), gathered in one file: `frames` (frames, 128:
face x, y, then two hands of 21 points x, y, z; 0 where a hand is missing), `lengths`, `words`.
A sentence here is some words in a row, each by a recording of its own: composed, no continuous
signing, and nobody says who signed. No recording is in two splits.

    python -m experiments.landmark_hands dgs30_landmarks.npz --output runs/hands/corpus
    unglossed train demo --corpus table:runs/hands/corpus/clips.jsonl --output runs/hands/run

Beside the drawn pictures lie the landmarks themselves, without depth, as poses of `SKELETON`. They
are compared by

    python -m experiments.signals --hands dgs30_landmarks.npz
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from numpy.typing import NDArray

from experiments.common import mistakes_told
from unglossed.errors import InputError
from unglossed.files import whole_folder
from unglossed.media.frames import FRAME_RATE
from unglossed.media.skeletons import HANDS, Skeleton

SIDE = 84
"""Of a picture, in pixels."""
SPLITS = {"train": 0.7, "dev": 0.15, "test": 0.15}
"""Shares of the recordings of each word."""
NUM_SENTENCES = {"train": 1200, "dev": 120, "test": 240}
NUM_WORDS = 3, 5
LANDMARKS = "landmarks"
"""Folder of the corpus with the poses."""
_HANDS = {hand: tuple(f"{hand}.{point}" for point in range(21)) for hand in HANDS}
_FACE, _SHOULDERS = "face", ("left_shoulder", "right_shoulder")
_FINGERS = [[0, *range(first, first + 4)] for first in (1, 5, 9, 13, 17)]
_COLOURS = ((90, 200, 250), (250, 190, 90))
SKELETON = Skeleton(
    points=(_FACE, *_SHOULDERS, *_HANDS["left_hand"], *_HANDS["right_hand"]),
    groups={"body": (_FACE, *_SHOULDERS), **_HANDS},
    edges=tuple(
        pair
        for points in _HANDS.values()
        for finger in _FINGERS
        for pair in pairwise(points[place] for place in finger)
    ),
    shoulders=_SHOULDERS,
)
"""A point of the face, hands, and shoulders, which nobody recorded: they are always missing. Which
hand is the left one is not told; the first is called so."""


def draw(frames: NDArray[np.float32]) -> list[NDArray[np.uint8]]:
    """Draw landmarks (frames, 128) as pictures of `SIDE` x `SIDE` pixels, a hand in a colour."""
    pictures = []
    for row in frames:
        picture = np.full((SIDE, SIDE, 3), 40, dtype=np.uint8)
        if row[0]:
            cv2.circle(picture, _pixel(row[:2]), SIDE // 10, (120, 120, 120), -1)
        for hand, colour in zip(row[2:].reshape(2, 21, 3), _COLOURS, strict=True):
            if not hand[0, 0]:
                continue
            for finger in _FINGERS:
                points = np.array([_pixel(hand[point]) for point in finger], dtype=np.int32)
                cv2.polylines(picture, [points], False, colour, 2, cv2.LINE_AA)
        pictures.append(picture)
    return pictures


def _pixel(point: NDArray[np.float32]) -> tuple[int, int]:
    x, y = np.clip(point[:2], -0.5, 1.5)
    return int(x * SIDE), int(y * SIDE)


def poses(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Landmarks (frames, 128) as points (frames, points, 2) of `SKELETON`, NaN where missing."""
    face = frames[:, None, :2]
    hands = frames[:, 2:].reshape(len(frames), 42, 3)[..., :2]
    none = np.full((len(frames), len(_SHOULDERS), 2), np.nan, np.float32)
    points = np.concatenate([face, none, hands], axis=1)
    return np.where((points == 0).all(axis=2, keepdims=True), np.float32(np.nan), points)


def write_corpus(
    landmarks: Path,
    output: Path,
    seed: int,
    *,
    repeated: float = 0.0,
    counts: Mapping[str, int] = NUM_SENTENCES,
) -> None:
    """Write clips as folders of pictures, the poses that they show, and their table.

    Args:
        landmarks: the file of landmarks.
        output: new folder.
        seed: of what is drawn.
        repeated: share of the sentences of train that are those of other clips of train.
        counts: of clips, by split.
    """
    data = np.load(landmarks)
    rng = np.random.default_rng(seed)
    starts = np.concatenate([[0], data["lengths"].cumsum()])
    frames, words = data["frames"], data["words"]
    known = sorted(set(words.tolist()))
    takes: dict[str, dict[str, list[int]]] = {split: {} for split in SPLITS}
    for word in known:
        numbers = rng.permutation(np.flatnonzero(words == word))
        ends = np.round(np.cumsum([0, *SPLITS.values()]) * len(numbers)).astype(int)
        for split, begin, end in zip(SPLITS, ends, ends[1:], strict=False):
            takes[split][word] = numbers[begin:end].tolist()
        if not all(takes[split][word] for split in SPLITS):
            raise InputError(
                f"{landmarks}: words: found {len(numbers)} recordings of {word!r}, expected enough"
                f" for one in each of {', '.join(SPLITS)}"
            )
    said: set[tuple[str, ...]] = set()
    rows = []
    with whole_folder(output) as partial:
        for split, count in counts.items():
            mine: list[tuple[str, ...]] = []
            for number in range(count):
                if split == "train" and mine and rng.random() < repeated:
                    sentence = mine[int(rng.integers(len(mine)))]
                else:
                    while (sentence := _sentence(rng, known)) in said:
                        pass
                said.add(sentence)
                mine.append(sentence)
                folder = partial / split / f"{number:05d}"
                folder.mkdir(parents=True)
                chosen = [rng.choice(takes[split][word]) for word in sentence]
                shown = np.concatenate(
                    [frames[starts[take] : starts[take + 1]][::2] for take in chosen]
                )
                for place, picture in enumerate(draw(shown.astype(np.float32))):
                    cv2.imwrite(str(folder / f"{place:04d}.png"), picture)
                array = partial / LANDMARKS / split / f"{number:05d}.npz"
                array.parent.mkdir(parents=True, exist_ok=True)
                np.savez(
                    array,
                    values=poses(shown.astype(np.float32)),
                    rate=FRAME_RATE,
                    points=SKELETON.points,
                    channels=["x", "y"],
                    units="other",
                )
                row = {"id": f"{split}/{number:05d}", "media": f"{split}/{number:05d}"}
                rows.append({**row, "split": split, "text": " ".join(sentence), "language": "de"})
        table = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (partial / "clips.jsonl").write_text(table, encoding="utf-8")


def _sentence(rng: np.random.Generator, words: list[str]) -> tuple[str, ...]:
    low, high = NUM_WORDS
    return tuple(rng.choice(words, int(rng.integers(low, high + 1)), replace=False).tolist())


def main(
    landmarks: Annotated[Path, typer.Argument(help="The file of landmarks.")],
    output: Annotated[Path, typer.Option(help="New folder.")] = Path("runs/hands/corpus"),
    seed: int = 0,
    repeated: Annotated[
        float, typer.Option(min=0, max=0.9, help="Share of train that says another clip's.")
    ] = 0.0,
) -> None:
    """Compose sentences of recorded words and draw them."""
    with mistakes_told():
        write_corpus(landmarks, output, seed, repeated=repeated)


if __name__ == "__main__":
    typer.run(main)
