"""Checkpoints: whole ones count, half-written ones do not."""

import json
from pathlib import Path

from unglossed.training.checkpoint import latest_checkpoint, mark_complete


def test_the_newest_whole_checkpoint_counts_and_broken_ones_go(tmp_path: Path) -> None:
    for step in (9, 10, 100, 101):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "model.safetensors").write_text("weights")
        best = f"/elsewhere/run/1-stage/checkpoint-{min(step, 10)}"
        state = {"global_step": step, "best_model_checkpoint": best}
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps(state))
    (tmp_path / "features").mkdir()
    for step in (9, 10, 100):
        mark_complete(tmp_path / f"checkpoint-{step}")

    assert latest_checkpoint(tmp_path) == tmp_path / "checkpoint-100"
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"checkpoint-9", "checkpoint-10", "checkpoint-100", "features"}
    # A run that was moved: the best one is named where it lies now.
    state = json.loads((tmp_path / "checkpoint-100" / "trainer_state.json").read_text())
    assert state == {
        "global_step": 100,
        "best_model_checkpoint": str(tmp_path / "checkpoint-10"),
    }


def test_without_a_whole_checkpoint_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-5").mkdir()

    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / "nowhere") is None
    assert not list(tmp_path.iterdir())
