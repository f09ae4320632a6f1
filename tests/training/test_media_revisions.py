"""Stored features of videos that are read as ever keep their keys; those of the others do not."""

import wave

import av
import numpy as np
import pytest

from unglossed.corpora.sample import Sample
from unglossed.media.probe import revisions_of
from unglossed.training.keys import clip_keys, digest
from unglossed_synth.encoding import to_video_frame


def write(path, width=64, height=48, tags=None, codec="libx264", **settings):
    with av.open(str(path), "w", **settings) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if tags:
            context = stream.codec_context
            context.colorspace, context.color_primaries, context.color_trc = tags
        for _ in range(3):
            container.mux(stream.encode(to_video_frame(np.zeros((height, width, 3), np.uint8))))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, []),
        ({"tags": (6, 6, 6)}, []),
        ({"width": 1280, "height": 16, "tags": (1, 1, 1)}, []),
        ({"width": 1280, "height": 16}, ["untagged"]),
        ({"tags": (9, 9, 18)}, ["wide"]),
        ({"tags": (1, 12, 1)}, ["wide"]),
    ],
)
def test_a_key_changes_where_what_is_read_does(tmp_path, settings, expected):
    path = write(tmp_path / "v.mp4", **settings)
    assert revisions_of(path) == expected
    status = path.stat()
    first_release = [["", status.st_size, status.st_mtime_ns]]
    ((_, key),) = clip_keys([Sample("a", path, "so", "train", "de")])
    assert (key == digest([first_release, None, None, None])) == (not expected)


def test_program_streams_and_deinterlaced_clips_have_keys_of_their_own(tmp_path):
    path = write(tmp_path / "v.mpg", codec="mpeg2video")
    assert revisions_of(path) == ["seek"]
    samples = [Sample("a", path, "so", "train", "de", deinterlace=whole) for whole in (False, True)]
    assert len(set(clip_keys(samples))) == 2


@pytest.mark.parametrize(("channels", "expected"), [(1, []), (2, ["channels"])])
def test_sound_in_several_channels_may_be_mixed_otherwise(tmp_path, channels, expected):
    with wave.open(str(tmp_path / "s.wav"), "wb") as file:
        file.setparams((channels, 2, 16000, 0, "NONE", ""))
        file.writeframes(bytes(320 * channels))
    assert revisions_of(tmp_path / "s.wav") == expected
