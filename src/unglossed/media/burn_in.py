"""A video with its subtitles in the picture, for places that show no text tracks."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from unglossed.errors import InputError, note
from unglossed.media.containers import find_audio, open_video, origin_seconds, reason, to_rgb
from unglossed.media.videofile import first_size, read_timeline

Subtitle = tuple[float, float, str]
"""Begin and end in seconds, and the text, whose lines are separated by a line break."""

FONT = "fonts/ttf/DejaVuSans.ttf"
"""Below matplotlib's data: the font that comes with it."""
_TEXT_SHARE = 0.055  # height of a line, of that of the picture
_LEAST_PIXELS = 9
_EDGE_SHARE = 0.04
_WIDTH_SHARE = 0.96
_TICK = Fraction(1, 90_000)
_OPTIONS = {"crf": "18", "preset": "veryfast"}


def burn_in(
    media: Path,
    subtitles: Sequence[Subtitle],
    output: Path,
    *,
    font: Path | None = None,
) -> None:
    """Write a video again, as MP4, with subtitles drawn into its frames; sound is copied.

    Args:
        media: the video.
        subtitles: in the order of time, one at a time.
        output: file to write.
        font: TrueType or OpenType; None: DejaVu Sans, which has no Chinese.

    Raises:
        InputError: the video cannot be read, the font cannot, or it lacks a character.
    """
    path = check_font(font, "".join(text for _, _, text in subtitles))
    drawn = _Drawn(path, subtitles)
    size, timeline = first_size(media), read_timeline(media)
    times, number = timeline.times, 0
    with open_video(media) as (source, stream), av.open(str(output), "w", format="mp4") as made:
        audio, begin = find_audio(source), origin_seconds(source)
        video = _video_like(made, stream, size)
        copied = None if audio is None else _copy_of(made, audio)
        if audio is not None and copied is None:
            note(f"{media}: its sound is left out: MP4 does not hold {audio.codec_context.name}")
        try:
            for packet in source.demux([stream, *([audio] if audio and copied else [])]):
                if packet.stream is not stream:
                    if packet.dts is not None and packet.pts is not None:
                        first = round(begin / packet.time_base)  # the new file begins at 0
                        packet.pts, packet.dts = packet.pts - first, packet.dts - first
                        packet.stream = copied
                        made.mux(packet)
                    continue
                for frame in packet.decode():
                    # Times as `Timeline` has them, which knows whose stamps cannot be trusted.
                    place = min(number, timeline.num_frames - 1)
                    seconds = timeline.begin_seconds + float(times[place])
                    shown = drawn.on(_even(to_rgb(frame), video), seconds)
                    picture = av.VideoFrame.from_ndarray(shown, format="rgb24")
                    picture.pts, picture.time_base = round(seconds / _TICK), _TICK
                    number += 1
                    made.mux(video.encode(picture))
            made.mux(video.encode())
        except av.error.FFmpegError as error:
            raise InputError(f"{media}: cannot be written again: {reason(error)}") from error


def _copy_of(made: Any, audio: Any) -> Any:
    """A stream to which sound is copied; None where MP4 cannot hold it."""
    try:
        return made.add_stream_from_template(audio)
    except (ValueError, av.error.FFmpegError):
        return None


def _video_like(made: Any, stream: Any, size: tuple[int, int]) -> Any:
    video = made.add_stream("libx264", rate=stream.average_rate or 25, options=_OPTIONS)
    video.width, video.height = (side - side % 2 or 2 for side in size)
    video.pix_fmt = "yuv420p"
    video.time_base = video.codec_context.time_base = _TICK
    shape = stream.sample_aspect_ratio
    if shape:
        is_turned = size != (stream.codec_context.width, stream.codec_context.height)
        video.codec_context.sample_aspect_ratio = 1 / shape if is_turned else shape
    return video


def _even(pixels: NDArray[np.uint8], video: Any) -> NDArray[np.uint8]:
    """The picture cut, or made larger, to the size of the video."""
    height, width = pixels.shape[:2]
    pad = max(0, video.height - height), max(0, video.width - width)
    if any(pad):
        pixels = np.pad(pixels, ((0, pad[0]), (0, pad[1]), (0, 0)), mode="edge")
    return pixels[: video.height, : video.width]


class _Drawn:
    """Subtitles as pictures, each drawn once."""

    def __init__(self, font: Path, subtitles: Sequence[Subtitle]) -> None:
        self._font, self._subtitles = font, subtitles
        self._place = 0
        self._shown: tuple[int, tuple[int, ...], NDArray[np.float32]] | None = None

    def on(self, pixels: NDArray[np.uint8], seconds: float) -> NDArray[np.uint8]:
        """A picture with what is to be read at that time."""
        rows = self._subtitles
        while self._place < len(rows) and rows[self._place][1] <= seconds:
            self._place += 1
        # Of several at once the one that began last.
        while self._place + 1 < len(rows) and rows[self._place + 1][0] <= seconds:
            self._place += 1
        if self._place == len(rows) or rows[self._place][0] > seconds:
            return pixels
        layer = self._layer(pixels.shape)
        mixed = pixels + (layer[..., :3] - pixels) * layer[..., 3:]
        return np.asarray(mixed, np.uint8)

    def _layer(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Colours and cover, (height, width, 4)."""
        if self._shown is not None and self._shown[:2] == (self._place, shape):
            return self._shown[2]
        height, width = shape[:2]
        text = self._subtitles[self._place][2]
        image = Image.new("RGBA", (width, height))
        draw = ImageDraw.Draw(image)
        size = max(_LEAST_PIXELS, round(_TEXT_SHARE * height))
        while True:
            font = ImageFont.truetype(str(self._font), size)
            left, top, right, bottom = draw.multiline_textbbox((0, 0), text, font, align="center")
            share = (right - left) / (_WIDTH_SHARE * width)
            if share <= 1:
                break
            if size > _LEAST_PIXELS:
                size -= 1
                continue
            longest = max(map(len, text.split("\n")))
            if longest <= 1:
                break
            columns = max(1, min(longest - 1, int(longest / share)))
            text = "\n".join(textwrap.wrap(text, columns))
        x = (width - (right - left)) / 2 - left
        y = height * (1 - _EDGE_SHARE) - bottom
        pad = size / 4
        box = (x + left - pad, y + top - pad, x + right + pad, y + bottom + pad)
        draw.rectangle(box, fill=(0, 0, 0, 170))
        draw.multiline_text((x, y), text, (255, 255, 255, 255), font, align="center")
        layer = np.asarray(image, np.float32)
        layer = np.concatenate([layer[..., :3], layer[..., 3:] / 255], axis=-1)
        self._shown = self._place, shape, layer
        return layer


def check_font(font: Path | None, text: str) -> Path:
    """The file of a font, or of DejaVu Sans, once it is sure that it has all characters of a text.

    Raises:
        InputError: it cannot be read, or lacks one.
    """
    path = font or Path(matplotlib.get_data_path(), FONT)
    try:
        known = FT2Font(str(path)).get_charmap()
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: cannot be read as a font: {error}") from None
    missing = [one for one in text if one not in "\n " and ord(one) not in known]
    if missing:
        raise InputError(
            f"{path}: found no {missing[0]!r} in the font, expected one that has all characters of"
            " the subtitles (--font)"
        )
    return path
