"""What is read of a media file in another way than by the first release.

Who stores what was computed of a file adds it to the file's key: what was stored of files that are
read as ever stays good, and what was stored of the others is not taken for what is read today.
"""

from __future__ import annotations

from pathlib import Path

import av

from unglossed.errors import InputError
from unglossed.media.audio import AUDIO_SUFFIXES
from unglossed.media.colours import is_untagged_hd, is_wide
from unglossed.media.containers import open_container
from unglossed.media.streams import find_sound, find_video


def revisions_of(media: Path) -> list[str]:
    """Name what is read in another way: nothing of nearly all files.

    A sound file's only stream is what it always was, and the file is not opened.
    """
    if media.suffix.lower() in AUDIO_SUFFIXES:
        return []
    try:
        with open_container(media, "video") as container:
            return _revisions(container)
    except InputError:
        return []  # whoever reads it will tell


def _revisions(container: av.container.InputContainer) -> list[str]:
    found = []
    chosen = find_video(container), find_sound(container)
    first = (*container.streams.video[:1], None)[0], (*container.streams.audio[:1], None)[0]
    if [stream and stream.index for stream in chosen] != [one and one.index for one in first]:
        found.append("stream")
    if container.format.name == "mpeg":
        found.append("seek")
    if container.start_time is None:
        found.append("begin")
    if chosen[0] is not None:
        context = chosen[0].codec_context
        if is_wide(context.color_trc, context.color_primaries):
            found.append("wide")
        elif not context.format.is_rgb and is_untagged_hd(
            context.colorspace, context.width, context.height
        ):
            found.append("untagged")
    return found
