"""Runs a pose estimator in the environment that has it: frames come in by a pipe, points go out.

`estimator` starts this file as a script by that environment's Python, which need not have
unglossed: numpy and the estimator's own packages are enough. Both ends of the pipe use `send` and
`receive`. Corpora, files of poses and checksums are no matter of it.

A message is a header of two little-endian numbers of 32 bits, the lengths of JSON and of bytes, and
then these. The first opens an estimator. Then there is one with `clip` before each clip, and one
with `shape` and a picture's bytes (height, width, 3), RGB, for each frame. Each is answered: with
facts, or the float32 bytes of an array (points, channels), or an `error`.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import struct
import sys
from pathlib import Path
from typing import IO, Any

import numpy as np

_HEADER = struct.Struct("<II")
_MEDIAPIPE = "0.10.21"
_HOLISTIC = (  # models that holistic runs
    "face_detection_short_range",
    "face_landmark",
    "hand_landmark_full",
    "hand_recrop",
    "pose_detection",
    "pose_landmark_full",
)
_PADDING = 1.25  # of a person's box, as RTMPose is trained
_MEAN = np.array((123.675, 116.28, 103.53), np.float32)  # of RGB, as ImageNet has it
_STD = np.array((58.395, 57.12, 57.375), np.float32)
_GREY = 114  # around a picture that the detector reads
_SURE = 0.3  # of the detector, that a box is a person
_DETECTOR_SIZE = 640  # where the model does not tell its own


class Unusable(Exception):
    """The environment or a model cannot be used; the message says what was found and expected."""


def send(file: IO[bytes], facts: dict[str, Any], content: bytes | memoryview = b"") -> None:
    """Write a message."""
    text = json.dumps(facts).encode()
    file.write(_HEADER.pack(len(text), len(content)))
    file.write(text)
    file.write(content)
    file.flush()


def receive(file: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """Read a message: its facts and its bytes; None: the other end is closed.

    Raises:
        EOFError: It was closed in the middle of a message.
    """
    header = file.read(_HEADER.size)
    if not header:
        return None
    lengths = _HEADER.unpack(header) if len(header) == _HEADER.size else (1, 0)
    text, content = (file.read(length) for length in lengths)
    if (len(text), len(content)) != lengths:
        raise EOFError("found a part of a message")
    return json.loads(text), content


class MediaPipe:
    """Holistic of MediaPipe's package, whose wheel holds its models.

    Points (543, 4): 33 of the body, 468 of the face, 21 of the left and of the right hand; x and y
    as shares of width and height, z in about the scale of x, and confidence. That of the body is
    its visibility; that of face and hands is 1, as the package tells none of its own. A part that
    was not found is NaN, with confidence 0.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        del settings
        advice = f"expected {_MEDIAPIPE}: pip install mediapipe=={_MEDIAPIPE}"
        try:
            import mediapipe
        except ImportError as error:
            raise Unusable(f"found no mediapipe that can be imported ({error}), {advice}") from None
        found = getattr(mediapipe, "__version__", "of no version")
        try:
            from mediapipe.python.solutions import holistic
        except ImportError:
            raise Unusable(f"found mediapipe {found}, without holistic, {advice}") from None
        files = {path.stem: path for path in Path(mediapipe.__file__).parent.rglob("*.tflite")}
        self.models = {name: _checksum(files[name]) for name in _HOLISTIC if name in files}
        self.library = f"mediapipe {found}"
        self._class = holistic.Holistic
        self._running: Any = None

    def begin(self) -> None:
        """Forget the clip before: points are tracked from frame to frame."""
        if self._running is not None:
            self._running.close()
        self._running = self._class(model_complexity=1)

    def points(self, picture: np.ndarray) -> np.ndarray:
        """Points of the next frame of a clip (height, width, 3)."""
        found = self._running.process(picture)
        return np.concatenate(
            [
                _landmarks(found.pose_landmarks, 33, tells_visibility=True),
                _landmarks(found.face_landmarks, 468),
                _landmarks(found.left_hand_landmarks, 21),
                _landmarks(found.right_hand_landmarks, 21),
            ]
        )


def _landmarks(found: Any, count: int, *, tells_visibility: bool = False) -> np.ndarray:
    if found is None:
        return np.array([[np.nan, np.nan, np.nan, 0]] * count, np.float32)
    rows = [
        (one.x, one.y, one.z, one.visibility if tells_visibility else 1.0) for one in found.landmark
    ]
    return np.array(rows, np.float32)


