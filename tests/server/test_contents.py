"""Uploads are known by their first bytes, and FFmpeg has to be of the same opinion."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from unglossed.server.contents import HEAD, is_of_kind, kind_of

VIDEOS = {
    ".mp4": ("mp4", "mpeg4"),
    ".mov": ("mp4", "mpeg4"),
    ".mkv": ("matroska", "mpeg4"),
    ".webm": ("matroska", "libvpx"),
    ".avi": ("avi", "mpeg4"),
    ".ts": ("mpegts", "mpeg2video"),
    ".m2ts": ("mpegts", "mpeg2video"),
    ".mpg": ("mpeg", "mpeg2video"),
    ".flv": ("flv", "flv"),
    ".asf": ("asf", "mpeg4"),
}
SOUNDS = {
    ".wav": ("wav", "pcm_s16le"),
    ".flac": ("flac", "flac"),
    ".mp3": ("mp3", "libmp3lame"),
    ".ogg": ("ogg", "libopus"),
    ".m4a": ("mp4", "aac"),
}


def write(path: Path, codec: str) -> Path:
    with av.open(str(path), "w") as container:
        if path.suffix in VIDEOS:
            stream = container.add_stream(codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            picture = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")
            frames = [picture] * 10
        else:
            stream = container.add_stream(codec, rate=48000, layout="mono")
            samples = np.zeros((1, 48000), np.int16)
            frames = [av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")]
            frames[0].sample_rate = 48000
        for frame in frames:
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("suffix", VIDEOS | SOUNDS)
def test_what_people_have_is_let_through(suffix: str, tmp_path: Path) -> None:
    kind, codec = (VIDEOS | SOUNDS)[suffix]
    path = write(tmp_path / f"clip{suffix}", codec)

    found = kind_of(path.read_bytes()[:HEAD])

    assert found == kind
    with av.open(str(path)) as container:
        assert is_of_kind(container.format.name, found)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"#EXTM3U\n",
        b"ffconcat version 1.0\n",
        b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n",
        b"<?xml version='1.0'?><MPD/>",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0\0\x10JFIF",
        b"RIFF\0\0\0\0WEBP",
        b"G" * 100,
        b"\xff\xff\xff\xff",
        b"\0\0\0\x18ftyP",
    ],
)
def test_nothing_else_is(head: bytes) -> None:
    assert kind_of(head) is None
