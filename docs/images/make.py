"""Draws the images of the README and of docs/corpora/generated.md: python docs/images/make.py.

Every run gives the same images. Nothing is measured here: what the demo's model made of its clip is
copied from the output of `make demo`, which docs/results/demo.md quotes.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from unglossed.media.augment import generator_for
from unglossed_synth.drawing import draw_frames
from unglossed_synth.meaning import Meaning
from unglossed_synth.motion import animate, plan_hands
from unglossed_synth.planning import TRAIN_SIGNERS, UNSEEN_SIGNERS, Clip
from unglossed_synth.programme import perform as perform_programme
from unglossed_synth.recording import draw_corpus_signer, sign_clip
from unglossed_synth.resting import FIDGETS
from unglossed_synth.saying import LANGUAGES, say
from unglossed_synth.signer import Signer
from unglossed_synth.signing import SignToken, glosses, sign_sentence

Image = NDArray[np.uint8]
Span = tuple[int, int]

FOLDER = Path(__file__).parent
SEED = 0
SENTENCE = Meaning(
    day="tomorrow",
    daypart="night",
    place="north",
    phenomenon="snow",
    intensity="heavy",
    temperature=-12,
)
# The clip of `make demo` that is in no split, and what came out of it (seed 0, 2026-11-30).
NEW_CLIP = Meaning(day="today", place="northwest", phenomenon="wind")
NEW_CLIP_TRANSLATED = "heute gibt es im nordwesten wind"
SHOWN_SIGNS = {
    "RAIN": Meaning(phenomenon="rain"),
    "SUN": Meaning(phenomenon="sun"),
    "FOG": Meaning(phenomenon="fog"),
    "THUNDERSTORM": Meaning(phenomenon="thunderstorm"),
    "TOMORROW": Meaning(day="tomorrow"),
    "MORNING": Meaning(daypart="morning"),
    "RHINE": Meaning(place="rhine"),
    "EVERYWHERE": Meaning(place="everywhere"),
    "SEVEN": Meaning(temperature=7),
    "TENS-2": Meaning(temperature=20),
    "MOUNTAINS": Meaning(place="mountains"),
    "NIGHT": Meaning(daypart="night"),
}
MAP = (
    *("northwest", "north", "northeast"),
    *("west", "center", "east"),
    *("southwest", "south", "southeast"),
)
WAYS_TO_RAIN = {
    "rain": Meaning(phenomenon="rain"),
    "heavy rain": Meaning(phenomenon="rain", intensity="heavy"),
    "light rain": Meaning(phenomenon="rain", intensity="light"),
    "no rain": Meaning(phenomenon="rain", negated=True),
    "possible": Meaning(phenomenon="rain", certainty="possible"),
    "likely": Meaning(phenomenon="rain", certainty="likely"),
}


def perform(
    tokens: Sequence[SignToken], signer: Signer, size: tuple[int, int]
) -> tuple[list[Image], list[Span]]:
    """Frames of some signs, and the first and last frame of each sign's stroke."""
    _, spans = plan_hands(tokens, signer, generator_for(SEED, 0, "picture"))
    poses = animate(tokens, signer, generator_for(SEED, 0, "picture"))
    return list(draw_frames(poses, signer, *size)), spans


def one_sign(meaning: Meaning, sign: str) -> list[SignToken]:
    """One sign out of those of a meaning, as it is signed there."""
    tokens = sign_sentence(meaning, generator_for(SEED, 0, "signs"))
    return [token for token in tokens if token.sign == sign][:1]


