"""Two streams of a clip: which of them are read, how long they are, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from unglossed.errors import InputError
from unglossed.inference.reading import ArraysOf
from unglossed.media.array_settings import ArraySettings
from unglossed.media.array_signal import ArraySignal
from unglossed.media.augment import generator_for
from unglossed.media.probe import Emptiness
from unglossed.media.signal import VideoSignal, WholeFile, signal_class
from unglossed.media.two_stream_signal import TwoStreamSignal
from unglossed.media.two_streams import StreamsSettings, TwoStreams, missing_told

WIDTH = 5


def signal(**drop: float) -> TwoStreamSignal:
    return TwoStreamSignal(
        VideoSignal(0.25), ArraySignal(ArraySettings(dim=WIDTH)), StreamsSettings(**drop), crop=32
    )


def clip(folder: Path, num_frames: int = 20, num_rows: int = 20, **changes: Any) -> WholeFile:
    """A folder of frames and an array, as far as they are wanted."""
    media, array = folder / "clip", folder / "clip.npy"
    if num_frames:
        tiny.write_frames(media, num_frames)
    if num_rows:
        rows = np.random.default_rng(0).normal(size=(num_rows, WIDTH))
        np.save(array, rows.astype(np.float32))
    return WholeFile(media, **{"array": array, **changes})


def test_both_streams_are_read(tmp_path: Path) -> None:
    found = signal().read(clip(tmp_path))
    assert (len(found), len(found.video), found.array.shape) == (5, 5, (20, WIDTH))
    assert found.missing is None
    assert isinstance(signal_class("streams")(), TwoStreamSignal)


@pytest.mark.parametrize("changes", [{"num_frames": 0}, {"num_rows": 0}, {"array": None}])
def test_one_is_enough_and_the_clip_is_as_long(changes: dict[str, Any], tmp_path: Path) -> None:
    where = clip(tmp_path, **changes)
    found = signal().read(where)
    missing = "video" if "num_frames" in changes else "array"
    assert found.missing == missing
    assert len(found) == 5
    assert len(getattr(found, missing)) == 0
    assert signal().seconds_of(where) == pytest.approx(0.8)
    assert f"there is no {missing}: " in str(signal().told(found))


def test_an_array_alone_and_parts_of_a_long_one(tmp_path: Path) -> None:
    where = clip(tmp_path, 50, 50)
    assert where.array is not None
    alone = signal().read(WholeFile(where.array))
    assert (alone.missing, len(alone), len(alone.array)) == ("video", 13, 50)
    times = {"start_seconds": 0.4, "end_seconds": 1.2}
    part = signal().read(WholeFile(where.media, array=where.array, **times))
    rows = np.load(where.array)
    assert (len(part), len(part.array)) == (5, 20)
    np.testing.assert_array_equal(part.array, rows[10:30])
    (tmp_path / "of_clip").mkdir()
    own = clip(tmp_path / "of_clip", 0, 20).array
    part = signal().read(WholeFile(where.media, array=own, array_is_clip=True, **times))
    np.testing.assert_array_equal(part.array, np.load(str(own)))


def test_neither_is_an_error_and_so_are_streams_of_two_clips(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"no video there and no array .*clip\.npy, expected one of"
    ):
        signal().read(clip(tmp_path, 0, 0))
    (tmp_path / "other").mkdir()
    other = clip(tmp_path / "other", 20, 60)
    with pytest.raises(
        InputError, match=r"clip\.npy: found 2\.4 seconds of array and 0\.8 of video"
    ):
        signal().read(other)
    (tmp_path / "other" / "clip.npy").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"clip\.npy"):
        signal().read(other)


def test_what_is_too_long_is_cut_in_both(tmp_path: Path) -> None:
    where = clip(tmp_path, 60, 60)
    found = signal().read(where, limit=5, cut=True)
    assert (len(found), len(found.video), len(found.array)) == (5, 5, 20)
    with pytest.raises(InputError, match=r"found 2\.4 seconds of video, expected at most 0\.8"):
        signal().read(where, limit=5)
    assert where.array is not None
    with pytest.raises(InputError, match=r"found 2\.4 seconds of array, expected at most 0\.8"):
        signal().read(WholeFile(where.array), limit=5)
    assert len(signal().read(WholeFile(where.array), limit=5, cut=True)) == 5


def test_training_drops_one_or_none_by_epoch_and_id(tmp_path: Path) -> None:
    where = clip(tmp_path)
    reader = signal(drop_video=0.25, drop_array=0.35)

    def kind(epoch: int) -> tuple[bool, bool]:
        found = reader.read(where, generator_for(0, epoch, "id"))
        assert found.missing is None  # it is there
        assert len(found) == 5
        return bool(len(found.video)), bool(len(found.array))

    kinds = [kind(epoch) for epoch in range(120)]
    assert kinds == [kind(epoch) for epoch in range(120)]
    assert (False, False) not in kinds
    assert 15 <= kinds.count((False, True)) <= 45
    assert 25 <= kinds.count((True, False)) <= 60
    assert all(len(reader.read(where).video) for _ in range(5))
    single = clip(tmp_path, 0, 0, array=None)
    always = signal(drop_video=1.0)
    assert len(always.read(single, generator_for(0, 0, "id")).video) == 5  # what there is stays


def test_a_clip_is_empty_where_all_that_is_there_is(tmp_path: Path) -> None:
    found = signal().read(clip(tmp_path))
    still = np.repeat(found.array[:1], 20, axis=0)
    black = np.zeros_like(found.video)
    assert signal().emptiness(found) is None
    assert signal().emptiness(TwoStreams(5, black, found.array, 4.0)) is None
    assert signal().emptiness(TwoStreams(5, found.video, still, 4.0)) is None
    assert signal().emptiness(TwoStreams(5, black, still, 4.0)) is Emptiness.BLACK
    assert signal().emptiness(TwoStreams(5, black[:0], still, 4.0)) is Emptiness.UNCHANGED


def test_the_note_says_what_training_never_did() -> None:
    never = missing_told("array", StreamsSettings(drop_video=0.1))
    assert never is not None
    assert "which training never did (streams.drop_array is 0)" in never
    once = missing_told("array", StreamsSettings(drop_array=0.1))
    assert once is not None
    assert "never" not in once


def test_arrays_are_found_beside_clips_in_a_folder_or_as_one(tmp_path: Path) -> None:
    where = clip(tmp_path)
    assert ArraysOf().find(where.media) == where.array
    assert ArraysOf(tmp_path).find(Path("elsewhere/clip.mp4")) == where.array
    assert ArraysOf(tmp_path).find(Path("elsewhere/other.mp4")) is None
    assert ArraysOf(where.array).find(Path("other.mp4")) == where.array
    assert where.array is not None
    assert ArraysOf().find(where.array) is None
    one = ArraysOf(where.array)
    one.find(Path("a.mp4"))
    with pytest.raises(InputError, match=r"found one, .*, for several clips, expected a folder"):
        one.find(Path("b.mp4"))
    np.savez(tmp_path / "clip.npz", values=np.ones((3, WIDTH)))
    with pytest.raises(InputError, match=r"found clip\.npy and clip\.npz, expected one array"):
        ArraysOf().find(where.media)
