import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unglossed.media.augment import AugmentationConfig, generator_for, render_view

STILL = AugmentationConfig(
    probability=1.0, rotation_degrees=0.0, resize_fraction=0.0, shift_pixels=0.0
)


def smooth_picture(height, width, seed=0):
    rough = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    return cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)


def brightest_place(picture):
    """Centre of the bright spot in (x, y), in pixels from the picture's corner."""
    weights = picture[..., 0].astype(float)
    rows, columns = np.mgrid[0 : weights.shape[0], 0 : weights.shape[1]] + 0.5
    return np.array([(columns * weights).sum(), (rows * weights).sum()]) / weights.sum()


def spot(height, width, x, y, radius=6):
    picture = np.zeros((height, width, 3), np.uint8)
    return cv2.circle(picture, (x, y), radius, (255, 255, 255), -1, cv2.LINE_AA)


@pytest.mark.parametrize(
    ("height", "width", "resize", "method"),
    [(260, 210, 256, cv2.INTER_LINEAR), (260, 210, 72, cv2.INTER_AREA)],
)
def test_evaluation_is_resize_and_centre_crop(height, width, resize, method):
    frames = np.stack([smooth_picture(height, width, seed) for seed in range(3)])
    crop = resize - 8
    view = render_view(frames, resize, crop, AugmentationConfig(), None)
    for frame, seen in zip(frames, view, strict=True):
        square = cv2.resize(frame, (resize, resize), interpolation=method)
        assert (seen == square[4:-4, 4:-4]).all()


@given(st.integers(40, 300), st.integers(40, 300), st.integers(16, 120))
def test_augmentation_that_moves_nothing_changes_no_pixel(height, width, resize):
    frames = smooth_picture(height, width)[None]
    moved = render_view(frames, resize, resize, STILL, np.random.default_rng(0))
    plain = render_view(frames, resize, resize)
    assert np.abs(moved.astype(int) - plain).max() <= 1


def test_every_frame_of_a_clip_is_moved_alike():
    frames = np.repeat(smooth_picture(90, 70)[None], 4, axis=0)
    view = render_view(frames, 72, 64, AugmentationConfig(1.0), np.random.default_rng(3))
    assert (view == view[0]).all()
    assert (view[0] != render_view(frames, 72, 64)[0]).any()


def test_same_key_same_view_and_other_epoch_other_view():
    frames = smooth_picture(90, 70)[None]
    views = [
        render_view(frames, 72, 64, AugmentationConfig(1.0), generator_for(0, epoch, "clip"))
        for epoch in (0, 0, 1)
    ]
    assert (views[0] == views[1]).all()
    assert (views[0] != views[2]).any()


@pytest.mark.parametrize(("height", "width"), [(260, 210), (100, 128)])
@pytest.mark.parametrize("resize", [128, 64])
def test_shift_is_ten_pixels_of_256(height, width, resize):
    frames = spot(height, width, width // 2, height // 2, radius=12)[None]
    config = AugmentationConfig(1.0, rotation_degrees=0, resize_fraction=0, shift_pixels=10)
    before = brightest_place(render_view(frames, resize, resize)[0])
    moves = np.array(
        [
            brightest_place(
                render_view(frames, resize, resize, config, np.random.default_rng(seed))[0]
            )
            - before
            for seed in range(200)
        ]
    )
    reach = 10 * resize / 256
    assert np.abs(moves).max() <= reach + 0.05
    assert moves.max(axis=0) == pytest.approx([reach, reach], rel=0.1)
    assert moves.min(axis=0) == pytest.approx([-reach, -reach], rel=0.1)


@pytest.mark.parametrize("resize", [200, 60])
def test_rotation_and_zoom_stay_within_bounds_and_keep_shapes_rigid(resize):
    # A wide clip: were the rotation done in the square, distances would change with the angle.
    frames = spot(100, 200, 130, 50, radius=5)[None]
    centre = np.array([100.0, 50.0])

    def offsets(config):
        scale = np.array([200, 100]) / resize
        views = (
            render_view(frames, resize, resize, config, np.random.default_rng(seed))[0]
            for seed in range(100)
        )
        return np.array([brightest_place(view) * scale - centre for view in views])

    turned = offsets(AugmentationConfig(1.0, 30, 0, 0))
    angles = np.degrees(np.arctan2(turned[:, 1], turned[:, 0]))
    assert np.hypot(*turned.T) == pytest.approx(np.full(100, 30.0), abs=1.2)
    assert 25 < angles.max() <= 31.5
    assert -31.5 <= angles.min() < -25

    zoomed = np.hypot(*offsets(AugmentationConfig(1.0, 0, 0.2, 0)).T) / 30
    assert 0.78 <= zoomed.min() < 0.83
    assert 1.17 < zoomed.max() <= 1.22


def test_half_of_the_clips_are_not_rotated():
    frames = smooth_picture(72, 72)[None]
    plain = render_view(frames, 72, 72)
    config = AugmentationConfig(0.5, rotation_degrees=30, resize_fraction=0, shift_pixels=0)
    same = [
        np.abs(
            render_view(frames, 72, 72, config, generator_for(0, 0, str(clip))).astype(int) - plain
        ).max()
        <= 1
        for clip in range(400)
    ]
    assert 0.42 < np.mean(same) < 0.58


def test_training_crops_everywhere_without_augmentation():
    frames = smooth_picture(16, 16)[None]
    square = render_view(frames, 16, 16)[0]
    places = set()
    for seed in range(300):
        view = render_view(frames, 16, 14, None, np.random.default_rng(seed))[0]
        places |= {
            (top, left)
            for top in range(3)
            for left in range(3)
            if (square[top : top + 14, left : left + 14] == view).all()
        }
    assert places == {(top, left) for top in range(3) for left in range(3)}


def test_thin_lines_survive_shrinking():
    # Each line is one pixel wide and six apart: picking pixels would lose or double them.
    frame = np.zeros((240, 240, 3), np.uint8)
    frame[:, ::6] = 255
    view = render_view(frame[None], 40, 40, AugmentationConfig(0.0), np.random.default_rng(0))
    assert np.abs(view.astype(int) - 255 / 6).max() <= 1


def test_colour_changes_a_clip_as_a_whole_and_nothing_of_its_geometry():
    frames = np.stack([smooth_picture(72, 72)] * 3)
    plain = render_view(frames, 72, 72)
    config = AugmentationConfig(1.0, 0, 0, 0, colour=0.3)
    views = [
        render_view(frames, 72, 72, config, np.random.default_rng(seed)).astype(int)
        for seed in range(50)
    ]
    assert all((view == view[:1]).all() for view in views)
    gains = [(view[0].std() / plain[0].std()) for view in views]
    assert min(gains) < 0.8
    assert max(gains) > 1.1
    # Equal values stay equal: only a table of values was applied, channel by channel.
    for channel in range(3):
        values = plain[0, ..., channel].ravel()
        told = dict(zip(values, views[0][0, ..., channel].ravel(), strict=True))
        assert [told[old] for old in values] == views[0][0, ..., channel].ravel().tolist()


def test_without_colour_the_other_draws_are_what_they_were():
    frames = smooth_picture(72, 72)[None]
    moved = [
        render_view(frames, 72, 64, AugmentationConfig(colour=colour), np.random.default_rng(5))
        for colour in (0.0, 1e-9)
    ]
    assert np.abs(moved[0].astype(int) - moved[1]).max() <= 1
