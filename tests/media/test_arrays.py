"""Files of arrays: written by their own libraries, read bit for bit; and what is refused."""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from unglossed.errors import InputError
from unglossed.media.array_files import open_array, split_key
from unglossed.media.array_settings import ArraySettings
from unglossed.media.array_signal import ArraySignal
from unglossed.media.probe import Emptiness
from unglossed.media.signal import WholeFile, common_kind, kind_of_file, media_facts
from unglossed.media.skeletons import SKELETONS, Skeleton

Floats = NDArray[np.float32]

FEATURES = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
POINTS = 100 * np.random.default_rng(1).random((40, 4, 3)).astype(np.float32) + 1
POINTS[3, 1, 2] = 0  # missing
NAMES = ("nose", "left", "right", "neck")
SKELETON = Skeleton(
    points=NAMES,
    groups={"body": ("left", "right", "nose")},
    edges=(("left", "right"),),
    mirrored=(("left", "right"),),
    shoulders=("left", "right"),
)
CHANNELS = ("x", "y", "confidence")


def signal(**settings: Any) -> ArraySignal:
    if "dim" not in settings:
        settings = {"skeleton": SKELETON, "channels": CHANNELS, **settings}
    return ArraySignal(ArraySettings(**settings))


def write_npy(path: Path, values: Floats) -> Path:
    np.save(path / "clip.npy", values)
    return path / "clip.npy"


def write_npz(path: Path, values: Floats) -> Path:
    np.savez(path / "clip.npz", values=values, rate=25.0)
    return path / "clip.npz"


def write_safetensors(path: Path, values: Floats) -> Path:
    save_file({"a/b": values}, path / "clip.safetensors", {"rate": "25"})
    return path / "clip.safetensors#a/b"


def write_torch(path: Path, values: Floats) -> Path:
    torch.save({"values": torch.from_numpy(values), "rate": 25.0}, path / "clip.pt")
    return path / "clip.pt"


def write_hdf5(path: Path, values: Floats) -> Path:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path / "clip.h5", "w") as file:
        file.attrs["rate"] = 25.0
        file["train/clip_1"] = values
        file["train/clip_2"] = values + 1
    return path / "clip.h5#train/clip_1"


def write_parquet(path: Path, values: Floats) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = {
        "clip": ["one"] * len(values) + ["two"],
        "values": [*values.tolist(), values[0].tolist()],
    }
    kind = pyarrow.list_(pyarrow.float32())
    kind = kind if values.ndim == 2 else pyarrow.list_(kind)
    schema = pyarrow.schema([("clip", pyarrow.string()), ("values", kind)], {"rate": "25"})
    parquet.write_table(pyarrow.table(rows, schema), path / "clip.parquet")
    return path / "clip.parquet#one"


WRITERS = [write_npy, write_npz, write_safetensors, write_torch, write_hdf5, write_parquet]


@pytest.mark.parametrize("write", WRITERS)
def test_features_come_back_bit_for_bit(write: Any, tmp_path: Path) -> None:
    media = write(tmp_path, FEATURES)

    read = signal(dim=6).read(WholeFile(media))

    assert read.dtype == np.float32
    assert read.tobytes() == FEATURES.tobytes()
    assert kind_of_file(str(media)) == "array"
    facts = media_facts(media, deep=True)
    assert (facts.kind, facts.duration_seconds, facts.shape) == ("array", 1.6, (40, 6))
    assert common_kind([facts, facts]) == "array"


@pytest.mark.parametrize("write", WRITERS)
def test_poses_come_back_bit_for_bit_and_missing_points_are_missing(
    write: Any, tmp_path: Path
) -> None:
    read = signal().read(WholeFile(write(tmp_path, POINTS)))

    expected = POINTS[:, [1, 2, 0], :2].copy()
    expected[3, 0] = np.nan
    assert read[..., :2].tobytes() == expected.tobytes()
    assert np.array_equal(read[:, 1, 2], np.arange(40, dtype=np.float32) / np.float32(25))


