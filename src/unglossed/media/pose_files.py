"""Poses as programs write them: `.pose` files, and folders with a JSON file for each frame.

`.pose` is pose-format's (versions 0.1 and 0.2), read here since the package needs tools for video.
JSON is OpenPose's, or holds MediaPipe's landmarks. What no detector found is NaN, never a zero.
"""

from __future__ import annotations

import json
import math
import os
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unglossed.errors import InputError
from unglossed.media.array_files import ArrayFile
from unglossed.media.array_settings import CONFIDENCE, Told
from unglossed.media.skeletons import SKELETONS

Floats = NDArray[np.float32]

_VERSIONS = (0.1, 0.2)
_MOST_GAPS = 10, 250  # frames that a file may stand for on the whole, and frames beside that
_MOST_JSON = 10_000_000  # bytes of a frame, which has about 10 kB
_NUMBER = re.compile(r"([0-9]+)(?:_keypoints)?\.json", re.IGNORECASE)
_FACE_NAME = re.compile(r"f[a-z]*_([0-9]+)")
_OPENPOSE = "pose_keypoints_2d"
_OPENPOSE_PARTS = {
    _OPENPOSE: 25,
    "face_keypoints_2d": 70,
    "hand_left_keypoints_2d": 21,
    "hand_right_keypoints_2d": 21,
}
_MEDIAPIPE_PARTS = {
    "pose_landmarks": (33,),
    "face_landmarks": (468, 478),
    "left_hand_landmarks": (21,),
    "right_hand_landmarks": (21,),
}


class _Bytes:
    """Reads values of a `.pose` file one after the other."""

    def __init__(self, path: Path) -> None:
        self.path, self.content, self.place = path, path.read_bytes(), 0

    def take(self, form: str) -> tuple[Any, ...]:
        """Values of a format of `struct`, little-endian."""
        form = f"<{form}"
        end = self.place + struct.calcsize(form)
        if end > len(self.content):
            raise InputError(f"{self.path}: found its end at byte {len(self.content)}, truncated")
        values = struct.unpack_from(form, self.content, self.place)
        self.place = end
        return values

    def text(self) -> str:
        """A text with its length in front."""
        (length,) = self.take("H")
        (value,) = self.take(f"{length}s")
        return str(value.decode(errors="replace"))

    def floats(self, shape: tuple[int, ...]) -> Floats:
        """An array of float32."""
        found = np.frombuffer(self.content, "<f4", math.prod(shape), self.place).reshape(shape)
        self.place += found.nbytes
        return found.astype(np.float32)


def read_pose(path: Path) -> ArrayFile:
    """Read a `.pose` file: points are named `component.point`, in lower case.

    Raises:
        InputError: It is truncated, of another version, or has several people.
    """
    data = _Bytes(path)
    (version,) = data.take("f")
    known = [one for one in _VERSIONS if abs(version - one) < 1e-3]
    if not known:
        raise InputError(f"{path}: found version {version:g} of .pose, expected 0.1 or 0.2")
    width, height, _depth, count = data.take("4H")
    points: list[str] = []
    formats: list[str] = []
    for _ in range(count):
        name, form = data.text().lower(), data.text()
        formats.append(form)
        num_points, num_limbs, num_colours = data.take("3H")
        points += [f"{name}.{_point_name(data.text())}" for _ in range(num_points)]
        data.take(f"{2 * num_limbs + 3 * num_colours}H")
    dims = max((len(form) for form in formats), default=1) - 1
    odd = next((form for form in formats if form not in ("XYC", "XYZC") or len(form) <= dims), None)
    if odd is not None or not points:
        raise InputError(
            f"{path}: found points of the format {odd!r}, expected XYC or XYZC for all"
        )
    of_old = known[0] == 0.1
    rate, frames, people = data.take("HHH" if of_old else "fIH")
    left, row = len(data.content) - data.place, max(people, 1) * len(points) * (dims + 1) * 4
    if of_old:  # its count has 16 bits, and is too small for a long video
        frames = left // row
    if people != 1:
        raise InputError(f"{path}: found {people} people, expected 1: keep the one who signs")
    if frames * row != left:
        raise InputError(
            f"{path}: found {left:,} bytes of points, expected {frames * row:,} for {frames:,}"
            " frames: truncated or damaged"
        )
    if not 0 < rate < 1000:
        raise InputError(f"{path}: found {rate:g} frames a second, expected a number above 0")
    places = data.floats((frames, len(points), dims))
    confidence = data.floats((frames, len(points), 1))
    return ArrayFile(
        np.concatenate([places, confidence], axis=2),
        Told(
            rate=float(rate),
            channels=(*"xyz"[:dims], CONFIDENCE),
            points=tuple(points),
            width=width or None,
            height=height or None,
        ),
    )


