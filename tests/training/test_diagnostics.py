"""Norms of the last layers: against gradients taken by hand, unclipped, accumulated, resumed."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.data import Dataset
from torch.utils.tensorboard import SummaryWriter
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, TrainerCallback, set_seed

import tiny
from unglossed.models.language_model import language_model_config
from unglossed.models.speech import SpeechEncoder
from unglossed.models.translator import Translator
from unglossed.models.tuning import add_lora
from unglossed.training.arguments import stage_arguments
from unglossed.training.callbacks import (
    NORMS_FILE,
    START_FILE,
    NormsFile,
    read_metrics,
    trained_layers,
)
from unglossed.training.checkpoint import latest_checkpoint
from unglossed.training.data import Collator, EpochIndex
from unglossed.training.objectives.translation import text_loss
from unglossed.training.settings import StageSettings
from unglossed.training.trainer import StageTrainer

PROCESSOR = tiny.tiny_processor()
NUM_CLIPS = 8


class Clips(Dataset[dict[str, Any]]):
    """Clips of coloured noise, one more frame each."""

    def __len__(self) -> int:
        return NUM_CLIPS

    def __getitem__(self, item: EpochIndex) -> dict[str, Any]:
        index = item[1]
        generator = torch.Generator().manual_seed(index)
        frames = torch.randint(0, 255, (3 + index, 32, 32, 3), generator=generator)
        labels = PROCESSOR.encode_text(tiny.SENTENCES[index % 3])
        return {
            "frames": frames.to(torch.uint8),
            "lengths": torch.tensor([3 + index]),
            "labels": labels,
        }


class Stop(TrainerCallback):
    """Stops as Ctrl-C would, at the end of a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            raise KeyboardInterrupt


def stage(**changes: Any) -> StageSettings:
    settings: dict[str, Any] = {
        "name": "stage",
        "encoder": {},
        "adapter": {},
        "language_model": {},
        "learning_rates": {"encoder": 0.01, "adapter": 0.01, "language_model": 0.01},
        "optimizer": {"name": "sgd", "momentum": 0.0, "nesterov": False, "max_grad_norm": 1e-3},
        "epochs": 3,
        "batch_size": 4,
        "precision": "float32",
        "norms_every": 1,
    }
    settings |= changes
    trained = set(settings["learning_rates"]) - set(settings.get("frozen", ()))
    settings["learning_rates"] = dict.fromkeys(trained, 0.01)
    return StageSettings.model_validate(settings)


def build_model(settings: StageSettings) -> Translator:
    set_seed(7)
    model = tiny.tiny_model(PROCESSOR)
    for module in model.modules():
        if isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
    model.freeze(settings.frozen)
    return model


def train(
    settings: StageSettings,
    folder: Path,
    *,
    accumulated: int = 1,
    stop: int = 0,
    checkpoint: Path | None = None,
) -> Translator:
    model = build_model(settings)
    arguments = stage_arguments(
        settings, folder, steps_per_epoch=NUM_CLIPS // settings.batch_size, seed=7, num_workers=0
    )
    arguments.gradient_accumulation_steps = accumulated
    writer = SummaryWriter(str(folder / "tensorboard"))
    every = settings.norms_every
    norms = [NormsFile(folder, every, writer)] if every else []
    trainer = StageTrainer(
        settings,
        model,
        Clips(),
        Collator(PROCESSOR),
        arguments,
        lambda: {"bleu4": 0.0},
        [*norms, *([Stop(stop)] if stop else [])],
    )
    trainer.args.load_best_model_at_end = False
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        writer.close()
    return model


def rows_of(folder: Path) -> list[dict[str, float]]:
    return read_metrics(folder / NORMS_FILE)


def norm(tensors: Any) -> float:
    return math.sqrt(sum(float(tensor.detach().double().pow(2).sum()) for tensor in tensors))


def test_a_row_has_the_norms_of_the_whole_unclipped_gradient(tmp_path: Path) -> None:
    settings = stage(epochs=1, batch_size=NUM_CLIPS)
    train(settings, tmp_path)

    model = build_model(settings).train()
    batch = Collator(PROCESSOR)([Clips()[0, index] for index in range(NUM_CLIPS)])
    text_loss(model(**batch).logits, batch["labels"]).backward()
    last = {
        "encoder": list(model.encoder.temporal.parameters()),
        "language_model": list(model.language_model.model.model.decoder.layers[-1].parameters()),
    }
    (row,) = rows_of(tmp_path)
    assert row["step"] == 1
    assert row["epoch"] == 1.0
    for part, weights in last.items():
        gradient = norm(weight.grad for weight in weights)
        assert gradient > 10 * settings.optimizer.max_grad_norm  # clipping would be seen
        assert row[f"{part}_gradient"] == pytest.approx(gradient, rel=1e-3)
        assert row[f"{part}_parameters"] == pytest.approx(norm(weights), rel=1e-5)
        assert row[f"{part}_change"] == 0.0


def test_the_change_is_relative_to_the_start(tmp_path: Path) -> None:
    settings = stage(epochs=2, batch_size=NUM_CLIPS, schedule={"name": "constant"})
    settings = settings.model_copy(
        update={"optimizer": settings.optimizer.model_copy(update={"max_grad_norm": 0.0})}
    )
    train(settings, tmp_path)

    first, second = rows_of(tmp_path)
    for part in ("encoder", "language_model"):
        moved = 0.01 * first[f"{part}_gradient"]  # plain SGD: rate times gradient
        expected = moved / first[f"{part}_parameters"]
        assert second[f"{part}_change"] == pytest.approx(expected, rel=1e-3)