def test_times_and_rates_are_those_of_the_clip(tmp_path: Path) -> None:
    media = write_npy(tmp_path, FEATURES)

    part = signal(dim=6).read(WholeFile(media, 0.4, 1.2))
    slow = signal(dim=6, rate=5).read(WholeFile(media, frame_rate=10))
    doubled = signal(dim=6, rate=50).read(WholeFile(media))

    assert np.array_equal(part, FEATURES[10:30])
    assert np.array_equal(slow, FEATURES[::2])
    assert np.array_equal(doubled[::2], FEATURES)
    assert signal(dim=6).seconds_of(WholeFile(media, frame_rate=10)) == 4.0


def refusal(media: Path, one: ArraySignal, **clip: Any) -> str:
    with pytest.raises(InputError) as raised:
        one.read(WholeFile(media, **clip))
    message = str(raised.value)
    assert str(media) in message
    assert "\n" not in message
    return message


def test_what_is_not_as_expected_is_one_line(tmp_path: Path) -> None:
    media = write_npy(tmp_path, FEATURES)
    assert "(40, 6), expected (time, 40), the axes seem" in refusal(media, signal(dim=40))
    assert "(40, 6), expected (time, 7)" in refusal(media, signal(dim=7))
    assert "expected poses (time, 4 points, channels)" in refusal(media, signal())
    late = refusal(media, signal(dim=6), start_seconds=2.0, end_seconds=3.0)
    assert "no row between 2.0 and 3.0 seconds: the clip is 1.60 seconds long" in late
    with pytest.raises(InputError, match=r"found 1\.6 seconds of array, expected at most 0\.8"):
        signal(dim=6).read(WholeFile(media), limit=20)

    media = write_npy(tmp_path, POINTS.transpose(1, 0, 2))
    assert "expected (time, 4 points, channels), the axes seem" in refusal(media, signal())
    media = write_npy(tmp_path, POINTS)
    assert "found 3 channels without names" in refusal(media, signal(channels=None))
    assert "found 3 channels, expected x, y" in refusal(media, signal(channels=("x", "y")))
    assert "expected shares of the picture" in refusal(
        media, signal(units="shares", aspect_ratio=1.0)
    )
    assert "expected array.aspect_ratio" in refusal(media, signal(units="shares"))
    media = write_npy(tmp_path, POINTS / 200)
    assert "expected pixels" in refusal(media, signal())
    media = write_npy(tmp_path, np.where(FEATURES[2, 2] == FEATURES, np.nan, FEATURES))
    assert "NaN or infinite numbers in 1 rows, such as 2" in refusal(media, signal(dim=6))
    media = write_npy(tmp_path, np.where(POINTS > 90, np.inf, POINTS))
    assert "found infinite numbers" in refusal(media, signal())


def test_zeros_without_confidence_have_to_be_explained(tmp_path: Path) -> None:
    points = POINTS[..., :2].copy()
    points[5, 0] = 0
    media = write_npy(tmp_path, points)
    assert "found 1 of 120 points at exactly 0, 0" in refusal(media, signal(channels=None))

    read = signal(channels=None, zeros="missing").read(WholeFile(media))
    as_values = signal(channels=None, zeros="values").read(WholeFile(media))

    assert np.isnan(read[5, 2, :2]).all()
    assert np.isnan(read).sum() == 2
    assert (as_values[5, 2, :2] == 0).all()


