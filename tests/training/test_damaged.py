"""Clips that cannot be read: left out, counted, listed, and an end where they are too many."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import set_seed

import tiny
from unglossed.errors import InputError
from unglossed.training.arguments import stage_arguments
from unglossed.training.callbacks import read_metrics
from unglossed.training.data import UNREADABLE, Collator, EpochIndex, LeftOut, Unreadable
from unglossed.training.settings import StageSettings
from unglossed.training.train import train_recipe
from unglossed.training.trainer import StageTrainer

RECIPE = Path(__file__).parents[1] / "end_to_end" / "tiny.yaml"
SHORT = [
    "stages.pretraining.epochs=1",
    "stages.visual_initialing.epochs=2",
    "stages.llm_fine_tuning.epochs=1",
]
PROCESSOR = tiny.tiny_processor()


def write_noise(path: Path, seed: int) -> None:
    """A video whose every picture costs many bytes, so that any of them can be damaged."""
    rng = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "1", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for _ in range(12):
            picture = rng.integers(0, 256, (32, 48, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def damage(path: Path) -> None:
    """Overwrite what lies in the middle of the pictures; the header stays whole."""
    data = bytearray(path.read_bytes())
    begin = data.index(b"mdat") + 800
    data[begin : begin + len(data) // 2] = bytes(len(data) // 2)
    path.write_bytes(data)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Six clips of train and three of dev, of which one each is damaged."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = ["id,media,text,split,language"]
    for number in range(9):
        split = "train" if number < 6 else "dev"
        write_noise(folder / f"{number}.mp4", number)
        rows.append(f"{split}{number},{number}.mp4,heute kommt der regen {number},{split},de")
    for number in (2, 7):
        damage(folder / f"{number}.mp4")
    (folder / "own.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return f"table:{folder / 'own.csv'}"


@pytest.fixture(scope="module")
def run(spec: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "run"
    train_recipe(RECIPE, spec, output, overrides=SHORT)
    return output


def test_damaged_clips_are_left_out_and_listed(run: Path) -> None:
    listed = [json.loads(line) for line in (run / "skipped.jsonl").read_text().splitlines()]
    assert {(row["id"], row["split"]) for row in listed} == {("train2", "train"), ("dev7", "dev")}
    assert len(listed) == 2
    assert all("damaged at frame" in row["reason"] for row in listed)
    for stage in ("2-visual_initialing", "3-llm_fine_tuning"):
        scores = [row for row in read_metrics(run / stage / "metrics.jsonl") if "eval_loss" in row]
        assert scores
        assert all(row["eval_left_out"] == 1 for row in scores), stage


def test_processes_that_read_change_nothing(spec: str, run: Path, tmp_path: Path) -> None:
    train_recipe(RECIPE, spec, tmp_path / "run", overrides=[*SHORT, "num_workers=1"])
    mine = load_file(tmp_path / "run" / "model" / "model.safetensors")
    for name, value in load_file(run / "model" / "model.safetensors").items():
        assert torch.equal(mine[name], value), name


def test_more_than_the_limit_end_the_run_and_a_higher_one_goes_on(
    spec: str, run: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    with pytest.raises(InputError, match=r"damaged at frame .* found 1 of 9 clips .* at most 0 "):
        train_recipe(RECIPE, spec, copy, overrides=SHORT, max_damaged=0)
    train_recipe(RECIPE, spec, copy, overrides=SHORT, resume=True, max_damaged=2)
    mine = load_file(copy / "model" / "model.safetensors")
    for name, value in load_file(run / "model" / "model.safetensors").items():
        assert torch.equal(mine[name], value), name


def test_a_clip_without_a_header_is_left_out_from_the_first_stage_on(
    spec: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "corpus"
    shutil.copytree(Path(spec.partition(":")[2]).parent, folder)
    (folder / "4.mp4").write_bytes(b"")
    alone = [*SHORT, "stages.llm_fine_tuning.skip=true", "stages.pretraining.skip=true"]
    own = f"table:{folder / 'own.csv'}"
    with pytest.raises(InputError, match=r"4\.mp4.* found 1 of 9 clips .* at most 0 "):
        train_recipe(RECIPE, own, tmp_path / "run", overrides=alone, max_damaged=0)
    assert not (tmp_path / "run").exists()
    train_recipe(RECIPE, own, tmp_path / "run", overrides=alone)
    listed = (tmp_path / "run" / "skipped.jsonl").read_text().splitlines()
    assert next(json.loads(line)["id"] for line in listed) == "train4"
    assert {json.loads(line)["id"] for line in listed} == {"train2", "train4", "dev7"}
    told = capsys.readouterr().err
    assert "note: train clip 'train4' is left out: " in told
    assert "trained without 3 of 9 clips, which cannot be read" in told


def test_a_batch_is_what_it_would_be_without_the_clip() -> None:
    rows = [{"features": torch.randn(3, 24), "labels": [5, 6, 2]} for _ in range(3)]
    gone = Unreadable("x", "train", "x.mp4: the video is damaged at frame 3")
    batch = Collator(PROCESSOR)([rows[0], gone, *rows[1:]])
    assert batch.pop(UNREADABLE) == [gone]
    plain = Collator(PROCESSOR)(rows)
    assert batch.keys() == plain.keys()
    assert all(torch.equal(batch[name], plain[name]) for name in plain)


class HalfDamaged(torch.utils.data.Dataset[Any]):
    """Four clips of features, of which the first cannot be read, or none in the first epoch."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, item: EpochIndex) -> Any:
        epoch, index = item
        if index == 0 or epoch == 0:
            return Unreadable(f"clip{index}", "train", "damaged")
        return {"features": torch.ones(2, 24), "labels": PROCESSOR.encode_text("heute regnet es")}


