"""PNG files: every kind gives OpenCV's pixels, and what is damaged is refused."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest

from unglossed.media import pictures as png
from unglossed.media.pictures import SIGNATURE, decode_png


@pytest.fixture(params=["isal", "zlib"], autouse=True)
def inflater(request, monkeypatch):
    """Both ways of inflating: a machine may have no ISA-L."""
    module = zlib if request.param == "zlib" else pytest.importorskip("isal.isal_zlib")
    monkeypatch.setattr(png, "_inflater", module)


def picture(height, width, channels=3, kind=np.uint8):
    """Flat, smooth and noisy parts, so that every row filter is best somewhere."""
    rng = np.random.default_rng(height * width)
    rows, columns, _ = np.indices((height, width, channels))
    noise = rng.integers(0, 64, (height, width, channels)) * (columns > width / 2)
    return ((rows + 2 * columns) * (rows % 32 > 8) + noise).astype(kind)


def encode(pixels, *settings):
    done, data = cv2.imencode(".png", pixels, settings)
    assert done
    return data.tobytes()


def wrap(width, height, stream, parts=1):
    """A PNG whose checksums are right, whatever it holds."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    step = max(1, len(stream) // parts)
    pieces = [stream[begin : begin + step] for begin in range(0, len(stream), step)]
    chunks = [(b"IHDR", header), *((b"IDAT", piece) for piece in pieces), (b"IEND", b"")]
    data = SIGNATURE
    for name, content in chunks:
        checksum = struct.pack(">I", zlib.crc32(name + content))
        data += struct.pack(">I", len(content)) + name + content + checksum
    return data


@pytest.mark.parametrize("filters", ["NONE", "SUB", "UP", "AVG", "PAETH", "ALL"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 97), (83, 1), (260, 210)])
def test_every_filter_and_size_gives_the_pixels(filters, height, width):
    name = "IMWRITE_PNG_ALL_FILTERS" if filters == "ALL" else f"IMWRITE_PNG_FILTER_{filters}"
    pixels = picture(height, width)
    data = encode(pixels, cv2.IMWRITE_PNG_FILTER, getattr(cv2, name))
    assert np.array_equal(decode_png(data), pixels[..., ::-1])


@pytest.mark.parametrize(
    "pixels",
    [picture(40, 30, 1), picture(40, 30, 4), picture(40, 30, 3, np.uint16)],
    ids=["grey", "alpha", "16 bits"],
)
def test_other_kinds_are_opencvs_work(pixels):
    data = encode(pixels)
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.array_equal(decode_png(data), expected)


def test_pictures_do_not_share_memory_nor_state():
    pictures = [picture(60, 50), picture(60, 50)[::-1].copy(), picture(20, 70)]
    decoded = [decode_png(encode(pixels)) for pixels in pictures]
    for pixels, seen in zip(pictures, decoded, strict=True):
        assert np.array_equal(seen, pixels[..., ::-1])


def test_data_in_many_chunks_is_one_stream():
    rows = bytes([0, 1, 2, 3, 4, 5, 6]) * 3
    seen = decode_png(wrap(2, 3, zlib.compress(rows), parts=9))
    assert seen.tolist() == [[[1, 2, 3], [4, 5, 6]]] * 3


ROWS = bytes([0, 1, 2, 3, 4, 5, 6]) * 3


@pytest.mark.parametrize(
    "data",
    [
        wrap(2, 3, zlib.compress(ROWS)[:-4] + b"\0\0\0\0"),
        wrap(2, 3, zlib.compress(ROWS)[:-6]),
        wrap(2, 3, b"no stream"),
        wrap(2, 3, b""),
        wrap(2, 3, zlib.compress(ROWS[:7] + b"\5" + ROWS[8:])),
        wrap(2, 3, zlib.compress(ROWS[:-1])),
        wrap(0, 3, zlib.compress(bytes(3))),
        wrap(2, 3, zlib.compress(ROWS))[:-1],
        SIGNATURE,
    ],
    ids="checksum cut none empty filter short width end signature".split(),
)
def test_damaged_data_is_refused_in_silence(data, capfd):
    assert decode_png(data) is None
    assert capfd.readouterr() == ("", "")