def test_a_file_that_tells_something_else_is_one_line(tmp_path: Path) -> None:
    def write(**told: Any) -> Path:
        np.savez(tmp_path / "clip.npz", values=POINTS, **told)
        return tmp_path / "clip.npz"

    both = refusal(write(rate=50.0), signal(), frame_rate=25.0)
    assert "found 50 rows a second in the file, but a frame rate of 25 in the corpus" in both
    other = refusal(write(points=["a", "left", "right", "d"], channels="x,y,confidence"), signal())
    assert "found another skeleton, without 1 of the 3 points" in other
    assert "('nose', ...)" in other
    axes = refusal(write(axes=["points", "time", "channels"]), signal())
    assert "axes: found points, time, channels, expected time, points, channels or" in axes
    assert "found coordinates in shares, expected pixels" in refusal(
        write(units="shares"), signal(units="pixels")
    )
    assert "units: found 'inches', expected one of" in refusal(write(units="inches"), signal())
    assert "rate: found '-1', expected a number above 0" in refusal(write(rate=-1), signal())
    assert "found 2 names for an array" in refusal(write(channels="x,y"), signal())

    told = signal(channels=None).read(
        WholeFile(write(points=list(NAMES[::-1]), channels=["x", "y", "confidence"], rate=50))
    )
    assert np.array_equal(told[:, 2, 0], POINTS[::2, 3, 0])  # the nose is last there


def test_shares_are_brought_to_one_unit(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "clip.npz", values=POINTS / 200, units="shares", width=200, height=100, rate=25
    )
    read = signal().read(WholeFile(tmp_path / "clip.npz"))
    np.testing.assert_allclose(read[:, 1, 0], POINTS[:, 2, 0] / 100, rtol=1e-6)
    np.testing.assert_allclose(read[:, 1, 1], POINTS[:, 2, 1] / 200, rtol=1e-6)


def test_depth_is_read_where_it_is_asked_for(tmp_path: Path) -> None:
    media = write_npy(tmp_path, POINTS)
    read = signal(channels=("x", "y", "z"), depth=True).read(WholeFile(media))
    assert np.array_equal(read[..., :3], POINTS[:, [1, 2, 0]])
    assert "found the channels x, y, expected z" in refusal(
        write_npy(tmp_path, POINTS[..., :2]), signal(channels=None, depth=True)
    )


def test_points_that_are_not_sure_enough_are_missing(tmp_path: Path) -> None:
    points = POINTS.copy()
    points[..., 2] = np.linspace(0, 1, 160).reshape(40, 4)
    media = write_npy(tmp_path, points)
    counts = [
        int(np.isnan(signal(min_confidence=least).read(WholeFile(media))[..., 0]).sum())
        for least in (0.0, 0.5)
    ]
    used = points[:, [1, 2, 0], 2]
    assert counts == [int((used <= least).sum()) for least in (0.0, 0.5)]
    assert counts[0] < counts[1]


def test_files_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    cases = {
        "a.npy": b"\x93NUMPY",
        "b.npz": b"PK\x03\x04",
        "c.safetensors": b"\x00" * 20,
        "d.pt": b"no torch",
        "e.pose": b"\x00\x00",
        "f.parquet": b"PAR1",
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=re.escape(name)) as raised:
            open_array(tmp_path / name)
        assert "\n" not in str(raised.value)
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(InputError, match="Python objects"):
        open_array(tmp_path / "objects.npy")
    np.savez(tmp_path / "two.npz", one=FEATURES, two=FEATURES)
    with pytest.raises(InputError, match=r"found 2 arrays \(one, two\), expected the name of one"):
        open_array(tmp_path / "two.npz")
    with pytest.raises(InputError, match="found no array 'three', expected one of one, two"):
        open_array(tmp_path / "two.npz#three")
    with pytest.raises(InputError, match=r"no\.npy: no such file"):
        open_array(tmp_path / "no.npy")
    np.save(tmp_path / "flat.npy", np.zeros(3))
    with pytest.raises(InputError, match=r"found float64 \(3,\), expected numbers \(time, points"):
        open_array(tmp_path / "flat.npy")


