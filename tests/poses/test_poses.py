"""`unglossed poses` with models in ONNX: what is found, what is written, and how it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from spot_models import NUM_RED, write_detector, write_pose_model, write_steps_model
from unglossed.cli import app
from unglossed.corpora.check import check_corpus
from unglossed.corpora.check_media import Needs
from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError
from unglossed.files import file_checksum
from unglossed.media.array_files import open_array
from unglossed.media.array_settings import ArraySettings
from unglossed.media.array_signal import ArraySignal
from unglossed.media.skeletons import SKELETONS
from unglossed.poses.estimate import _Work, estimate_poses
from unglossed.poses.estimator import Estimator, EstimatorSettings, ModelFile

SIZE = 120, 90
NUM_FRAMES = 6
NUM_CLIPS = 10


def draw(width: int, height: int, red: tuple[int, int], blue: tuple[int, int] | None) -> np.ndarray:
    """A picture (RGB) with a red spot and a blue one, brightest at their centers."""
    picture = np.zeros((height, width, 3), np.float32)
    rows, columns = np.mgrid[:height, :width]
    for channel, center in ((0, red), (2, blue)):
        if center is not None:
            distance = (columns - center[0]) ** 2 + (rows - center[1]) ** 2
            picture[..., channel] = 255 * np.exp(-distance / 72)
    return picture.round().astype(np.uint8)


def centers(clip: int, frame: int) -> tuple[tuple[int, int], tuple[int, int] | None]:
    red = 20 + 8 * clip, 25 + 6 * frame
    return red, None if frame == 3 else (95 - 7 * clip, 60 - 4 * frame)


@pytest.fixture
def spec(tmp_path: Path) -> str:
    """A table of ten clips, in which two spots move."""
    rows = []
    for clip in range(NUM_CLIPS):
        folder = tmp_path / f"clips/{clip}"
        folder.mkdir(parents=True)
        for frame in range(NUM_FRAMES):
            picture = draw(*SIZE, *centers(clip, frame))
            assert cv2.imwrite(str(folder / f"{frame:02d}.png"), picture[..., ::-1])
        split = ("train", "dev")[clip % 3 == 2]
        rows.append({"id": f"c{clip}", "media": f"clips/{clip}", "text": "satz", "split": split})
    return table(tmp_path, rows)


def table(folder: Path, rows: list[dict[str, object]]) -> str:
    lines = [json.dumps({"language": "de", **row}) + "\n" for row in rows]
    (folder / "own.jsonl").write_text("".join(lines), encoding="utf-8")
    return f"table:{folder / 'own.jsonl'}"


def model_file(path: Path) -> ModelFile:
    return ModelFile(path, file_checksum(path))


@pytest.fixture
def settings(tmp_path: Path) -> EstimatorSettings:
    return EstimatorSettings(
        "rtmpose", model=model_file(write_pose_model(tmp_path / "pose.onnx", width=96, height=128))
    )


def estimate(spec, out, settings, *, num_workers=1, **options):
    return estimate_poses(spec, out, settings, num_workers=num_workers, progress=False, **options)


def content(folder: Path) -> dict[str, bytes]:
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_points_are_where_they_are_seen_and_missing_where_they_are_not(spec, settings, tmp_path):
    done = estimate(spec, tmp_path / "out", settings)

    assert (done.num_new, done.num_before, done.failed) == (NUM_CLIPS, 0, {})
    for clip in (0, 2, 9):
        file = open_array(next((tmp_path / "out").rglob(f"c{clip}.npz")))
        assert file.values.shape == (NUM_FRAMES, 133, 3)
        for frame in range(NUM_FRAMES):
            red, blue = centers(clip, frame)
            found = file.values[frame]
            assert np.abs(found[:NUM_RED, :2] - red).max() < 1.6, (clip, frame)
            if blue is None:
                assert np.isnan(found[NUM_RED:, :2]).all()
                assert not found[NUM_RED:, 2].any()
            else:
                assert np.abs(found[NUM_RED:, :2] - blue).max() < 1.6
                assert (found[NUM_RED:, 2] > 1).all()  # scores as the model gives them
    assert (file.told.width, file.told.height, file.told.rate) == (*SIZE, 25)
    assert (file.told.units, file.told.channels) == ("pixels", ("x", "y", "confidence"))
    assert file.told.points == SKELETONS["coco_wholebody"].points
    # Of 60 frames 10 have no blue spot; the hands are blue, body and face red.
    assert str(done) == (
        f"{tmp_path / 'out'}: poses of 10 clips, 10 of them now\nfound in 60 frames: body 100.0%,"
        " left hand 83.3%, right hand 83.3%, face 100.0%"
    )


def test_a_recipe_reads_them_beside_the_corpus(spec, settings, tmp_path):
    estimate(spec, tmp_path / "out", settings, only_read=True)

    beside = f"{spec}?features={tmp_path / 'out'}"
    reads = ArraySettings(skeleton="coco_wholebody", rate=25)
    report = check_corpus(beside, deep=True, needs=Needs("array", reads), num_workers=1)
    assert not report.has_errors, str(report)
    sample = read_corpus(beside).split("dev")[0]
    assert sample.media == tmp_path / "out/dev/c2.npz"
    read = ArraySignal(reads).read(sample)
    used = SKELETONS["coco_wholebody"].used
    assert read.shape == (NUM_FRAMES, len(used), 3)
    assert np.abs(read[1, used.index("body.nose"), :2] - centers(2, 1)[0]).max() < 1.6
    assert np.isnan(read[3, used.index("left_hand.8"), :2]).all()
    assert open_array(sample.media).values.shape[1] == len(used) < 133


def test_the_detector_finds_the_largest_person_or_nobody(settings, tmp_path):
    detector = model_file(write_detector(tmp_path / "detector.onnx"))
    with (
        Estimator(EstimatorSettings("rtmpose", model=settings.model, detector=detector)) as running,
        Estimator(settings) as whole,
    ):
        picture = draw(400, 300, (300, 80), (310, 85))
        close, far = running.points(picture), whole.points(picture)
        assert np.abs(close[:NUM_RED, :2] - (300, 80)).max() < 1
        # Without a box a step of the model is four pixels and more.
        assert np.abs(close[0, :2] - (300, 80)).max() < np.abs(far[0, :2] - (300, 80)).max()
        nobody = running.points(draw(400, 300, (500, 500), (310, 85)))
        assert np.isnan(nobody[:, :2]).all()
        assert not nobody[:, 2].any()


def test_rows_a_second_and_parts_of_a_clip(spec, settings, tmp_path):
    media = "clips/4"
    rows = [
        {"id": "whole", "media": media, "text": "a", "split": "train"},
        {"id": "part", "media": media, "text": "a", "split": "train", "start": 0.08, "end": 0.16},
    ]
    spec = table(tmp_path, rows)
    estimate(spec, tmp_path / "one", settings)
    estimate(spec, tmp_path / "two", settings, rate=50)

    whole, part, twice = (
        open_array(tmp_path / name).values
        for name in ("one/train/whole.npz", "one/train/part.npz", "two/train/whole.npz")
    )
    assert np.array_equal(part, whole[2:4], equal_nan=True)
    assert len(twice) == 2 * len(whole)
    assert open_array(tmp_path / "two/train/whole.npz").told.rate == 50


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_killed_call_goes_on_to_the_same_files(spec, settings, tmp_path, num_workers):
    estimate(spec, tmp_path / "whole", settings, num_workers=2)
    picture = tmp_path / "clips/7/02.png"  # reading it takes for ever
    data = picture.read_bytes()
    picture.unlink()
    os.mkfifo(picture)
    mark = f"UNGLOSSED_TEST={tmp_path}"
    process = subprocess.Popen(
        command_of(spec, tmp_path / "out", settings, num_workers),
        stdout=subprocess.PIPE,
        env={**os.environ, "UNGLOSSED_TEST": str(tmp_path)},
    )
    while len(list((tmp_path / "out").rglob("*.npz"))) < 5:
        assert process.poll() is None
        time.sleep(0.01)
    running = processes_with(mark)
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -9
    assert len(running) >= 2 * num_workers  # workers of ours, and their estimators
    deadline = time.monotonic() + 60
    while processes_with(mark):
        assert time.monotonic() < deadline, "an estimator outlived its parent"
        time.sleep(0.05)
    picture.unlink()
    picture.write_bytes(data)

    done = estimate(spec, tmp_path / "out", settings, num_workers=num_workers)

    assert (done.num_before + done.num_new, done.failed) == (NUM_CLIPS, {})
    assert done.num_before >= 5
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    again = estimate(spec, tmp_path / "out", settings)
    assert str(again) == f"{tmp_path / 'out'}: poses of 10 clips, all made before"


@pytest.mark.parametrize("num_workers", [1, 2])
def test_ctrl_c_leaves_whole_files_and_no_process(spec, settings, tmp_path, num_workers):
    picture = tmp_path / "clips/7/02.png"  # reading it takes for ever
    picture.unlink()
    os.mkfifo(picture)
    process = subprocess.Popen(
        command_of(spec, tmp_path / "out", settings, num_workers),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env={**os.environ, "UNGLOSSED_TEST": str(tmp_path)},
    )
    while len(list((tmp_path / "out").rglob("*.npz"))) < 5:
        assert process.poll() is None
        time.sleep(0.01)

    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to the estimators, too

    _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (130, "stopped; run the same command again to go on\n")
    assert not processes_with(f"UNGLOSSED_TEST={tmp_path}")
    names = [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert all(name.endswith((".npz", "poses.json")) and name[0] != "." for name in names)


def command_of(spec, out, settings, num_workers) -> list[str]:
    model = settings.model
    command = [sys.executable, "-m", "unglossed", "poses", spec, out, "--with", "rtmpose"]
    command += ["--model", model.path, "--sha256", model.sha256, "--workers", num_workers]
    return [str(word) for word in command]


def processes_with(variable: str) -> list[int]:
    """Processes with this in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if variable.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_a_damaged_clip_is_a_line_and_is_tried_again(spec, settings, tmp_path):
    damaged = tmp_path / "clips/5/02.png"
    data = damaged.read_bytes()
    damaged.write_bytes(data[:60])
    command = command_of(spec, tmp_path / "out", settings, 1)[3:]

    result = CliRunner().invoke(app, command)

    assert result.exit_code == 1
    told, total, *_ = result.stderr.splitlines()
    assert told.startswith("note: no poses of 'c5': ")
    assert "clips/5/02.png" in told
    assert total.endswith("poses of 9 clips, 9 of them now; 1 failed")
    assert not list((tmp_path / "out").rglob("c5*"))
    damaged.write_bytes(data)
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0
    assert "poses of 10 clips, 1 of them now" in result.stderr
    assert len(list((tmp_path / "out").rglob("*.npz"))) == NUM_CLIPS