def test_accumulated_batches_count_as_one(tmp_path: Path) -> None:
    train(stage(epochs=1, batch_size=NUM_CLIPS, frozen=["encoder"]), tmp_path / "whole")
    train(stage(epochs=1, batch_size=2, frozen=["encoder"]), tmp_path / "cut", accumulated=4)

    (whole,), (cut,) = rows_of(tmp_path / "whole"), rows_of(tmp_path / "cut")
    # In training mode batch normalisation sees other batches, so the encoder is frozen here.
    assert cut == {name: pytest.approx(value, rel=1e-4) for name, value in whole.items()}


def test_in_bfloat16_the_norms_stay_near_those_in_float32(tmp_path: Path) -> None:
    for precision in ("float32", "bfloat16"):
        train(stage(epochs=1, precision=precision), tmp_path / precision)

    exact, coarse = rows_of(tmp_path / "float32"), rows_of(tmp_path / "bfloat16")
    assert coarse != exact
    for row, other in zip(coarse, exact, strict=True):
        assert row == {name: pytest.approx(value, rel=0.05) for name, value in other.items()}


def test_frozen_parts_are_left_out(tmp_path: Path) -> None:
    train(stage(frozen=["encoder"]), tmp_path)

    names = {name for row in rows_of(tmp_path) for name in row}
    parts = {name.rpartition("_")[0] for name in names - {"epoch", "step"}}
    assert parts == {"language_model"}


@pytest.mark.parametrize(("every", "steps"), [(1, [1, 2, 3, 4, 5, 6]), (4, [1, 5]), (0, [])])
def test_a_row_is_written_every_so_many_steps(every: int, steps: list[int], tmp_path: Path) -> None:
    train(stage(norms_every=every), tmp_path)

    assert [row["step"] for row in rows_of(tmp_path)] == steps


def test_tensorboard_has_the_same_values(tmp_path: Path) -> None:
    train(stage(), tmp_path)

    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    for name in ("encoder_gradient", "language_model_change"):
        shown = [(event.step, event.value) for event in events.Scalars(f"norms/{name}")]
        assert shown == [(row["step"], pytest.approx(row[name])) for row in rows_of(tmp_path)]


def test_measuring_does_not_change_the_training(tmp_path: Path) -> None:
    finals = [
        train(stage(norms_every=every), tmp_path / str(every)).state_dict() for every in (0, 1)
    ]

    for name, value in finals[0].items():
        assert torch.equal(value, finals[1][name]), name


def test_a_resumed_stage_ends_with_the_rows_of_one_that_ran_through(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(stage(), whole)
    with pytest.raises(KeyboardInterrupt):
        train(stage(), cut, stop=5)
    assert [row["step"] for row in rows_of(cut)] == [1, 2, 3, 4, 5]
    with (cut / NORMS_FILE).open("a", encoding="utf-8") as file:
        file.write('{"epoch": 2.5, "step": 5, "enc')  # cut by the kill

    train(stage(), cut, checkpoint=latest_checkpoint(cut))

    assert rows_of(cut) == rows_of(whole)
    assert rows_of(cut)[-1]["encoder_change"] > 0


@pytest.mark.parametrize("damage", [b"", b"no weights", None])
def test_without_the_weights_of_the_start_changes_are_measured_from_the_resume(
    damage: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(stage(), tmp_path, stop=5)
    before = rows_of(tmp_path)
    start = tmp_path / START_FILE
    start.unlink()
    if damage is not None:
        start.write_bytes(damage)

    train(stage(), tmp_path, checkpoint=latest_checkpoint(tmp_path))

    assert f"note: {start}: is missing or damaged" in capsys.readouterr().err
    assert rows_of(tmp_path)[-1]["encoder_change"] < before[3]["encoder_change"] * 3
    assert rows_of(tmp_path)[4]["encoder_change"] == 0


SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "vocab_size": 20}
MBART_SIZES = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 3, "vocab_size": 20}
FAMILIES = [
    ("llama", AutoModelForCausalLM, {**SIZES, "intermediate_size": 32}, "model.layers.2."),
    ("gpt2", AutoModelForCausalLM, {"n_embd": 12, "n_layer": 3}, "transformer.h.2."),
    ("mbart", AutoModelForSeq2SeqLM, MBART_SIZES, "model.decoder.layers.2."),
    ("t5", AutoModelForSeq2SeqLM, {"d_model": 16, "num_layers": 2}, "decoder.block.1."),
]


@pytest.mark.parametrize(("family", "kind", "sizes", "prefix"), FAMILIES, ids=lambda row: str(row))
def test_the_last_layer_is_found_by_architecture(
    family: str, kind: Any, sizes: dict[str, Any], prefix: str
) -> None:
    with torch.device("meta"):
        model: nn.Module = kind.from_config(language_model_config({"model_type": family, **sizes}))

    layer = trained_layers(model)["language_model"]

    named = dict(model.named_parameters())
    assert {id(weight) for weight in layer.values()} == {
        id(weight) for name, weight in named.items() if name.startswith(prefix)
    }


def test_the_last_layer_of_a_speech_encoder_is_its_last_block() -> None:
    encoder = SpeechEncoder({"frontend": tiny.FRONTEND})

    layer = trained_layers(encoder)["encoder"]

    assert {id(weight) for weight in layer.values()} == {
        id(weight) for weight in encoder.frontend.encoder.layers[1].parameters()
    }


def test_of_a_layer_with_lora_only_the_trained_matrices_count() -> None:
    model = tiny.tiny_model(PROCESSOR)
    settings = {"r": 2, "alpha": 4.0, "dropout": 0.0, "targets": ["q_proj"]}
    add_lora(model.language_model.model, settings)
    model.config.lora = settings
    model.freeze(["encoder"])

    layers = trained_layers(model)

    assert set(layers) == {"language_model"}
    assert all(".lora_" in name for name in layers["language_model"])
