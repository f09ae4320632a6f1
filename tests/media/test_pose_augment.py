"""Augmentation of poses: each change by itself, and sides that change places with their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unglossed.media.array_settings import ArraySettings
from unglossed.media.array_signal import ArraySignal
from unglossed.media.augment import generator_for
from unglossed.media.pose_augment import PoseAugmentation, Variation, shoulder_width
from unglossed.media.signal import WholeFile
from unglossed.media.skeletons import SKELETONS

SKELETON = SKELETONS["coco_wholebody"]
POINTS = 100 * np.random.default_rng(0).random((50, 133, 2)).astype(np.float32) + 1
NONE: dict[str, Any] = {"rotation_degrees": 0.0, "scale": 0.0}


def vary(points: Any = POINTS, seed: int = 0, **settings: Any) -> Any:
    used = points[:, [SKELETON.points.index(name) for name in SKELETON.used]]
    drawn = Variation.draw(PoseAugmentation(**{**NONE, **settings}), generator_for(seed, 0, "clip"))
    return used, drawn.apply(used, SKELETON)


def test_nothing_changes_where_nothing_is_asked_for() -> None:
    before, after = vary()
    assert np.array_equal(before, after)


def test_a_mirrored_clip_has_its_sides_exchanged_and_twice_it_is_itself() -> None:
    before, after = vary(mirror=1.0)
    left, right = (SKELETON.group_indices[f"{side}_hand"] for side in ("left", "right"))
    assert np.array_equal(after[:, left, 0], -before[:, right, 0])
    assert np.array_equal(after[:, left, 1], before[:, right, 1])
    nose = SKELETON.used.index("body.nose")
    assert np.array_equal(after[:, nose, 0], -before[:, nose, 0])
    one, other = SKELETON.shoulder_indices
    assert np.array_equal(after[:, one, 0], -before[:, other, 0])


def test_a_rotation_keeps_distances_and_a_scale_does_not() -> None:
    before, turned = vary(rotation_degrees=30.0)
    assert not np.allclose(before, turned)
    assert shoulder_width(turned, SKELETON) == pytest.approx(shoulder_width(before, SKELETON), 1e-5)
    _, scaled = vary(scale=0.5)
    ratio = scaled / before
    assert np.ptp(ratio[..., 0]) < 1e-4
    assert 0.5 <= ratio[0, 0, 0] <= 1.5


def test_noise_is_in_widths_of_the_shoulders() -> None:
    before, after = vary(noise=0.1)
    width = shoulder_width(before, SKELETON)
    assert np.std(after - before) == pytest.approx(0.1 * width, rel=0.05)


def test_one_hand_is_dropped_whole() -> None:
    for seed in range(4):
        _, after = vary(seed=seed, drop_hand=1.0)
        gone = [
            np.isnan(after[:, SKELETON.group_indices[f"{s}_hand"]]).all() for s in ("left", "right")
        ]
        assert sorted(gone) == [False, True]
        assert np.isnan(after).sum() == 50 * 21 * 2


def read(tmp_path: Path, epoch: int = 0, limit: int | None = None, **settings: Any) -> Any:
    np.save(tmp_path / "clip.npy", POINTS)
    augmentation = PoseAugmentation(**{**NONE, **settings})
    signal = ArraySignal(ArraySettings(skeleton="coco_wholebody", augmentation=augmentation))
    assert signal.varies
    return signal.read(WholeFile(tmp_path / "clip.npy"), generator_for(0, epoch, "a"), limit=limit)


def test_dropped_frames_leave_the_others_at_their_times(tmp_path: Path) -> None:
    found = read(tmp_path, drop_frames=0.3)
    assert len(found) == 35
    steps = np.diff(found[:, 0, -1]) * 25
    assert steps.min() == pytest.approx(1, abs=1e-4)
    assert steps.max() >= 2 - 1e-4
    numbers = np.rint(found[:, 0, -1] * 25).astype(int)
    assert np.array_equal(found[:, 0, 0], POINTS[numbers, 0, 0])


def test_a_drawn_rate_keeps_the_seconds_and_never_cuts(tmp_path: Path) -> None:
    found = [read(tmp_path, epoch, rates=(25.0, 50.0)) for epoch in range(4)]
    counts = {len(one) for one in found}
    assert len(counts) > 1
    assert all(50 <= count <= 100 for count in counts)
    assert all(one[-1, 0, -1] == pytest.approx(2, abs=0.05) for one in found)
    cut = read(tmp_path, limit=60, rates=(50.0, 50.0))
    assert len(cut) <= 60
    assert cut[-1, 0, -1] == pytest.approx(2, abs=0.05)


def test_draws_depend_on_clip_and_epoch_alone(tmp_path: Path) -> None:
    settings = {"mirror": 0.5, "noise": 0.01, "drop_frames": 0.1, "rotation_degrees": 10.0}
    one, again, other = (read(tmp_path, epoch, **settings) for epoch in (0, 0, 1))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_rates_have_to_rise() -> None:
    with pytest.raises(ValueError, match="expected the lower one first"):
        PoseAugmentation(rates=(50.0, 25.0))