def test_what_changed_or_was_damaged_is_made_anew(spec, settings, tmp_path):
    estimate(spec, tmp_path / "out", settings)
    before = content(tmp_path / "out")
    damaged = tmp_path / "out/dev/c2.npz"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    rows = [json.loads(line) for line in (tmp_path / "own.jsonl").read_text().splitlines()]
    rows[0]["text"] = "ein anderer satz"
    rows[1]["end"] = 0.12
    table(tmp_path, rows)

    done = estimate(spec, tmp_path / "out", settings)

    assert (done.num_before, done.num_new) == (8, 2)
    after = content(tmp_path / "out")
    assert [name for name in before if before[name] != after[name]] == ["train/c1.npz"]
    assert len(open_array(tmp_path / "out/train/c1.npz").values) == 3


def test_an_estimator_that_dies_costs_one_clip(spec, settings):
    first, second, third = read_corpus(spec).split("train")[:3]
    work = _Work(settings, 25.0)
    assert work(first).values.shape == (NUM_FRAMES, 133, 3)
    os.kill(work._running._process.pid, signal.SIGKILL)
    done = work(second)
    assert done.values is None
    assert done.error == "the estimator's process was ended or crashed (code -9)"
    assert work(third).error is None
    work.close()


def test_other_settings_in_a_folder_are_refused(spec, settings, tmp_path):
    out = tmp_path / "out"
    estimate(spec, out, settings, splits=["dev"])
    before = content(out)
    other = EstimatorSettings(
        "rtmpose", model=model_file(write_pose_model(tmp_path / "other.onnx", width=32, height=32))
    )
    with pytest.raises(InputError, match=r"poses.json: poses were made with rate 25.0, not 50.0"):
        estimate(spec, out, settings, rate=50)
    with pytest.raises(InputError, match=r"made with points 'all', not 'read': expected the same"):
        estimate(spec, out, settings, only_read=True)
    with pytest.raises(InputError, match=r"made with models \{'model': '\w{64}'\}, not \{'model'"):
        estimate(spec, out, other)
    with pytest.raises(InputError, match=r"made with source 'table:.*own.jsonl', not 'table:.*lan"):
        estimate(f"{spec}?language=de", out, settings)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/a.txt").write_text("mine")
    with pytest.raises(InputError, match=r"full: exists already, expected a new or an empty"):
        estimate(spec, tmp_path / "full", settings)
    assert content(out) == before
    assert estimate(spec, out, settings).num_new == 7  # another split goes on


