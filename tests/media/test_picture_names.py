"""Which pictures of a folder are frames, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from unglossed.errors import InputError
from unglossed.media.frames import open_frames, read_frames
from unglossed.media.pictures import order_pictures, pictures_each

FOLDER = Path("clip")


@pytest.mark.parametrize(
    "names",
    [
        ["images0001.png", "images0002.png", "images0010.png"],
        ["1.png", "2.png", "10.png"],
        ["0.jpg", "1.jpeg", "2.JPG"],
        ["Shot_1.png", "shot_2.png", "SHOT_3.png"],
        ["take_7.png", "take_8.png", "again_9.png"],
        ["00-00-09-960.png", "00-00-10-0.png", "00-00-10-40.png"],
        ["0.0.png", "0.04.png", "0.08.png", "0.12.png", "0.2.png", "0.24.png", "1.0.png"],
        ["1.8.png", "1.9.png", "1.10.png"],
        ["a.png", "b.png", "c.jpg"],
    ],
)
def test_one_row_of_frames_is_ordered_by_its_numbers(names: list[str]) -> None:
    assert order_pictures(FOLDER, [*names[1:], names[0]]) == names


@pytest.mark.parametrize(
    ("names", "two"),
    [
        (["1.png", "2.png", "1_mask.png", "2_mask.png"], ("1.png", "1_mask.png")),
        (["1.png", "2.png", "2.alpha.png"], ("2.png", "2.alpha.png")),
        (["depth_1.png", "rgb_1.png", "rgb_2.png"], ("rgb_1.png", "depth_1.png")),
        (["cam2_7.png", "cam2_8.png", "mask3_8.png"], ("cam2_8.png", "mask3_8.png")),
        (["0001.png", "0002.png", "0002.jpg"], ("0002.jpg", "0002.png")),
        (["0001.png", "1.png", "2.png"], ("0001.png", "1.png")),
        (["1.png", "2.png", "2 - Copy.png"], ("2.png", "2 - Copy.png")),
        (["1.png", "1_seg.png"], ("1.png", "1_seg.png")),
    ],
)
def test_two_pictures_of_one_number_are_refused(names: list[str], two: tuple[str, str]) -> None:
    with pytest.raises(InputError, match=r"^clip: found .* two pictures of one number") as caught:
        order_pictures(FOLDER, names)
    assert all(f" {name}" in str(caught.value) for name in two)


@pytest.mark.parametrize(
    "stray", ["thumbnail.jpg", "frame.png", "1_object1.png", "preview.0.2.png"]
)
def test_a_picture_that_is_no_part_of_the_row_is_refused(stray: str) -> None:
    expected = r"^clip: found 3 pictures as 1.png, 1 as .*, expected one row of frames: keep"
    with pytest.raises(InputError, match=expected) as caught:
        order_pictures(FOLDER, ["1.png", "2.png", "3.png", stray])
    assert stray in str(caught.value)


def test_several_pictures_of_each_number_are_guessed() -> None:
    eyes = [f"{number:04d}_{eye}.png" for number in range(1, 6) for eye in (0, 1)]
    assert pictures_each(eyes) == 2
    assert pictures_each(eyes[:-1]) == 1  # as of parts that differ in length
    assert pictures_each([f"part1_{number}.png" for number in range(9)]) == 1
    assert pictures_each(["1.png", "a.png"]) == 1


def test_hidden_files_and_those_of_file_managers_are_no_frames(tmp_path: Path) -> None:
    for name in ("1.png", "2.png", "._1.png", ".1.png", "Thumbs.db", "desktop.ini", "1.json"):
        (tmp_path / name).touch()
    (tmp_path / "3.png").mkdir()
    assert open_frames(tmp_path).num_frames == 2


def test_a_link_to_no_picture_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "1.png").symlink_to("gone.png")
    with pytest.raises(InputError, match=r"1\.png: cannot be read: no such file"):
        read_frames(tmp_path)
