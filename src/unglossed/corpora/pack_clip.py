"""One clip on its way into a shard: its key, its row, and its frames as JPEG pictures."""

from __future__ import annotations

import hashlib
import urllib.parse

import cv2
import numpy as np
from numpy.typing import NDArray

from unglossed.corpora.sample import Sample
from unglossed.errors import InputError
from unglossed.media.clip import frames_in_parts, kept_indices
from unglossed.media.packed import PackedClip

_LONGEST_KEY = 80  # with number and suffix it fits into the 100 bytes of a tar header


def key_of(id: str) -> str:
    """Name of a clip in its shard, another for each id.

    Dots would end the key, slashes are folders, and a dash at the begin is taken for an option:
    what is no ASCII letter, digit, dash or underscore is written as in a URL, so that
    `urllib.parse.unquote` gives the id back. Keys that would be too long end in a checksum instead.
    """
    key = urllib.parse.quote(id, safe="").replace(".", "%2E").replace("~", "%7E")
    if key.startswith("-"):
        key = "%2D" + key[1:]
    if len(key) > _LONGEST_KEY:
        checksum = hashlib.sha256(id.encode()).hexdigest()[:32]
        key = f"{key[: _LONGEST_KEY - 33]}~{checksum}"
    return key


def row_of(sample: Sample) -> dict[str, str | list[str]]:
    """What a row says beside the media; what the corpus does not tell has no field."""
    row = {
        "id": sample.id,
        "text": [sample.text, *sample.references] if sample.references else sample.text,
        "split": sample.split,
        "language": sample.language,
        "signer": sample.signer,
        "gloss": sample.gloss,
    }
    return {name: value for name, value in row.items() if value is not None}


def encode_clip(sample: Sample, short_side: int, quality: int) -> PackedClip:
    """Read, cut, resize and encode a clip's frames on the grid of 25 a second.

    Raises:
        InputError: The clip cannot be read, or its frames differ in size.
    """
    pictures: list[bytes] = []
    sizes = set()
    try:
        for frames in frames_in_parts(sample, kept_indices(sample, 1.0)):
            for frame in frames:
                picture = _reduce(frame, short_side)
                sizes.add(picture.shape[:2])
                pictures.append(_encode(picture, quality))
        if len(sizes) > 1:
            found = ", ".join(f"{width}x{height}" for height, width in sorted(sizes))
            raise InputError(
                f"{sample.media}: found frames of different sizes ({found}), expected one size"
            )
    except InputError as error:
        raise InputError(f"{error} (clip {sample.id!r})") from None
    (height, width), *_ = sizes
    return PackedClip(key_of(sample.id), row_of(sample), width, height, pictures)


def _reduce(frame: NDArray[np.uint8], short_side: int) -> NDArray[np.uint8]:
    height, width = frame.shape[:2]
    scale = short_side / min(height, width)
    if scale >= 1:
        return np.ascontiguousarray(frame)
    size = round(width * scale), round(height * scale)
    resized = cv2.resize(np.ascontiguousarray(frame), size, interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.uint8)


def _encode(picture: NDArray[np.uint8], quality: int) -> bytes:
    done, data = cv2.imencode(
        ".jpg",
        cv2.cvtColor(picture, cv2.COLOR_RGB2BGR),
        (
            *(cv2.IMWRITE_JPEG_QUALITY, quality),
            *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420),
            *(cv2.IMWRITE_JPEG_OPTIMIZE, 1),
        ),
    )
    assert done, picture.shape
    return bytes(data)