def test_models_have_to_be_the_ones_that_were_named(spec, settings, tmp_path):
    path, out = settings.model.path, tmp_path / "out"
    found = settings.model.sha256
    for model, told in [
        (None, "--model: found none, expected the ONNX file that rtmpose runs"),
        (ModelFile(tmp_path / "gone.onnx", "00"), r"gone.onnx: no such file"),
        (ModelFile(path, None), rf"--sha256: found none for .*pose.onnx, .*file's is {found}"),
        (ModelFile(path, "0" * 64), rf"pose.onnx: found the SHA-256 {found}, expected 0{{64}}"),
    ]:
        with pytest.raises(InputError, match=told):
            estimate(spec, out, EstimatorSettings("rtmpose", model=model))
    (tmp_path / "damaged.onnx").write_bytes(path.read_bytes()[:200])
    for model, told in [
        (tmp_path / "damaged.onnx", r"damaged.onnx: onnxruntime cannot load it: "),
        (write_pose_model(tmp_path / "17.onnx", points=108), r"of 108 points, expected the 133"),
        (write_steps_model(tmp_path / "heat.onnx"), r"the outputs heat, expected one \(1, 3, heig"),
    ]:
        with pytest.raises(InputError, match=told):
            estimate(spec, out, EstimatorSettings("rtmpose", model=model_file(model)))
    wrong = EstimatorSettings("rtmpose", model=settings.model, detector=settings.model)
    done = estimate(spec, tmp_path / "wrong", wrong, splits=["dev"])
    assert set(done.failed) == {"c2", "c5", "c8"}
    assert "of the detector, expected boxes with scores (1, boxes, 5)" in done.failed["c2"]
    assert not out.exists()


