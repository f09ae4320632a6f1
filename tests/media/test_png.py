"""PNG files: every kind gives the pixels that were written, and damaged files are refused."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest

from unglossed.media.pictures import SIGNATURE, decode_png, read_picture, read_size


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


# Behind right checksums, which only a faulty writer makes, libpng prints lines of its own.
@pytest.mark.parametrize(
    ("data", "is_silent"),
    [
        (wrap(2, 3, zlib.compress(ROWS)[:-4] + b"\0\0\0\0"), False),
        (wrap(2, 3, zlib.compress(ROWS)[:-6]), False),
        (wrap(2, 3, b"no stream"), False),
        (wrap(2, 3, b""), True),
        (wrap(2, 3, zlib.compress(ROWS[:7] + b"\5" + ROWS[8:])), False),
        (wrap(2, 3, zlib.compress(ROWS[:-1])), False),
        (wrap(0, 3, zlib.compress(bytes(3))), True),
        (wrap(2, 3, zlib.compress(ROWS))[:-1], True),
        (wrap(2, 3, zlib.compress(ROWS)).replace(b"IDAT", b"IDAT\1", 1), True),
        (SIGNATURE, True),
    ],
    ids="checksum cut none empty filter short width end flipped signature".split(),
)
def test_damaged_data_is_refused(data, is_silent, capfd):
    assert decode_png(data) is None
    out, err = capfd.readouterr()
    assert out == ""
    assert err == "" or not is_silent


def test_a_turn_mark_of_eight_bit_rgb_is_ignored_as_the_header_tells_the_size(tmp_path):
    tag = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    chunk = struct.pack(">I", len(tag)) + b"eXIf" + tag
    chunk += struct.pack(">I", zlib.crc32(b"eXIf" + tag))
    data = encode(picture(4, 6))
    (tmp_path / "1.png").write_bytes(data[:33] + chunk + data[33:])
    assert read_picture(tmp_path / "1.png").shape == (4, 6, 3)
    assert read_size(tmp_path / "1.png") == (6, 4)
