"""`unglossed poses` with packages that need environments of their own, where a variable names one.

`UNGLOSSED_MEDIAPIPE_PYTHON`: an environment with mediapipe 0.10.21. `UNGLOSSED_RTMLIB_PYTHON`: one
with rtmlib 0.0.16, with which our reading of its models is compared.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib import get_data_path

from spot_models import write_detector, write_pose_model
from unglossed.corpora.check import check_corpus
from unglossed.corpora.check_media import Needs
from unglossed.files import file_checksum
from unglossed.media.array_files import open_array
from unglossed.media.array_settings import ArraySettings
from unglossed.media.skeletons import SKELETONS
from unglossed.poses.estimate import estimate_poses
from unglossed.poses.estimator import Estimator, EstimatorSettings, ModelFile
from unglossed_synth.corpus import write_corpus

MEDIAPIPE = os.environ.get("UNGLOSSED_MEDIAPIPE_PYTHON")
RTMLIB = os.environ.get("UNGLOSSED_RTMLIB_PYTHON")
SIZE = 320, 400
STEP = 8  # pixels that the portrait moves from frame to frame


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    """A photograph (RGB) of a person that comes with matplotlib."""
    path = Path(get_data_path(), "sample_data/grace_hopper.jpg")
    return cv2.imread(str(path))[..., ::-1]


def write_clip(folder: Path, portrait: np.ndarray, *, left: int, num_frames: int = 5) -> None:
    """The portrait as a camera sees it that goes to the right."""
    folder.mkdir(parents=True)
    for frame in range(num_frames):
        x = left + STEP * frame
        picture = portrait[60 : 60 + SIZE[1], x : x + SIZE[0]]
        assert picture.shape[:2] == SIZE[::-1]
        assert cv2.imwrite(str(folder / f"{frame}.png"), picture[..., ::-1])


@pytest.mark.skipif(not MEDIAPIPE, reason="UNGLOSSED_MEDIAPIPE_PYTHON names no environment")
def test_mediapipe_finds_a_person_and_says_what_it_does_not_find(portrait, tmp_path):
    for name, left in (("a", 60), ("b", 100), ("c", 60)):
        write_clip(tmp_path / f"clips/{name}", portrait, left=left)
    empty = tmp_path / "clips/empty"
    empty.mkdir()
    assert cv2.imwrite(str(empty / "0.png"), np.full((*SIZE[::-1], 3), 90, np.uint8))
    rows = [
        {"id": id, "media": f"clips/{id}", "text": "a", "split": "train", "language": "de"}
        for id in ("a", "b", "empty", "c")
    ]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec, out = f"table:{tmp_path / 'own.jsonl'}", tmp_path / "out"
    settings = EstimatorSettings("mediapipe", python=Path(MEDIAPIPE))

    done = estimate_poses(spec, out, settings, num_workers=1, progress=False)

    assert (done.num_new, done.num_frames, done.failed) == (4, 16, {})
    assert (done.num_found["body"], done.num_found["face"]) == (15, 15)
    file = open_array(out / "train/a.npz")
    assert file.values.shape == (5, 543, 4)
    assert file.told.points == SKELETONS["mediapipe"].points
    assert (file.told.units, file.told.width, file.told.height) == ("shares", *SIZE)
    # The tip of the nose, by eye, is at (268, 240) of the whole photograph.
    nose = file.values[:, file.told.points.index("pose_landmarks.nose")]
    wanted = np.array([[268 - 60 - STEP * frame, 240 - 60] for frame in range(5)])
    assert np.abs(nose[:, :2] * SIZE - wanted).max() < 25  # it is filtered, and lags behind
    assert (nose[:, 3] > 0.9).all()
    tip = file.values[:, file.told.points.index("face_landmarks.1")]
    assert np.abs(tip[:, :2] * SIZE - wanted).max() < 10
    nothing = open_array(out / "train/empty.npz").values
    assert np.isnan(nothing[..., :3]).all()
    assert not nothing[..., 3].any()
    # What was tracked in the clip before is forgotten, and another process finds the same.
    assert np.array_equal(open_array(out / "train/c.npz").values, file.values, equal_nan=True)
    other = tmp_path / "other"
    estimate_poses(spec, other, settings, num_workers=2, progress=False)
    for path in out.rglob("*.npz"):
        assert path.read_bytes() == (other / path.relative_to(out)).read_bytes()
    manifest = json.loads((out / "poses.json").read_text())
    assert manifest["library"] == "mediapipe 0.10.21"
    assert len(manifest["models"]) == 6
    needs = Needs("array", ArraySettings(skeleton="mediapipe", rate=25))
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:2]))
    report = check_corpus(f"{spec}?features={out}", deep=True, needs=needs, num_workers=1)
    told = [str(fault) for kind in report.faults for fault in report.faults.examples(kind)]
    assert not [line for line in told if "train/a.npz" in line], told


RUN_RTMLIB = """
import sys
import numpy as np
from rtmlib import YOLOX, RTMPose