class RTMPose:
    """Models of RTMPose's kind in ONNX files, run by onnxruntime on one core of the CPU.

    The pose model reads a person's box and gives SimCC (arXiv 2107.03332): for each point scores of
    columns and of rows. The detector, of the kind that has YOLOX's boxes after suppression, finds
    the boxes; without one the whole picture is the person's. The largest box is read.

    Points (133, 3) of COCO-WholeBody: x and y in pixels, and the mean of the two highest scores as
    confidence, which can be above 1. A point without a score above 0 is NaN, with confidence 0, and
    so is a frame in which the detector finds nobody.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        try:
            import cv2
            import onnxruntime
        except ImportError as error:
            raise Unusable(
                f"found no {error.name}, expected onnxruntime and OpenCV: pip install onnxruntime"
                " opencv-python-headless"
            ) from None
        cv2.setNumThreads(1)
        self._cv2, self.library = cv2, f"onnxruntime {onnxruntime.__version__}"
        self.models: dict[str, str] = {}  # who starts this has compared their checksums
        self._pose = _load(onnxruntime, settings["model"])
        outputs = [one.name for one in self._pose.get_outputs()]
        shape = self._pose.get_inputs()[0].shape
        if len(outputs) != 2 or len(shape) != 4 or not all(isinstance(n, int) for n in shape[2:]):
            raise Unusable(
                f"{settings['model']}: found an input {shape} and the outputs {', '.join(outputs)},"
                " expected one (1, 3, height, width) and SimCC's two"
            )
        self._size = shape[3], shape[2]
        points = self._pose.get_outputs()[0].shape[1]
        if isinstance(points, int) and points != 133:
            raise Unusable(
                f"{settings['model']}: found a model of {points} points, expected the 133 of"
                " COCO-WholeBody"
            )
        self._detector = None
        if settings.get("detector"):
            self._detector = _load(onnxruntime, settings["detector"])

    def begin(self) -> None:
        """Nothing is kept from frame to frame."""

    def points(self, picture: np.ndarray) -> np.ndarray:
        """Points of a frame (height, width, 3)."""
        height, width = picture.shape[:2]
        box = self._find(picture) if self._detector else np.array((0, 0, width, height), np.float32)
        if box is None:
            return np.array([[np.nan, np.nan, 0]] * 133, np.float32)
        center, size = self._region(box)
        crop = (self._cut(picture, center, size).astype(np.float32) - _MEAN) / _STD
        columns, rows = _run(self._pose, crop)
        scores = (columns[0].max(axis=1) + rows[0].max(axis=1)) / 2
        steps = np.stack([columns[0].argmax(axis=1), rows[0].argmax(axis=1)], axis=1)
        places = steps / (columns.shape[2], rows.shape[2]) * size + center - size / 2
        found = scores > 0
        points = np.where(found[:, None], places, np.nan)
        return np.column_stack([points, np.where(found, scores, 0)]).astype(np.float32)

    def _find(self, picture: np.ndarray) -> np.ndarray | None:
        """The largest person's box: left, top, right, bottom in pixels; None: there is nobody."""
        assert self._detector is not None
        shape = self._detector.get_inputs()[0].shape
        height, width = (n if isinstance(n, int) else _DETECTOR_SIZE for n in shape[2:])
        ratio = min(height / picture.shape[0], width / picture.shape[1])
        size = int(picture.shape[1] * ratio), int(picture.shape[0] * ratio)
        padded = np.full((height, width, 3), _GREY, np.uint8)
        padded[: size[1], : size[0]] = self._cv2.resize(picture, size)
        # It is trained on BGR from 0 to 255, the pose model on RGB.
        found = _run(self._detector, padded[..., ::-1].astype(np.float32))[0]
        if found.ndim != 3 or found.shape[2] != 5:
            raise Unusable(
                f"found an output {found.shape} of the detector, expected boxes with scores"
                " (1, boxes, 5), after suppression"
            )
        boxes = found[0][found[0, :, 4] > _SURE, :4] / ratio
        if not len(boxes):
            return None
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        return boxes[areas.argmax()]

    def _region(self, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Center and size of what the model reads: the box with a margin, in its proportions."""
        center, (width, height) = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) * _PADDING
        aspect = self._size[0] / self._size[1]
        size = max(width, height * aspect), max(height, width / aspect)
        return center.astype(np.float64), np.array(size, np.float64)

    def _cut(self, picture: np.ndarray, center: np.ndarray, size: np.ndarray) -> np.ndarray:
        """The region in the model's size; what is outside of the picture is black."""
        scale = self._size[0] / size[0]
        shift = np.array(self._size) / 2 - scale * center
        matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        return self._cv2.warpAffine(picture, matrix, self._size)


def _load(onnxruntime: Any, path: str) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class for each kind of damage
        raise Unusable(f"{path}: onnxruntime cannot load it: {str(error)[:200]}") from None


def _run(session: Any, picture: np.ndarray) -> Any:
    batch = np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32)
    return session.run(None, {session.get_inputs()[0].name: batch})


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


ESTIMATORS = {"mediapipe": MediaPipe, "rtmpose": RTMPose}


def serve(source: IO[bytes], target: IO[bytes]) -> None:
    """Answer messages until the other end is closed."""
    estimator: Any = None
    while (message := receive(source)) is not None:
        facts, content = message
        try:
            if "open" in facts:
                estimator = ESTIMATORS[facts["open"]](facts)
                send(target, {"library": estimator.library, "models": estimator.models})
            elif "clip" in facts:
                estimator.begin()
                send(target, {})
            else:
                picture = np.frombuffer(content, np.uint8).reshape(facts["shape"])
                points = np.ascontiguousarray(estimator.points(picture), "<f4")
                send(target, {"shape": points.shape}, points.tobytes())
        except Unusable as error:
            send(target, {"error": str(error)})
        except Exception as error:  # whatever the estimator raises about one frame
            send(target, {"error": f"{type(error).__name__}: {error}"})


def main() -> None:
    """Serve on stdin and stdout; what libraries print goes to stderr."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"):
        if hasattr(signal, name):  # it is the other end that is asked to stop
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    target = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        serve(sys.stdin.buffer, target)
    except (EOFError, BrokenPipeError):  # the other end was killed
        os._exit(1)


if __name__ == "__main__":
    main()