def test_environments_that_lack_something_are_told_in_a_line(spec, settings, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"--with: found 'openpose', expected one of mediapipe, r"):
        estimate(spec, out, EstimatorSettings("openpose"))
    with pytest.raises(InputError, match=r"--model: found one, but mediapipe has its models in"):
        estimate(spec, out, EstimatorSettings("mediapipe", model=settings.model))
    with pytest.raises(InputError, match=r"found no interpreter .*nowhere, expected the folder"):
        estimate(spec, out, EstimatorSettings("mediapipe", python=tmp_path / "nowhere"))
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\necho 'no such option' >&2\nexit 3\n")
    other.chmod(0o755)
    with pytest.raises(InputError, match=r"python: .* crashed \(code 3\): no such option$"):
        estimate(spec, out, EstimatorSettings("mediapipe", python=other))
    bare = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    with pytest.raises(InputError, match=r"env/bin/python: .*No module named 'numpy'"):
        estimate(spec, out, EstimatorSettings("mediapipe", python=bare))
    # Here is numpy, but no mediapipe that still has holistic.
    with pytest.raises(InputError, match=r"expected 0.10.21: pip install mediapipe==0.10.21$"):
        estimate(spec, out, EstimatorSettings("mediapipe"))
    assert not out.exists()


def test_ids_that_no_file_can_have_are_told(spec, settings, tmp_path):
    ids = ["a/b", "../up", ".hidden", "x" * 300, "每日.1"]
    rows = [{"id": id, "media": "clips/0", "text": "a", "split": "train"} for id in ids]
    spec = table(tmp_path, rows)

    done = estimate(spec, tmp_path / "out", settings)

    assert set(done.failed) == {"../up", ".hidden", "x" * 300}
    assert "expected one that can be the name of a file" in done.failed["../up"]
    rows = [row for row in rows if row["id"] not in done.failed]
    corpus = read_corpus(f"{table(tmp_path, rows)}?features={tmp_path / 'out'}")
    assert [one.media.name for one in corpus.split("train")] == ["b.npz", "每日.1.npz"]
    assert not (tmp_path / "up.npz").exists()


def test_audio_and_arrays_are_refused(spec, settings, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((4, 3), np.float32))
    spec = table(tmp_path, [{"id": "a", "media": "a.npy", "text": "a", "split": "train"}])
    with pytest.raises(InputError, match=r"found arrays \(.*a.npy\), expected frames or videos"):
        estimate(spec, tmp_path / "out", settings)
