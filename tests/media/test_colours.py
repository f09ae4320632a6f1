"""Colours of videos as a screen shows them, whatever they are coded in."""

from fractions import Fraction

import av
import numpy as np
import pytest

from unglossed.errors import InputError
from unglossed.media.frames import read_frames

COLOURS = [(224, 172, 140), (120, 80, 60), (255, 255, 255), (200, 40, 40), (12, 12, 12)]
# What colours come to after eight bits and half the columns and rows of colour.
TOLERANCE = 3
LUMINANCE = {"709": (0.2126, 0.7152, 0.0722), "601": (0.299, 0.587, 0.114)}
LUMINANCE["2020"] = (0.2627, 0.6780, 0.0593)
TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
TO_P3 = np.array([[0.8225, 0.1774, 0.0], [0.0332, 0.9669, 0.0], [0.0171, 0.0724, 0.9108]])
BT709, BT2020, P3, UNTAGGED = 1, 9, 12, 2
PQ, HLG, BT2020_10 = 16, 18, 14


def light_of(colour):
    """Linear light, 1 being white."""
    return (np.array(colour) / 255) ** 2.4


def as_hlg(colour):
    """White at 203 of 1000 cd/m2 (ITU-R BT.2408), by the OETF of BT.2100."""
    shown = TO_2020 @ light_of(colour) * 0.203
    scene = shown * (np.array(LUMINANCE["2020"]) @ shown) ** (1 / 1.2 - 1)
    bright = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright)


def as_pq(colour):
    """White at 203 of 10,000 cd/m2, by the inverse EOTF of BT.2100."""
    power = (TO_2020 @ light_of(colour) * 0.0203) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def as_sdr(colour, matrix=None):
    light = light_of(colour) if matrix is None else matrix @ light_of(colour)
    return light ** (1 / 2.4)


def write(path, signal, luminance, tags=None, size=(64, 64), bits=8, full=False):
    """A still video of one colour; tags are matrix, primaries, curve (ISO/IEC 23091-2)."""
    red, green, blue = LUMINANCE[luminance]
    luma = float(np.dot((red, green, blue), signal))
    chroma = (signal[2] - luma) / (2 - 2 * blue), (signal[0] - luma) / (2 - 2 * red)
    step = 1 << bits - 8
    top = 255 if full else 219
    codes = [luma * top + (0 if full else 16)] + [
        value * (255 if full else 224) + 128 for value in chroma
    ]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=25, options={"crf": "0", "preset": "ultrafast"}
        )
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p" if bits == 8 else "yuv420p10le"
        context = stream.codec_context
        if full:
            context.color_range = 2
        if tags:
            context.colorspace, context.color_primaries, context.color_trc = tags
        for number in range(2):
            frame = av.VideoFrame(*size, stream.pix_fmt)
            for plane, code in zip(frame.planes, codes, strict=True):
                np.frombuffer(plane, np.uint8 if bits == 8 else np.uint16)[:] = round(code * step)
            if tags:
                frame.colorspace = tags[0]
            if full:
                frame.color_range = 2
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


KINDS = {
    "HLG": lambda colour: (as_hlg(colour), "2020", (BT2020, BT2020, HLG), (64, 64), 10),
    "HLG without the other tags": lambda colour: (
        *(as_hlg(colour), "2020", (UNTAGGED, UNTAGGED, HLG), (64, 64), 10),
    ),
    "PQ": lambda colour: (as_pq(colour), "2020", (BT2020, BT2020, PQ), (64, 64), 10),
    "BT.2020": lambda colour: (
        *(as_sdr(colour, TO_2020), "2020", (BT2020, BT2020, BT2020_10), (64, 64), 10),
    ),
    "Display P3": lambda colour: (as_sdr(colour, TO_P3), "709", (BT709, P3, BT709)),
    "BT.709": lambda colour: (as_sdr(colour), "709", (BT709, BT709, BT709)),
    "BT.601": lambda colour: (as_sdr(colour), "601", (6, 6, 6)),
    "BT.709 of full range": lambda colour: (
        *(as_sdr(colour), "709", (BT709, BT709, BT709), (64, 64), 8, True),
    ),
    "10 bits": lambda colour: (as_sdr(colour), "709", (BT709, BT709, BT709), (64, 64), 10),
    "no tag, wide": lambda colour: (as_sdr(colour), "709", None, (1280, 16)),
    "no tag, high": lambda colour: (as_sdr(colour), "709", None, (16, 578)),
    "no tag, small": lambda colour: (as_sdr(colour), "601", None, (1278, 576)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_colour_is_what_was_filmed(tmp_path, kind):
    for number, colour in enumerate(COLOURS):
        path = write(tmp_path / f"{number}.mp4", *KINDS[kind](colour))
        found = read_frames(path)[0, 8, 8].astype(int)
        assert np.abs(found - colour).max() <= TOLERANCE, (colour, found)


def test_what_is_brighter_than_white_is_white(tmp_path):
    for number, bright in enumerate((0.62, 0.75, 1.0)):  # 236, 983 and 10,000 cd/m2
        signal = np.full(3, bright)
        path = write(tmp_path / f"{number}.mp4", signal, "2020", (BT2020, BT2020, PQ), (64, 64), 10)
        assert (read_frames(path) == 255).all()


def test_a_coding_that_is_not_read_is_named(tmp_path):
    path = write(tmp_path / "v.mp4", as_sdr((9, 9, 9)), "2020", (14, BT2020, PQ), (64, 64), 10)
    with pytest.raises(InputError, match=r"v\.mp4: found colours coded as ICtCp"):
        read_frames(path)