def test_damage_within_a_file_is_one_line(tmp_path: Path) -> None:
    def told(name: str) -> str:
        with pytest.raises(InputError) as raised:
            open_array(tmp_path / name)
        assert "\n" not in str(raised.value)
        assert name in str(raised.value)
        return str(raised.value)

    np.savez_compressed(tmp_path / "packed.npz", values=FEATURES)
    content = bytearray((tmp_path / "packed.npz").read_bytes())
    content[100:140] = bytes(40)
    (tmp_path / "packed.npz").write_bytes(content)
    assert "cannot be read as .npz" in told("packed.npz")

    header = io.BytesIO()
    shape = (10**13, 6)
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    with zipfile.ZipFile(tmp_path / "header.npz", "w") as archive:
        archive.writestr("values.npy", header.getvalue() + b"1234")
    assert "cannot be read as .npz" in told("header.npz")

    np.savez(tmp_path / "a.npz", values=FEATURES)
    (tmp_path / "archive.npy").write_bytes((tmp_path / "a.npz").read_bytes())
    assert "found several arrays, expected one, or the ending .npz" in told("archive.npy")
    (tmp_path / "array.npz").write_bytes(write_npy(tmp_path, FEATURES).read_bytes())
    assert "found no .npz" in told("array.npz")

    values = torch.from_numpy(FEATURES)
    torch.save({"values": values, "rate": 10**400}, tmp_path / "rate.pt")
    assert "rate.pt, rate: found" in told("rate.pt")
    names = "[" * 100_000
    np.savez(tmp_path / "names.npz", values=FEATURES, points=names)
    assert "names.npz, points: found" in told("names.npz")
    torch.save(
        {"values": values, "rate": torch.tensor(25.0, requires_grad=True)}, tmp_path / "g.pt"
    )
    assert open_array(tmp_path / "g.pt").told.rate == 25


def test_a_key_may_have_slashes_and_a_file_a_hash_in_its_name() -> None:
    assert split_key(Path("/x/f.h5#a/b")) == (Path("/x/f.h5"), "a/b")
    assert split_key(Path("clip#1.npy")) == (Path("clip#1.npy"), None)
    assert split_key(Path("a.mp4")) == (Path("a.mp4"), None)


def pose_bytes(points: Floats, version: float = 0.2, people: int = 1) -> bytes:
    """A `.pose` file as the format's description says: points (time, points, 3), the last sure."""
    text = lambda value: struct.pack("<H", len(value)) + value.encode()  # noqa: E731
    header = struct.pack("<f4H", version, 200, 100, 0, 2)
    for name, names in (("BODY", NAMES[:3]), ("MORE", NAMES[3:])):
        header += text(name) + text("XYC") + struct.pack("<3H", len(names), 1, 1)
        header += b"".join(text(one.upper()) for one in names) + struct.pack("<5H", 0, 0, 1, 2, 3)
    rate = struct.pack("<fI", 25.0, len(points)) if version > 0.15 else struct.pack("<2H", 25, 7)
    numbers = points[..., :2].astype("<f4").tobytes() + points[..., 2].astype("<f4").tobytes()
    return header + rate + struct.pack("<H", people) + numbers


@pytest.mark.parametrize("version", [0.1, 0.2])
def test_pose_files_come_back_bit_for_bit(version: float, tmp_path: Path) -> None:
    media = tmp_path / "clip.pose"
    media.write_bytes(pose_bytes(POINTS, version))

    file = open_array(media)

    assert file.values.tobytes() == POINTS.tobytes()
    assert file.told.rate == 25.0
    assert file.told.points == ("body.nose", "body.left", "body.right", "more.neck")
    assert file.told.channels == CHANNELS
    assert (file.told.width, file.told.height) == (200, 100)


def test_wrong_pose_files_are_one_line(tmp_path: Path) -> None:
    media = tmp_path / "clip.pose"
    for content, told in (
        (pose_bytes(POINTS)[:-4], "bytes of points, expected"),
        (pose_bytes(POINTS, people=2), "found 2 people, expected 1"),
        (pose_bytes(POINTS, version=0.7), r"found version 0\.7 of \.pose"),
        (pose_bytes(POINTS)[:30], "truncated"),
    ):
        media.write_bytes(content)
        with pytest.raises(InputError, match=rf"clip\.pose: .*{told}"):
            open_array(media)


