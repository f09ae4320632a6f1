"""Checkpoints and folders: whole ones count, half-written ones do not."""

from pathlib import Path

import pytest

from unglossed.training.checkpoint import latest_checkpoint, mark_complete, whole_folder


def fail_within(target: Path, name: str) -> None:
    """Write one file of a folder, and fail before the rest is written."""
    with whole_folder(target) as partial:
        (partial / name).write_text("half")
        raise RuntimeError("disk full")


def test_the_newest_whole_checkpoint_counts_and_broken_ones_go(tmp_path: Path) -> None:
    for step in (9, 10, 100, 101):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "model.safetensors").write_text("weights")
    (tmp_path / "features").mkdir()
    for step in (9, 10, 100):
        mark_complete(tmp_path / f"checkpoint-{step}")

    assert latest_checkpoint(tmp_path) == tmp_path / "checkpoint-100"
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"checkpoint-9", "checkpoint-10", "checkpoint-100", "features"}


def test_without_a_whole_checkpoint_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-5").mkdir()

    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / "nowhere") is None
    assert not list(tmp_path.iterdir())


def test_a_whole_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "model"
    for content in ("old", "new"):
        with whole_folder(target) as partial:
            (partial / content).write_text(content)
            assert partial != target

    assert [path.name for path in target.iterdir()] == ["new"]
    assert [path.name for path in target.parent.iterdir()] == ["model"]


def test_a_folder_whose_writing_fails_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with whole_folder(target) as partial:
        (partial / "weights").write_text("old")

    with pytest.raises(RuntimeError, match="disk full"):
        fail_within(target, "weights")

    assert (target / "weights").read_text() == "old"


def test_leftovers_of_a_failed_writing_do_not_enter_the_next(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with pytest.raises(RuntimeError, match="disk full"):
        fail_within(target, "leftover")
    assert not target.exists()

    with whole_folder(target) as partial:
        (partial / "weights").touch()

    assert [path.name for path in target.iterdir()] == ["weights"]