def _point_name(name: str) -> str:
    """The name of a point; pose-format marks OpenPose's of the face by what they belong to."""
    name = name.lower()
    found = _FACE_NAME.fullmatch(name)
    return found[1] if found else name


def read_json_folder(folder: Path, *, whole: bool = True) -> ArrayFile:
    """Read a folder with a JSON file for each frame, the frame's number last in its name.

    Numbers that are missing are frames without a point. Of several people that OpenPose found in a
    frame the one whose body is surest is taken. Unless `whole` only the first frame is read.

    Raises:
        InputError: A file is not as OpenPose or MediaPipe have it; a number is there twice.
    """
    files = _numbered(folder)
    first, last = min(files), max(files)
    share, beside = _MOST_GAPS
    if last - first >= share * len(files) + beside:
        raise InputError(
            f"{folder}: found {len(files):,} files numbered {first} to {last}, expected one for"
            " each frame: the numbers seem to be something else, such as milliseconds"
        )
    one = _read_json(files[first])
    of_openpose = "people" in one
    skeleton = SKELETONS["openpose" if of_openpose else "mediapipe"]
    channels = ("x", "y", CONFIDENCE) if of_openpose else ("x", "y", "z", CONFIDENCE)
    values = np.full((last - first + 1, len(skeleton.points), len(channels)), np.nan, np.float32)
    parse = _parse_openpose if of_openpose else _parse_mediapipe
    for number, path in files.items() if whole else [(first, files[first])]:
        frame = _read_json(path)
        if ("people" in frame) != of_openpose:
            raise InputError(f"{path}: found a frame of another program than in {files[first]}")
        place = 0
        for points, size in parse(path, frame):
            if points is not None:
                values[number - first, place : place + size] = points
            place += size
    units = None if of_openpose else "shares"  # OpenPose's --keypoint_scale is not told
    return ArrayFile(values, Told(channels=channels, points=skeleton.points, units=units))


def _numbered(folder: Path) -> dict[int, Path]:
    """JSON files by the number of their frame, rising."""
    files: dict[int, Path] = {}
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed: {error.strerror}") from error
    for name in names:
        if not name.lower().endswith(".json") or name.startswith("."):
            continue
        found = _NUMBER.search(name)
        if found is None or found.end() < len(name):
            raise InputError(f"{folder / name}: found no number in its name, expected the frame's")
        number = int(found[1])
        if number in files:
            raise InputError(f"{folder / name}: found frame {number} twice ({files[number].name})")
        files[number] = folder / name
    if not files:
        raise InputError(f"{folder}: found no JSON file, expected one for each frame")
    return dict(sorted(files.items()))


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > _MOST_JSON:
            raise InputError(f"{path}: found more than {_MOST_JSON:,} bytes, expected a frame")
        frame = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON: {str(error)[:100]}") from None
    if not isinstance(frame, dict):
        raise InputError(f"{path}: found a {type(frame).__name__}, expected an object with points")
    if "people" in frame:
        return frame
    frame = {
        re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name): value
        for name, value in frame.items()
    }
    if not frame.keys() & _MEDIAPIPE_PARTS.keys():
        shown = ", ".join(map(repr, list(frame)[:5])) or "nothing"
        raise InputError(
            f"{path}: found {shown}, expected people, as OpenPose writes, or"
            f" {', '.join(_MEDIAPIPE_PARTS)}, as MediaPipe's results are named"
        )
    return frame


