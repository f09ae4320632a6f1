"""Makes the media of a generated corpus: one sentence, or several of one signer with pauses.

Everything drawn follows from the corpus's seed and the names of clip and signer, so a sentence
looks the same in every layout; but for broadcasts, where the same signs are part of one motion.
Which sentences share a file is decided in `layouts`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unglossed.media.augment import generator_for
from unglossed_synth.boxes import region_boxes
from unglossed_synth.drawing import draw_frames
from unglossed_synth.encoding import write_picture, write_sound, write_video
from unglossed_synth.landmarks import landmark_points
from unglossed_synth.motion import FRAME_RATE, Poses, animate
from unglossed_synth.planning import Clip
from unglossed_synth.programme import SENTENCE, perform
from unglossed_synth.signer import Signer, draw_signer
from unglossed_synth.signing import glosses, sign_sentence
from unglossed_synth.speech import SAMPLE_RATE, SPOKEN_LANGUAGE, draw_voice, speak

PAUSE_FRAMES = 10
"""Length of the still picture between two sentences of a video."""

PAUSE_SAMPLES = SAMPLE_RATE // 2
"""Length of the silence before, between and after the sentences of a talk."""

Box = tuple[float, float, float, float]

# Label files have times in hundredths of a second: sentences begin and end there.
_TIME_STEP = SAMPLE_RATE // 100
_INSET_SHARE = 0.8
_FRAMES_AT_ONCE = 500  # outlines of so many are in memory
_LAG_SECONDS = (1.0, 4.0)
_OWN_LAG_SECONDS = 0.5
_WALL = (104, 112, 128)


@dataclass(frozen=True)
class Recording:
    """A file or frame folder to be made: all that a process needs to know of it.

    Attributes:
        path: Where it lies within the corpus; a path ending in .mp4 or .wav is a file, any other
            a folder of pictures.
        clips: The sentences in it, all by one signer.
        picture: Name of each picture of a folder by its number, such as "images{:04d}.png".
        first_number: Number of the first picture.
        frame_rate: Frames a second of a broadcast, in which the signer rests between sentences.
            None: 25, and a still picture between them.
        corner: The signer is drawn into a smaller picture before a plain wall; this tells where it
            lies, from (0, 0), the upper left corner, to (1, 1), the lower right one. None: the
            signer has all of the picture.
    """

    path: Path
    clips: tuple[Clip, ...]
    picture: str = ""
    first_number: int = 1
    frame_rate: Fraction | None = None
    corner: tuple[float, float] | None = None


@dataclass(frozen=True)
class Happening:
    """What a signer does beside signing, between two times of a recording.

    Attributes:
        kind: hold, within a sentence, or a key of `resting.FIDGETS`, between sentences.
        start_seconds: When it begins.
        end_seconds: When it ends.
    """

    kind: str
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class Broadcast:
    """What is known of a broadcast beside its sentences.

    Attributes:
        num_frames: Its length.
        happenings: What the signer does beside signing.
        lags: Seconds by which the subtitle of each sentence comes late; below 0, early.
    """

    num_frames: int
    happenings: tuple[Happening, ...]
    lags: tuple[float, ...]


@dataclass(frozen=True)
class Segment:
    """A sentence that has been recorded.

    Attributes:
        clip: What was planned.
        recording: Where it was recorded.
        index: Which sentence of the recording it is, from 0.
        start: First frame of the recording that belongs to it, or first sample of a sound.
        length: Number of frames, or of samples.
        rate: Frames or samples a second.
        gloss: Glosses separated by spaces; None for speech.
        box: Part of the picture that the signer has: left, top, right, bottom in 0..1; None: all.
        broadcast: The recording, if it is one.
        regions: Boxes of hands and face of each frame in shares of the picture, if they were asked
            for, see `boxes.region_boxes`.
        landmarks: Points of each frame, if they were asked for, see `landmarks.landmark_points`.
    """

    clip: Clip
    recording: Recording
    index: int
    start: int
    length: int
    rate: int | Fraction
    gloss: str | None = None
    box: Box | None = None
    broadcast: Broadcast | None = None
    regions: Mapping[str, NDArray[np.float64]] | None = None
    landmarks: NDArray[np.float32] | None = None

    @property
    def start_seconds(self) -> float:
        """Begin within the recording."""
        return float(self.start / self.rate)

    @property
    def end_seconds(self) -> float:
        """End within the recording."""
        return float((self.start + self.length) / self.rate)


@dataclass(frozen=True)
class Take:
    """One sentence as one person signs it, ready to be drawn."""

    poses: Poses
    signer: Signer
    gloss: str

    def frames(self, width: int, height: int) -> Iterator[NDArray[np.uint8]]:
        """Draw the frames: (height, width, 3) RGB."""
        return draw_frames(self.poses, self.signer, width, height)

    def regions(
        self, width: int, height: int, box: Box | None = None
    ) -> dict[str, NDArray[np.float64]]:
        """Boxes of hands and face of each frame, see `region_boxes`.

        Args:
            width: Of the signer's part of the picture.
            height: Of that part.
            box: Which part it is; the boxes are in shares of the whole.
        """
        found = region_boxes(self.poses, self.signer, width, height)
        left, top, right, bottom = box or (0.0, 0.0, 1.0, 1.0)
        scale = np.array([right - left, bottom - top] * 2)
        return {name: rows * scale + [left, top] * 2 for name, rows in found.items()}


def draw_corpus_signer(seed: int, name: str) -> Signer:
    """Draw a person of the corpus that has this seed, such as "Signer01"."""
    return draw_signer(generator_for(seed, 0, f"signer {name}"), name)


def sign_clip(clip: Clip, signer_seed: int, generator: np.random.Generator) -> Take:
    """Let a clip's signer sign its meaning.

    Args:
        clip: What is signed, and by whom.
        signer_seed: Seed of the corpus whose signers are taken.
        generator: Decides how it is signed.
    """
    signer = draw_corpus_signer(signer_seed, clip.signer)
    tokens = sign_sentence(clip.meaning, generator)
    return Take(animate(tokens, signer, generator), signer, " ".join(glosses(tokens)))


def sign_corpus_clip(clip: Clip, seed: int) -> Take:
    """Sign a clip of the corpus that has this seed: the same in every layout."""
    return sign_clip(clip, seed, generator_for(seed, 0, f"clip {clip.id}"))


def record(
    folder: Path,
    seed: int,
    width: int,
    height: int,
    boxes: bool,
    landmarks: bool,
    recording: Recording,
) -> tuple[Segment, ...]:
    """Draw or speak a recording and write it.

    Args:
        folder: The corpus's folder.
        seed: The corpus's seed.
        width: Of a frame in pixels; speech has none.
        height: Of a frame in pixels.
        boxes: Whether to tell where hands and face are; not of speech and broadcasts.
        landmarks: Whether to tell where joints and points of the face are; the same holds.
        recording: What to make.

    Returns:
        Its sentences, in order.

    Raises:
        OSError: A file could not be written.
        InputError: Speech is wanted, and eSpeak NG is not installed.
    """
    path = folder / recording.path
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".wav":
        return _record_speech(path, seed, recording)
    if recording.frame_rate is not None:
        return _record_broadcast(path, seed, width, height, recording, recording.frame_rate)
    takes = [sign_corpus_clip(clip, seed) for clip in recording.clips]
    place = _Place.within(width, height, recording.corner)
    frames = _join(take.frames(place.width, place.height) for take in takes)
    if recording.corner is not None:
        frames = map(partial(_before_wall, place, width, height), frames)
    if path.suffix == ".mp4":
        write_video(path, frames, width, height)
    else:
        path.mkdir()
        for number, frame in enumerate(frames, start=recording.first_number):
            write_picture(path / recording.picture.format(number), frame)
    box = None if recording.corner is None else place.box(width, height)
    segments, start = [], 0
    for index, (clip, take) in enumerate(zip(recording.clips, takes, strict=True)):
        length = len(take.poses)
        regions = take.regions(place.width, place.height, box) if boxes else None
        points = landmark_points(take.poses, take.signer, *place.sides) if landmarks else None
        segments.append(
            Segment(
                *(clip, recording, index, start, length, FRAME_RATE, take.gloss, box),
                regions=regions,
                landmarks=points,
            )
        )
        start += length + PAUSE_FRAMES
    return tuple(segments)


@dataclass(frozen=True)
class _Place:
    """Where in a picture the signer is drawn, in pixels; all even, as colours come in pairs."""

    left: int
    top: int
    width: int
    height: int

    @property
    def sides(self) -> tuple[int, int, int, int]:
        """Width, height, left and top."""
        return self.width, self.height, self.left, self.top

    @classmethod
    def within(cls, width: int, height: int, corner: tuple[float, float] | None) -> _Place:
        if corner is None:
            return cls(0, 0, width, height)
        inner = _even(_INSET_SHARE * width), _even(_INSET_SHARE * height)
        return cls(
            _even(corner[0] * (width - inner[0])), _even(corner[1] * (height - inner[1])), *inner
        )

    def box(self, width: int, height: int) -> Box:
        # Rounded up, so that who multiplies and cuts off what is behind the point is right.
        return (
            math.ceil(1e6 * self.left / width) / 1e6,
            math.ceil(1e6 * self.top / height) / 1e6,
            round((self.left + self.width) / width, 6),
            round((self.top + self.height) / height, 6),
        )


def _even(size: float) -> int:
    return 2 * int(size / 2)


def _before_wall(
    place: _Place, width: int, height: int, frame: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    picture = np.full((height, width, 3), _WALL, np.uint8)
    picture[place.top : place.top + place.height, place.left : place.left + place.width] = frame
    return picture


def _join(parts: Iterable[Iterable[NDArray[np.uint8]]]) -> Iterator[NDArray[np.uint8]]:
    """The frames of all parts, between two of them the last frame standing still."""
    last: NDArray[np.uint8] | None = None
    for part in parts:
        if last is not None:
            for _ in range(PAUSE_FRAMES):
                yield last
        for last in part:
            yield last


def _record_broadcast(
    path: Path, seed: int, width: int, height: int, recording: Recording, rate: Fraction
) -> tuple[Segment, ...]:
    signer = draw_corpus_signer(seed, recording.clips[0].signer)
    generators = [generator_for(seed, 0, f"clip {clip.id}") for clip in recording.clips]
    sentences = [
        (sign_sentence(clip.meaning, generator), generator)
        for clip, generator in zip(recording.clips, generators, strict=True)
    ]
    generator = generator_for(seed, 0, f"broadcast {recording.path.stem}")
    programme = perform(sentences, signer, generator)
    poses = programme.poses(rate)
    parts = range(0, len(poses), _FRAMES_AT_ONCE)
    frames = chain.from_iterable(
        draw_frames(
            poses.part(first, first + _FRAMES_AT_ONCE), signer, width, height, number=number
        )
        for number, first in enumerate(parts)
    )
    write_video(path, frames, width, height, rate)
    broadcast = Broadcast(
        len(poses),
        tuple(
            Happening(event.kind, event.start / FRAME_RATE, event.end / FRAME_RATE)
            for event in programme.events
            if event.kind != SENTENCE
        ),
        _draw_lags(len(sentences), generator),
    )
    spans = [
        [math.ceil(frame * rate / FRAME_RATE) for frame in (event.start, event.end)]
        for event in programme.events
        if event.kind == SENTENCE
    ]
    return tuple(
        Segment(
            clip,
            recording,
            index,
            start,
            end - start,
            rate,
            " ".join(glosses(tokens)),
            broadcast=broadcast,
        )
        for index, (clip, (tokens, _), (start, end)) in enumerate(
            zip(recording.clips, sentences, spans, strict=True)
        )
    )


def _draw_lags(num_sentences: int, rng: np.random.Generator) -> tuple[float, ...]:
    """Lags of subtitles: that of the recording, early or late, and each one's own."""
    shift = rng.choice([-1.0, 1.0]) * rng.uniform(*_LAG_SECONDS)
    return tuple((shift + _OWN_LAG_SECONDS * rng.standard_normal(num_sentences)).tolist())


def _record_speech(path: Path, seed: int, recording: Recording) -> tuple[Segment, ...]:
    texts = [clip.text[SPOKEN_LANGUAGE] for clip in recording.clips]
    spoken = speak(texts, draw_voice(seed, recording.clips[0].signer))
    silence = np.zeros(PAUSE_SAMPLES, np.int16)
    parts, segments, start = [silence], [], len(silence)
    for index, (clip, samples) in enumerate(zip(recording.clips, spoken, strict=True)):
        padded = np.pad(samples, (0, -len(samples) % _TIME_STEP))
        parts += [padded, silence]
        segments.append(Segment(clip, recording, index, start, len(padded), SAMPLE_RATE))
        start += len(padded) + len(silence)
    write_sound(path, np.concatenate(parts))
    return tuple(segments)
