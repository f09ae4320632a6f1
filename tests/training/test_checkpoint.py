"""Checkpoints: whole ones count, half-written ones do not."""

from pathlib import Path

from unglossed.training.checkpoint import latest_checkpoint, mark_complete


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