def test_a_step_without_a_clip_that_can_be_read_changes_nothing(tmp_path: Path) -> None:
    settings = StageSettings.model_validate(
        {
            "name": "stage",
            **{part: {} for part in ("encoder", "adapter", "language_model")},
            "frozen": ["encoder"],
            "learning_rates": {"adapter": 0.01, "language_model": 0.01},
            "optimizer": {"max_grad_norm": 1.0, "weight_decay": 0.1},
            "epochs": 2,
            "batch_size": 2,
            "precision": "float32",
        }
    )
    set_seed(0)
    model = tiny.tiny_model(PROCESSOR)
    model.freeze(settings.frozen)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    told, unmoved = [], []

    def dev_scores() -> dict[str, float]:
        same = (torch.equal(value, before[name]) for name, value in model.state_dict().items())
        unmoved.append(all(same))
        return {"bleu4": 0.0, "loss": 1.0 - len(unmoved)}

    trainer = StageTrainer(
        settings,
        model,
        HalfDamaged(),
        Collator(PROCESSOR),
        stage_arguments(settings, tmp_path, steps_per_epoch=2, seed=7, num_workers=0),
        dev_scores,
        [],
        told.append,
    )
    trainer.train()

    assert unmoved == [True, False]
    assert [clip.id for clip in told].count("clip0") == 2
    assert len(told) == 5


def test_the_first_are_named_and_each_counts_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left_out = LeftOut(1000, path=tmp_path / "skipped.jsonl")
    for number in [*range(10), 3]:
        left_out.add(Unreadable(f"clip{number}", "train", f"{number}.mp4: cut"))
    assert str(left_out) == "10 of 1,000 clips"
    notes = capsys.readouterr().err.splitlines()
    assert notes[0] == "note: train clip 'clip0' is left out: 0.mp4: cut"
    assert len(notes) == 6
    with pytest.raises(InputError, match=r"^10\.mp4: cut .* 11 of 1,000 .* at most 10 "):
        left_out.add(Unreadable("clip10", "train", "10.mp4: cut"))
    assert len((tmp_path / "skipped.jsonl").read_text().splitlines()) == 11