def test_pose_files_are_read_as_pose_format_reads_them(tmp_path: Path) -> None:
    pose_format = pytest.importorskip("pose_format")
    from pose_format.utils.openpose import load_openpose

    person = {
        "pose_keypoints_2d": np.arange(75.0).tolist(),
        "face_keypoints_2d": np.arange(210.0).tolist(),
        "hand_left_keypoints_2d": np.arange(63.0).tolist(),
        "hand_right_keypoints_2d": np.arange(63.0).tolist(),
    }
    pose = load_openpose({0: {"people": [person]}, 2: {"people": [person]}}, fps=30)
    with (tmp_path / "clip.pose").open("wb") as file:
        pose.write(file)
    assert isinstance(pose, pose_format.Pose)

    read = open_array(tmp_path / "clip.pose")

    assert read.told.points == SKELETONS["openpose"].points
    assert np.array_equal(read.values[..., :2], pose.body.data.data[:, 0])
    assert np.array_equal(read.values[..., 2], pose.body.confidence[:, 0])


def openpose_frame(shift: float) -> dict[str, Any]:
    sizes = {"pose": 25, "face": 70, "hand_left": 21, "hand_right": 21}
    person = {
        f"{name}_keypoints_2d": [value + shift for value in range(1, 3 * size + 1)]
        for name, size in sizes.items()
    }
    return {"version": 1.3, "people": [person]}


