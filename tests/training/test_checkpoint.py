"""Checkpoints: whole ones count; half-written, damaged and other people's ones do not."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from unglossed.training.checkpoint import (
    LAST,
    checkpoints_of,
    find_fault,
    latest_checkpoint,
    put_away,
    rotate,
    seal,
)


class Code:
    """What runs when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch ran",)


def write_checkpoint(folder: Path, step: int) -> Path:
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    save_file({"weight": torch.arange(8.0) * step}, checkpoint / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt"):
        torch.save({"step": step, "values": torch.arange(4.0)}, checkpoint / name)
    state = {"global_step": step, "epoch": step / 4, "best_global_step": step}
    (checkpoint / "trainer_state.json").write_text(json.dumps(state), encoding="utf-8")
    (checkpoint / "config.json").write_text("{}", encoding="utf-8")
    (checkpoint / "training_args.bin").write_bytes(b"settings")
    seal(checkpoint)
    return checkpoint


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) * 2 // 3] ^= 1
    path.write_bytes(bytes(data))


def test_the_newest_whole_checkpoint_counts_and_half_written_ones_go(tmp_path: Path) -> None:
    for step in (8, 12, 100, 104):
        write_checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-104" / "complete").unlink()
    (tmp_path / "features").mkdir()

    assert latest_checkpoint(tmp_path) == tmp_path / "checkpoint-100"
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"checkpoint-8", "checkpoint-12", "checkpoint-100", "features"}


def test_without_a_whole_checkpoint_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-5").mkdir()

    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / "nowhere") is None
    assert not list(tmp_path.iterdir())


FILES = [
    "model.safetensors",
    "optimizer.pt",
    "scheduler.pt",
    "trainer_state.json",
    "config.json",
]


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing", "of another checkpoint"])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    name: str, damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    older, newer = (write_checkpoint(tmp_path, step) for step in (4, 8))
    path = newer / name
    if damage == "flipped":
        flip(path)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == "missing":
        path.unlink()
    else:
        (older / "config.json").write_text('{"other": 1}', encoding="utf-8")
        seal(older)
        shutil.copy(older / name, path)

    assert latest_checkpoint(tmp_path) == older
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"note: {path}: ")
    assert line.endswith("checkpoint-8 is skipped")
    assert newer.is_dir()


@pytest.mark.parametrize("name", [name for name in FILES if name != "config.json"])
def test_without_checksums_what_is_missing_or_cut_is_found_all_the_same(
    name: str, tmp_path: Path
) -> None:
    """As it was with checkpoints of older versions."""
    checkpoint = write_checkpoint(tmp_path, 4)
    (checkpoint / "checksums.json").unlink()
    assert find_fault(checkpoint) is None
    data = (checkpoint / name).read_bytes()

    (checkpoint / name).write_bytes(data[: len(data) // 2])
    assert str(checkpoint / name) in (find_fault(checkpoint) or "")
    (checkpoint / name).unlink()
    assert str(checkpoint / name) in (find_fault(checkpoint) or "")


def test_a_checkpoint_under_another_number_is_none(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 4).rename(tmp_path / "checkpoint-8")

    fault = find_fault(tmp_path / "checkpoint-8")

    assert "trainer_state.json: found step 4, expected that of checkpoint-8" in (fault or "")


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt"])
def test_code_in_a_checkpoint_is_not_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint = write_checkpoint(tmp_path, 4)
    torch.save({"step": Code()}, checkpoint / name)
    seal(checkpoint)

    fault = find_fault(checkpoint)

    assert fault is not None
    assert fault.startswith(f"{checkpoint / name}: ")
    assert "nothing in it is run" in fault
    assert "\n" not in fault
    assert not (tmp_path / "ran").exists()


def test_that_a_stage_begins_anew_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(write_checkpoint(tmp_path, 4) / "optimizer.pt")

    assert latest_checkpoint(tmp_path) is None
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == f"note: {tmp_path}: no checkpoint is whole: the stage begins anew"


def test_the_trainers_pickle_of_its_settings_is_not_kept(tmp_path: Path) -> None:
    assert not (write_checkpoint(tmp_path, 4) / "training_args.bin").exists()


def test_folders_of_other_names_are_left_alone(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    others = {"checkpoint-backup", "checkpoint-8-mine", "checkpoint-08", "checkpoint-", "my-4"}
    for name in others:
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes.txt").touch()
    (tmp_path / "checkpoint-7").touch()
    (tmp_path / "checkpoint-9").symlink_to(elsewhere)
    for step in (4, 8, 12, 16):
        write_checkpoint(tmp_path, step)

    assert [path.name for path in checkpoints_of(tmp_path)][:2] == ["checkpoint-4", "checkpoint-8"]
    assert latest_checkpoint(tmp_path) == tmp_path / "checkpoint-16"
    rotate(tmp_path, 16, 4)
    left = {path.name for path in tmp_path.iterdir()} - others
    assert left == {
        *(f"checkpoint-{number}" for number in (4, 7, 9, 12, 16)),
        "elsewhere",
    }
    put_away(tmp_path)
    left = {path.name for path in tmp_path.iterdir()} - others
    assert left == {LAST, "checkpoint-7", "checkpoint-9", "elsewhere"}
    assert all((tmp_path / name / "notes.txt").is_file() for name in others)


def test_the_newest_the_one_before_and_the_best_are_kept(tmp_path: Path) -> None:
    for step in (4, 8, 12, 16, 20):
        write_checkpoint(tmp_path, step)

    rotate(tmp_path, 16, 4)  # 20 was passed over as damaged: what follows writes it anew

    assert [path.name for path in checkpoints_of(tmp_path)] == [
        "checkpoint-4",
        "checkpoint-12",
        "checkpoint-16",
    ]
