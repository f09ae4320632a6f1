"""YouTube-ASL (American Sign Language to English): videos with WebVTT captions as they were loaded.

The release is a list of video ids; this reads the folder that a downloader fills: `<id>.mp4` with
`<id>.en.vtt`, one sample a cue. Nothing is loaded here.
"""

from __future__ import annotations

from unglossed.corpora.captions import Cue
from unglossed.corpora.folder import CaptionReader
from unglossed.corpora.reading import Reading
from unglossed.corpora.sample import Corpus

MIN_SECONDS = 0.2
MAX_SECONDS = 60.0
MAX_CHARACTERS = 300


def read_youtube_asl(reading: Reading) -> Corpus:
    """Read a folder of videos with captions.

    A cue is used if it lasts 0.2 to 60 seconds and has 1 to 300 characters; others are counted.
    Captions are taken from `<id>.en.vtt`, else from another English one such as `<id>.en-US.vtt`,
    else from `<id>.vtt`. The release has no splits: all is train, unless subfolders say otherwise,
    as `folder` reads them.

    Raises:
        InputError: As `read_folder`.
    """
    return CaptionReader(reading, (".vtt",), reading.language or "en", _reason_against).read(
        "youtube_asl"
    )


def _reason_against(cue: Cue) -> str | None:
    seconds = round(cue.end_seconds - cue.start_seconds, 6)
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        return f"it lasts {seconds:g} seconds, used are {MIN_SECONDS:g} to {MAX_SECONDS:g}"
    if len(cue.text) > MAX_CHARACTERS:
        return f"it has {len(cue.text)} characters, used are up to {MAX_CHARACTERS}"
    return None if cue.text else "it has no text"