def test_folders_of_openpose_have_gaps_and_missing_parts(tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    folder.mkdir()
    frames = {7: openpose_frame(0), 8: openpose_frame(1), 10: openpose_frame(3)}
    frames[8]["people"][0]["hand_left_keypoints_2d"] = []
    weak = {"pose_keypoints_2d": [0.5] * 75}
    frames[10]["people"].insert(0, weak)
    for number, frame in frames.items():
        (folder / f"clip_{number:012}_keypoints.json").write_text(json.dumps(frame))

    file = open_array(folder)

    assert file.values.shape == (4, 137, 3)
    assert np.array_equal(file.values[0, 0], [1, 2, 3])
    assert np.isnan(file.values[1, 95:116]).all()
    assert not np.isnan(file.values[1, 116:]).any()
    assert np.isnan(file.values[2]).all()
    assert np.array_equal(file.values[3, 0], [4, 5, 6])  # of the person who is surer
    assert media_facts(folder).shape == (4, 137, 3)
    read = signal(skeleton="openpose", channels=None).read(WholeFile(folder))
    assert read.shape == (4, 78, 3)


def test_wrong_folders_of_json_are_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    folder.mkdir()
    one = folder / "clip_000000000001_keypoints.json"

    def told(content: Any) -> str:
        one.write_text(content if isinstance(content, str) else json.dumps(content))
        with pytest.raises(InputError) as raised:
            open_array(folder)
        assert "\n" not in str(raised.value)
        return str(raised.value)

    assert "not JSON" in told("{")
    assert "expected people, as OpenPose writes" in told({"points": []})
    coco = openpose_frame(0)
    coco["people"][0]["pose_keypoints_2d"] = [1.0] * 54
    assert "found 18 points, expected 25: its model was another than BODY_25" in told(coco)
    words = openpose_frame(0)
    words["people"][0]["face_keypoints_2d"][3] = "x"
    assert "face_keypoints_2d: found something else among the numbers" in told(words)
    large = openpose_frame(0)
    large["people"][0]["pose_keypoints_2d"][3] = 10**400
    assert "pose_keypoints_2d: found a number beyond all coordinates" in told(large)
    two = [[{"x": 0.5, "y": 0.5}] * 33] * 2
    assert "pose_landmarks: found 2 people, expected 1" in told({"pose_landmarks": two})
    one.write_text(json.dumps(openpose_frame(0)))
    (folder / "other_1.json").write_text(json.dumps(openpose_frame(0)))
    with pytest.raises(InputError, match=r"other_1\.json: found frame 1 twice"):
        open_array(folder)
    (folder / "other_1.json").rename(folder / "other_600000.json")
    for whole in (True, False):
        with pytest.raises(InputError, match=r"found 2 files numbered 1 to 600000, expected one"):
            open_array(folder, whole=whole)


def test_folders_of_mediapipe_are_read_in_each_of_its_forms(tmp_path: Path) -> None:
    def landmarks(count: int, **more: float) -> list[dict[str, float]]:
        return [{"x": 0.5, "y": i / 600, "z": 0.1, **more} for i in range(count)]

    folder = tmp_path / "clip"
    folder.mkdir()
    frames = [
        {
            "poseLandmarks": landmarks(33, visibility=0.9),
            "faceLandmarks": landmarks(478),
            # Python's protobuf says 0 where a hand has no visibility of its own.
            "leftHandLandmarks": landmarks(21, visibility=0.0),
        },
        {"pose_landmarks": {"landmark": landmarks(33, visibility=0.0)}},
        {"pose_landmarks": [], "right_hand_landmarks": [landmarks(21)], "face_landmarks": None},
    ]
    for number, frame in enumerate(frames):
        (folder / f"{number}.json").write_text(json.dumps(frame))

    read = signal(skeleton="mediapipe", channels=None, aspect_ratio=2.0).read(WholeFile(folder))

    places = SKELETONS["mediapipe"].group_indices
    there = ~np.isnan(read[..., 0])
    assert there[0, places["body"]].all()
    assert there[0, places["left_hand"]].all()
    assert there[0, places["face"]].all()
    assert not there[0, places["right_hand"]].any()
    assert not there[1].any()  # seen by nobody: visibility 0
    assert there[2, places["right_hand"]].all()
    assert read[0, 0, 0] == 1.0  # half of a picture twice as wide as high


def test_a_clip_without_points_or_movement_is_empty(tmp_path: Path) -> None:
    gone = np.full((5, 4, 2), np.nan, np.float32)
    one = signal(channels=None)
    assert one.emptiness_in(WholeFile(write_npy(tmp_path, gone))) is Emptiness.NO_POINTS
    still = np.repeat(POINTS[:1, :, :2], 5, axis=0)
    assert one.emptiness_in(WholeFile(write_npy(tmp_path, still))) is Emptiness.UNCHANGED
    assert one.emptiness_in(WholeFile(write_npy(tmp_path, POINTS[..., :2]))) is None


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "found neither of dim and skeleton"),
        ({"dim": 3, "skeleton": "openpose"}, "found both of dim and skeleton"),
        ({"dim": 3, "zeros": "missing"}, "zeros is for poses"),
        ({"skeleton": "openpos"}, "expected one of openpose, mediapipe, coco_wholebody"),
        ({"skeleton": "openpose", "channels": ("x", "z")}, "expected x, y among them"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    settings: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        ArraySettings(**settings)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"groups": {"body": ("left", "ear")}}, "'ear', which is none of the points"),
        ({"edges": (("left", "neck"),)}, "'neck', which is in no group"),
        ({"shoulders": ("left", "neck")}, "shoulders: found 'neck'"),
        ({"points": ("nose", "left", "right", "left")}, "found 'left' twice"),
        ({"mirrored": (("left", "right"), ("right", "nose"))}, "mirrored: found 'right' twice"),
    ],
)
def test_a_skeleton_of_ones_own_is_checked(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Skeleton(**{**SKELETON.model_dump(), **change})


def test_each_skeleton_mirrors_onto_itself() -> None:
    for one in SKELETONS.values():
        order = one.mirror_order
        assert [order[place] for place in order] == list(range(len(one.used)))
        left, right = (one.group_indices[f"{side}_hand"] for side in ("left", "right"))
        assert [order[place] for place in left] == right
