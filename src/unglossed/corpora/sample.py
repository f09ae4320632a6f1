"""The two values every reader gives: `Sample`, one clip with its text, and `Corpus`.

Paths and text only: no frame is opened here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from unglossed.errors import InputError
from unglossed.files import composed


@dataclass(frozen=True, slots=True, repr=False)
class Sample:
    """One clip and its reference translation.

        >>> sample = unglossed.Sample("clip-1", clip, "morgen regnet es im norden", "test", "de")
        >>> unglossed.translate(model, [sample])[0].media
        'clip-1'

    Attributes:
        id: Unique in its corpus.
        media: Frame folder, video or audio file, or a clip in a shard (`shard.tar/clip`).
        text: Reference as the corpus has it, in Unicode NFC.
        split: Such as "train".
        language: ISO 639 code of the text, such as "de".
        signer: Who signs, if the corpus tells.
        gloss: Glosses separated by spaces, if the corpus has them.
        start_seconds: Begin of the clip within `media`; None: where `media` begins.
        end_seconds: End of the clip within `media`; None: where `media` ends.
        box: Part of the frame to use: left, top, right, bottom in 0..1; None: all of it.
        transcript: What is said, in the language of the speech, if the corpus has it.
        references: Further correct translations beside `text`. Scores use all of them, training
            reads `text` alone.
        frame_rate: Frames per second of a frame folder; None: 25. Other media tell their own.
        deinterlace: Whether to deinterlace frames of a video that are marked as interlaced.
        array: Array beside `media`, for a model that reads both; None: there is none.
        array_is_clip: Whether begin and end do not count in that array: it is this clip alone.
    """

    id: str
    media: Path
    text: str
    split: str
    language: str
    signer: str | None = None
    gloss: str | None = None
    start_seconds: float | None = None
    end_seconds: float | None = None
    box: tuple[float, float, float, float] | None = None
    transcript: str | None = None
    references: tuple[str, ...] = ()
    frame_rate: float | None = None
    deinterlace: bool = False
    array: Path | None = None
    array_is_clip: bool = False

    def __repr__(self) -> str:
        text = self.text if len(self.text) <= 60 else f"{self.text[:57]}..."
        start, end = self.start_seconds, self.end_seconds
        times = "" if start is end is None else f" from {start or 0:g} s"
        times = times if end is None else f" from {start or 0:g} to {end:g} s"
        return f"Sample({self.id!r}, {self.split}, {self.language}: {text!r}, {self.media}{times})"


@dataclass(frozen=True)
class Corpus:
    """A corpus that has been read.

    Attributes:
        spec: What the user wrote, such as `phoenix14t:/data/PHOENIX-2014-T-release-v3`.
        root: File or folder that the spec names.
        name: Kind of the corpus, such as "phoenix14t".
        language: ISO 639 code of its texts; of several languages the most frequent one.
        splits: Samples of each split, in the corpus's own order.
        normalisation: How scoring normalises its texts, see `evaluation.metrics`.
        notes: What the reader left out by rule, one line a kind with counts; to be shown.
        has_media: Whether its clips are there. False after `?media=none`: nobody looked for them,
            and `media` of a sample says where its clip would lie.
    """

    spec: str
    root: Path
    name: str
    language: str
    splits: Mapping[str, tuple[Sample, ...]]
    normalisation: str = "nfc.v1"
    notes: tuple[str, ...] = ()
    has_media: bool = True

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages of its texts, the most frequent first."""
        counts = Counter(row.language for rows in self.splits.values() for row in rows)
        return tuple(code for code, _ in counts.most_common()) or (self.language,)

    def split(self, name: str) -> tuple[Sample, ...]:
        """Get one split's samples.

        Raises:
            InputError: The corpus has no such split; the message lists those it has.
        """
        name = composed(name)
        if name not in self.splits:
            raise InputError(f"{self.spec}: no split {name!r}, expected {', '.join(self.splits)}")
        return self.splits[name]

    def require_media(self, reader: str) -> None:
        """Refuse a corpus that was read without its clips.

        Args:
            reader: What reads the clips, for the message, as "`evaluate`".

        Raises:
            InputError: It was read with `?media=none`.
        """
        if not self.has_media:
            raise InputError(
                f"{self.spec}: found media=none, expected the clips, which {reader} reads: without"
                " them there are texts alone, for `corpus check`, `corpus stats`, `trim` and stages"
                " of language models"
            )

    def __repr__(self) -> str:
        counts = ", ".join(f"{name}: {len(rows)}" for name, rows in self.splits.items())
        return f"Corpus({self.spec!r}, language={self.language!r}, {counts})"