def labelled(image: Image, text: str, height: int = 16, scale: float = 0.38) -> Image:
    """The picture with a line of text below it."""
    strip = np.full((height, image.shape[1], 3), 255, np.uint8)
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    left = max(1, (image.shape[1] - width) // 2)
    place = (left, height - 5)
    cv2.putText(strip, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (30, 30, 30), 1, cv2.LINE_AA)
    return np.concatenate([image, strip])


def sheet(images: Sequence[Image], columns: int, gap: int = 4) -> Image:
    """Pictures of one size in rows, on white."""
    framed = [cv2.copyMakeBorder(i, 0, gap, 0, gap, 0, value=(255,) * 3) for i in images]
    blank = np.full_like(framed[0], 255)
    framed += [blank] * (-len(framed) % columns)
    rows = [np.hstack(framed[at : at + columns]) for at in range(0, len(framed), columns)]
    return np.vstack(rows)


def at_shares(frames: Sequence[Image], span: Span, shares: Sequence[float]) -> list[Image]:
    """Frames at shares (0 to 1) of a stroke."""
    first, last = span[0], span[1] - 1
    return [frames[round(first + share * (last - first))] for share in shares]


def film_strip() -> Image:
    """One sentence in twenty frames at even distances, with the gloss whose stroke each shows."""
    tokens = sign_sentence(SENTENCE, generator_for(SEED, 0, "sentence"))
    names = glosses(tokens)
    frames, spans = perform(tokens, draw_corpus_signer(SEED, "Signer03"), (105, 130))
    print(f"{len(frames)} frames: {' '.join(names)}")
    pictures = []
    for number in np.linspace(2, len(frames) - 1, 20).round().astype(int):
        here = [n for n, (first, end) in zip(names, spans, strict=True) if first <= number < end]
        pictures.append(labelled(frames[number], " ".join(here)))
    return sheet(pictures, 10)


def clip_and_sentence() -> Image:
    """The demo's own clip in nine frames, larger than the model sees it, above its translation."""
    clip = Clip("new", "", TRAIN_SIGNERS[0], NEW_CLIP, {})
    take = sign_clip(clip, SEED, generator_for(SEED, 0, "clip alone"))
    frames = list(take.frames(105, 130))
    chosen = [frames[number] for number in np.linspace(2, len(frames) - 3, 9).round().astype(int)]
    return labelled(sheet(chosen, 9), f"-> {NEW_CLIP_TRANSLATED}", height=30, scale=0.7)


def signers() -> Image:
    """All people of the corpus with seed 0, at the same point of the same sign."""
    pictures = []
    for name in (*TRAIN_SIGNERS, *UNSEEN_SIGNERS):
        signer = draw_corpus_signer(SEED, name)
        frames, spans = perform(one_sign(Meaning(phenomenon="rain"), "RAIN"), signer, (140, 173))
        note = " (unseen)" if name in UNSEEN_SIGNERS else ""
        pictures.append(labelled(*at_shares(frames, spans[0], [0.5]), name + note))
    return sheet(pictures, 6)


def signs() -> Image:
    """Some signs, each at its start, middle and end."""
    signer = draw_corpus_signer(SEED, "Signer02")
    pictures = []
    for name, meaning in SHOWN_SIGNS.items():
        frames, spans = perform(one_sign(meaning, name), signer, (100, 124))
        shown = at_shares(frames, spans[0], [0.05, 0.5, 0.95])
        pictures.append(labelled(np.hstack(shown), name))
    return sheet(pictures, 3, gap=8)


def on_face_and_movement() -> Image:
    """One sign for six meanings: what intensity, negation and certainty add to it."""
    signer = draw_corpus_signer(SEED, "Signer04")
    pictures = []
    for name, meaning in WAYS_TO_RAIN.items():
        frames, spans = perform(one_sign(meaning, "RAIN"), signer, (116, 144))
        shown = at_shares(frames, spans[0], [0.05, 0.35, 0.65, 0.95])
        pictures.append(labelled(np.hstack(shown), name))
    return sheet(pictures, 2, gap=8)


def pointing() -> Image:
    """The nine directions of the compass, laid out as on the map that the viewer sees."""
    signer = draw_corpus_signer(SEED, "Signer06")
    pictures = []
    for place in MAP:
        frames, spans = perform(one_sign(Meaning(place=place), "POINT"), signer, (126, 156))
        pictures.append(labelled(*at_shares(frames, spans[0], [0.9]), place))
    return sheet(pictures, 3)


def fidgets() -> Image:
    """What signers do in rests, one a row, from the hands' rest and back."""
    rows = []
    for kind, name in zip(FIDGETS, TRAIN_SIGNERS, strict=False):
        signer = draw_corpus_signer(SEED, name)
        tries = (generator_for(SEED, number, kind) for number in range(1000))
        rests = (perform_programme([], signer, generator) for generator in tries)
        rest, event = next((r, e) for r in rests for e in r.events if e.kind == kind)
        poses = rest.poses(Fraction(25)).part(event.start, event.end)
        frames = list(draw_frames(poses, signer, 70, 86))
        shown = at_shares(frames, (0, len(frames)), np.linspace(0, 1, 12).tolist())
        rows.append(labelled(np.hstack(shown), kind))
    return sheet(rows, 1)


def main() -> None:
    """Write all pictures, and print what the page says about the sentence."""
    for language in LANGUAGES:
        print(f"{language}: {say(SENTENCE, language, generator_for(SEED, 0, language))}")
    for draw in (
        *(clip_and_sentence, film_strip, signers, signs, on_face_and_movement, pointing),
        fidgets,
    ):
        picture = cv2.cvtColor(draw(), cv2.COLOR_RGB2BGR)
        path = FOLDER / f"{draw.__name__.replace('_', '-')}.jpg"
        assert cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 86])
        print(f"{path.name}: {picture.shape[1]}x{picture.shape[0]}, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