Part = tuple[Floats | None, int]
"""Points (size, channels) of a part, None where it was not found, and their number."""


def _parse_openpose(path: Path, frame: Mapping[str, Any]) -> Iterator[Part]:
    people = frame["people"]
    if not isinstance(people, list) or not all(isinstance(one, dict) for one in people):
        raise InputError(f"{path}, people: found {str(people)[:40]!r}, expected a list of people")
    bodies = [_openpose_part(path, one, _OPENPOSE, 25) for one in people]
    surest = [-1.0 if body is None else float(body[:, 2].sum()) for body in bodies]
    person = people[int(np.argmax(surest))] if people else {}
    for name, size in _OPENPOSE_PARTS.items():
        yield _openpose_part(path, person, name, size), size


def _openpose_part(path: Path, person: Mapping[str, Any], name: str, size: int) -> Floats | None:
    """Points (size, 3): x, y and confidence."""
    numbers = person.get(name)
    if not numbers:
        return None
    if not isinstance(numbers, list) or len(numbers) != 3 * size:
        found = f"{len(numbers) / 3:g} points" if isinstance(numbers, list) else "no list"
        other = ": its model was another than BODY_25" if name == _OPENPOSE else ""
        raise InputError(f"{path}, {name}: found {found}, expected {size}{other}")
    return _as_floats(path, name, numbers).reshape(size, 3)


def _parse_mediapipe(path: Path, frame: Mapping[str, Any]) -> Iterator[Part]:
    for name, sizes in _MEDIAPIPE_PARTS.items():
        landmarks = frame.get(name)
        if isinstance(landmarks, dict):  # as protobuf writes a list of landmarks
            landmarks = landmarks.get("landmark")
        if isinstance(landmarks, list) and len(landmarks) == 1 and isinstance(landmarks[0], list):
            landmarks = landmarks[0]  # as the tasks give it: a list for each person
        if not landmarks:
            yield None, sizes[0]
            continue
        if isinstance(landmarks, list) and all(isinstance(one, list) for one in landmarks):
            raise InputError(
                f"{path}, {name}: found {len(landmarks)} people, expected 1: keep the one who signs"
            )
        if not isinstance(landmarks, list) or len(landmarks) not in sizes:
            found = len(landmarks) if isinstance(landmarks, list) else str(landmarks)[:40]
            expected = " or ".join(map(str, sizes))
            raise InputError(f"{path}, {name}: found {found} landmarks, expected {expected}")
        yield _landmarks(path, name, landmarks[: sizes[0]]), sizes[0]


def _landmarks(path: Path, name: str, landmarks: Sequence[Any]) -> Floats:
    """Points (n, 4): x, y, z and confidence. Only those of the body tell how visible they are."""
    rows = []
    for one in landmarks:
        if not isinstance(one, dict) or not {"x", "y"} <= one.keys():
            raise InputError(f"{path}, {name}: found {str(one)[:40]!r}, expected x and y")
        sure = one.get("visibility", 1.0) if name == "pose_landmarks" else 1.0
        rows += [one["x"], one["y"], one.get("z", math.nan), sure]
    return _as_floats(path, name, rows).reshape(-1, 4)


def _as_floats(path: Path, name: str, numbers: Sequence[Any]) -> Floats:
    is_number = all(isinstance(one, (int, float)) and type(one) is not bool for one in numbers)
    if not is_number:
        raise InputError(f"{path}, {name}: found something else among the numbers of its points")
    try:
        with np.errstate(over="ignore"):
            return np.array(numbers, np.float64).astype(np.float32)
    except OverflowError:  # whole numbers beyond all floats
        raise InputError(f"{path}, {name}: found a number beyond all coordinates") from None
