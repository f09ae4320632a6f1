"""The two values every reader gives: `Sample`, one clip with its text, and `Corpus`.

Paths and text only: no frame is opened here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from unglossed.errors import InputError


@dataclass(frozen=True, slots=True)
class Sample:
    """One clip and its reference translation.

    Attributes:
        id: Name of the clip, unique in its corpus.
        media: Frame folder, video or sound file, or a clip in a shard (`shard.tar/clip`).
        text: Reference as the corpus has it, in Unicode NFC.
        split: Split that the clip belongs to, such as "train".
        language: ISO 639 code of the text, such as "de".
        signer: Who signs, if the corpus tells.
        gloss: Glosses separated by spaces, if the corpus has them.
        start_seconds: Begin of the clip within `media`; None: where `media` begins.
        end_seconds: End of the clip within `media`; None: where `media` ends.
        box: Part of the picture to use: left, top, right, bottom in 0..1; None: all of it.
        transcript: What is said, in the language of the speech, if the corpus has it.
    frame_rate: float | None = None