pose, detector, pictures, out = sys.argv[1:]
estimate = RTMPose(pose, model_input_size=(96, 128), backend="onnxruntime")
find = YOLOX(detector, model_input_size=(256, 256), backend="onnxruntime")
found = []
for picture in np.load(pictures):
    boxes = find(picture[..., ::-1].copy())
    if not len(boxes):  # it would read the whole picture
        found.append(np.full((133, 3), np.nan))
        continue
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    points, scores = estimate(picture, [boxes[areas.argmax()]])  # RGB, which the models read
    found.append(np.column_stack([points[0], scores[0]]))
np.save(out, np.stack(found))
"""


@pytest.mark.skipif(not RTMLIB, reason="UNGLOSSED_RTMLIB_PYTHON names no environment")
def test_models_of_rtmlib_are_read_as_it_reads_them(portrait, tmp_path):
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(12):
        noise = rng.integers(0, 90, (6, 8, 3)).astype(np.float32)
        picture = cv2.resize(noise, (400, 300), interpolation=cv2.INTER_CUBIC)
        x, y = rng.integers((20, 20), (380, 280))
        cv2.circle(picture, (int(x), int(y)), int(rng.integers(8, 40)), (230.0, 20.0, 240.0), -1)
        pictures.append(cv2.GaussianBlur(picture, (0, 0), 7).clip(0, 255).astype(np.uint8))
    pictures.append(np.zeros((300, 400, 3), np.uint8))
    np.save(tmp_path / "pictures.npy", np.stack(pictures))
    pose = write_pose_model(tmp_path / "pose.onnx", width=96, height=128)
    detector = write_detector(tmp_path / "detector.onnx")
    environment = EstimatorSettings("rtmpose", python=Path(RTMLIB)).interpreter()
    command = [environment, "-I", "-c", RUN_RTMLIB, pose, detector]
    command += [tmp_path / "pictures.npy", tmp_path / "out.npy"]
    subprocess.run(command, check=True)
    models = [ModelFile(path, file_checksum(path)) for path in (pose, detector)]
    settings = EstimatorSettings("rtmpose", None, *models)

    with Estimator(settings) as running:
        found = np.stack([running.points(picture) for picture in pictures])

    wanted = np.load(tmp_path / "out.npy")
    assert np.isnan(wanted[-1]).all()
    assert np.isnan(found[-1, :, :2]).all()
    seen = wanted[:-1, :, 2] > 0
    assert np.array_equal(~np.isnan(found[:-1, :, 0]), seen)
    assert np.abs(found[:-1, :, :2] - wanted[:-1, :, :2])[seen].max() < 0.02
    assert np.abs(found[:-1, :, 2] - wanted[:-1, :, 2])[seen].max() < 0.02


@pytest.mark.slow
@pytest.mark.skipif(not MEDIAPIPE, reason="UNGLOSSED_MEDIAPIPE_PYTHON names no environment")
def test_mediapipe_finds_drawn_people_where_they_were_drawn(tmp_path):
    write_corpus(tmp_path / "drawn", 4, 0, landmarks=True, num_workers=1, progress=False)
    spec = f"phoenix14t:{tmp_path / 'drawn'}"
    settings = EstimatorSettings("mediapipe", python=Path(MEDIAPIPE))
    estimate_poses(spec, tmp_path / "out", settings, splits=["train"], progress=False)

    distances = {}
    for path in (tmp_path / "out/train").glob("*.npz"):
        file, drawn = open_array(path), open_array(tmp_path / "drawn/landmarks" / path.name)
        assert len(file.values) == len(drawn.values)
        points = file.values[..., :2] * (file.told.width, file.told.height)
        for side in ("left", "right"):
            for other in ("left", "right"):
                one = points[:, file.told.points.index(f"{side}_hand_landmarks.wrist")]
                true = drawn.values[:, drawn.told.points.index(f"{other}_hand.0")]
                distances.setdefault((side, other), []).append(np.linalg.norm(one - true, axis=1))
    middle = {pair: np.nanmedian(np.concatenate(found)) for pair, found in distances.items()}
    for side, other in (("left", "right"), ("right", "left")):
        assert middle[side, side] < 15
        assert middle[side, other] > 2 * middle[side, side]  # sides are the signer's own
