"""The training loop: optimiser, schedule, order, scores, checkpoints; canaries for its hooks."""

import gc
import inspect
import math
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.profiler import ProfilerActivity, profile
from torch.utils.checkpoint import checkpoint
from torch.utils.data import Dataset
from transformers import Seq2SeqTrainer, TrainerCallback, set_seed

import tiny
from unglossed.errors import InputError
from unglossed.models.recogniser import Recogniser, RecogniserConfig
from unglossed.models.translator import PARTS, Translator
from unglossed.models.vlp import VisualLanguageConfig, VisualLanguageModel
from unglossed.training.arguments import stage_arguments
from unglossed.training.attention import attention_for
from unglossed.training.checkpoint import MARK, find_fault, put_away, reopen
from unglossed.training.data import Collator, EpochIndex, EpochSampler
from unglossed.training.objectives.translation import text_loss
from unglossed.training.optimizers import StepsInBackward, build_optimizer
from unglossed.training.settings import StageSettings
from unglossed.training.trainer import StageTrainer

PROCESSOR = tiny.tiny_processor()


class RandomFeatures(Dataset[dict[str, Any]]):
    """Six clips of features whose texts are drawn from three; notes what it is asked for."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.features = [torch.randn(2 + i % 3, 24, generator=generator) for i in range(6)]
        self.asked: list[EpochIndex] = []

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, item: EpochIndex) -> dict[str, Any]:
        self.asked.append(item)
        index = item[1]
        labels = PROCESSOR.encode_text(tiny.SENTENCES[index % 3])
        return {"features": self.features[index], "labels": labels}


class Recorder(TrainerCallback):
    """Keeps every logged row."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        self.rows.append({"step": state.global_step, **logs})


def stage(**changes: Any) -> StageSettings:
    settings: dict[str, Any] = {
        "name": "stage",
        "encoder": {},
        "adapter": {},
        "language_model": {},
        "frozen": ["encoder"],
        "learning_rates": {"adapter": 0.01, "language_model": 0.001},
        "epochs": 3,
        "batch_size": 4,
        "precision": "float32",
    }
    return StageSettings.model_validate(settings | changes)


OTHER_STAGES = {
    "gloss_ctc": stage(
        objective="gloss_ctc",
        adapter=None,
        language_model=None,
        frozen=[],
        learning_rates={"encoder": 0.01, "ctc_head": 0.1},
        batch_size=2,
    ),
    "vlp": stage(
        objective="vlp",
        text_encoder={},
        frozen=[],
        learning_rates={
            name: 0.01 * (number + 1) for number, name in enumerate(VisualLanguageModel.parts)
        },
        optimizer={"weight_decay": 0.5},
    ),
    "denoising": stage(
        objective="denoising",
        encoder=None,
        adapter=None,
        frozen=[],
        learning_rates={"language_model": 0.01},
    ),
}


def build_trainer(
    settings: StageSettings,
    folder: Path,
    dev_scores: Callable[[Translator], dict[str, float]] = lambda model: {"bleu4": 0.0},
    dataset: RandomFeatures | None = None,
) -> tuple[StageTrainer, Translator, RandomFeatures, Recorder]:
    dataset, recorder = dataset or RandomFeatures(), Recorder()
    set_seed(7)
    model = tiny.tiny_model(PROCESSOR)
    model.freeze(settings.frozen)
    trainer = StageTrainer(
        settings,
        model,
        dataset,
        Collator(PROCESSOR),
        stage_arguments(
            settings,
            folder,
            steps_per_epoch=-(-len(dataset) // settings.batch_size),
            seed=7,
            num_workers=0,
        ),
        lambda: dev_scores(model),
        [recorder],
    )
    return trainer, model, dataset, recorder


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_equal(mine: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        assert torch.equal(value, theirs[name]), name


@pytest.mark.parametrize("frozen", [[], ["encoder"], ["encoder", "adapter"]])
def test_optimiser_has_each_trained_weight_once_at_its_parts_rate(frozen: list[str]) -> None:
    rates = {"encoder": 0.1, "adapter": 0.01, "language_model": 0.001}
    trained = {part: rate for part, rate in rates.items() if part not in frozen}
    settings = stage(
        frozen=frozen,
        learning_rates=trained,
        optimizer={"name": "sgd", "weight_decay": 0.5},
    )
    model = tiny.tiny_model(PROCESSOR)
    model.freeze(frozen)

    groups = build_optimizer(settings, model).param_groups

    found = {id(weight): group for group in groups for weight in group["params"]}
    assert len(found) == sum(len(group["params"]) for group in groups)
    for part in PARTS:
        for name, weight in getattr(model, part).named_parameters():
            if part in frozen:
                assert id(weight) not in found
            else:
                group = found[id(weight)]
                assert group["lr"] == rates[part], name
                assert group["weight_decay"] == (0.5 if weight.ndim > 1 else 0.0), name
    assert all(group["momentum"] == 0.9 for group in groups)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)],
)
def test_optimiser_is_the_named_one(name: str, kind: type[torch.optim.Optimizer]) -> None:
    optimizer = build_optimizer(
        stage(optimizer={"name": name, "betas": [0.5, 0.6], "momentum": 0.7}),
        tiny.tiny_model(PROCESSOR),
    )

    assert type(optimizer) is kind
    group = optimizer.param_groups[0]
    assert group["momentum"] == 0.7 if name == "sgd" else group["betas"] == (0.5, 0.6)


def train_whole(settings: StageSettings, folder: Path, num_epochs: int = 3) -> tuple[Any, ...]:
    """Rows of the log, weights and optimiser of a stage in which all parts are trained."""
    model = tiny.tiny_model(PROCESSOR)
    dataset, recorder = RandomFrames(), Recorder()
    arguments = stage_arguments(settings, folder, steps_per_epoch=3, seed=7, num_workers=0)
    stop = StopAfter(num_epochs)
    trainer = StageTrainer(
        *(settings, model, dataset, Collator(PROCESSOR), arguments, lambda: {"bleu4": 0.0}),
        [recorder, stop],
    )
    found = list(folder.glob("checkpoint-*"))
    trainer.train(resume_from_checkpoint=str(found[0]) if found else None)
    rows = [row for row in recorder.rows if "loss" in row]
    for row in rows:
        row.pop("data_wait")
    return rows, weights_of(model), trainer


class StopAfter(TrainerCallback):
    """Ends the training after some epochs, as a kill would after the checkpoint."""

    def __init__(self, num_epochs: int) -> None:
        self.num_epochs = num_epochs

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_training_stop = state.epoch >= self.num_epochs


class RandomFrames(RandomFeatures):
    """Clips of 3 frames."""

    def __getitem__(self, item: EpochIndex) -> dict[str, Any]:
        row = super().__getitem__(item)
        draw = torch.Generator().manual_seed(item[1])
        frames = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8, generator=draw)
        return {"frames": frames, "lengths": torch.tensor([3]), "labels": row["labels"]}


def whole_stage(name: str, **changes: Any) -> StageSettings:
    rates = {"encoder": 0.01, "adapter": 0.01, "language_model": 0.001}
    optimizer = {"name": name, "weight_decay": 0.1, **changes.pop("optimizer", {})}
    return stage(frozen=[], learning_rates=rates, batch_size=2, optimizer=optimizer, **changes)


@pytest.mark.parametrize("momentum", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("frame_budget", [None, 4])  # the second: the backbone goes by chunks
def test_steps_in_the_backward_pass_give_the_same_numbers(
    name: str, momentum: str, frame_budget: int | None, tmp_path: Path
) -> None:
    found = []
    for early in (False, None):
        optimizer = {"in_backward": early, "momentum_dtype": momentum}
        settings = whole_stage(name, optimizer=optimizer, frame_budget=frame_budget)
        found.append(train_whole(settings, tmp_path / str(early)))
    (theirs, weights, _), (mine, moved, trainer) = found

    assert mine == theirs  # losses, norms of gradients, learning rates
    assert all(row["grad_norm"] > 0 for row in mine)
    assert_equal(moved, weights)
    assert trainer.in_backward is not None


def test_a_stage_that_has_ended_holds_no_weights(tmp_path: Path) -> None:
    _, _, trainer = train_whole(whole_stage("sgd", epochs=1), tmp_path, num_epochs=1)
    weight = weakref.ref(next(trainer.model.adapter.parameters()))
    steps = weakref.ref(trainer.in_backward)

    del trainer
    gc.collect()

    assert (weight(), steps()) == (None, None)


def test_a_weight_whose_gradient_comes_in_parts_is_refused() -> None:
    """As where one module computes two chunks, each once more in the backward pass."""
    model = torch.nn.Module()
    model.adapter = torch.nn.Linear(3, 3)
    settings = stage().model_copy(update={"learning_rates": {"adapter": 0.1}})
    optimizer = build_optimizer(settings, model, one_by_one=True)
    steps = StepsInBackward(optimizer, model)
    x = torch.ones(2, 3, requires_grad=True)

    def chunks() -> torch.Tensor:
        return torch.stack(
            [checkpoint(model.adapter, part, use_reentrant=True) for part in x.split(1)]
        ).sum()

    steps.begin(active=False)
    chunks().backward()
    steps.begin(active=True)
    with pytest.raises(InputError, match=r"^optimizer\.in_backward: found a weight whose gradient"):
        chunks().backward()


def test_gradients_are_let_go_in_the_backward_pass(tmp_path: Path) -> None:
    left: list[list[str]] = []

    class Look(TrainerCallback):
        def on_pre_optimizer_step(self, *_: Any, model: Any, **__: Any) -> None:
            left.append([name for name, p in model.named_parameters() if p.grad is not None])

    settings = whole_stage("sgd", epochs=1)
    arguments = stage_arguments(settings, tmp_path, steps_per_epoch=3, seed=7, num_workers=0)
    parts = settings, tiny.tiny_model(PROCESSOR), RandomFrames(), Collator(PROCESSOR), arguments
    StageTrainer(*parts, lambda: {"bleu4": 0.0}, [Look()]).train()

    assert len(left) == 3
    assert all(name.startswith("encoder.backbone.") for names in left for name in names)


@pytest.mark.parametrize("early", [None, False])
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_momentum_in_bfloat16_resumes_to_the_last_bit(
    name: str, early: bool | None, tmp_path: Path
) -> None:
    optimizer = {"momentum_dtype": "bfloat16", "in_backward": early}
    settings = whole_stage(name, optimizer=optimizer)
    rows, weights, trainer = train_whole(settings, tmp_path / "whole")
    kind = "momentum_buffer" if name == "sgd" else "exp_avg"
    held = [state[kind].dtype for state in trainer.optimizer.state.values()]
    assert set(held) == {torch.bfloat16}

    first, *_ = train_whole(settings, tmp_path / "stopped", 1)
    then, resumed, _ = train_whole(settings, tmp_path / "stopped")

    assert [*first, *then] == rows
    assert_equal(resumed, weights)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_momentum_in_bfloat16_trains_like_float32(name: str, tmp_path: Path) -> None:
    found = []
    for dtype in ("float32", "bfloat16"):
        settings = whole_stage(name, optimizer={"momentum_dtype": dtype}, epochs=8)
        found.append(train_whole(settings, tmp_path / dtype, 8)[0])
    losses, rounded = ([row["loss"] for row in rows] for rows in found)

    assert losses[-1] < 0.9 * losses[0]  # something was learnt
    assert rounded != losses  # and the option does something
    assert rounded == pytest.approx(losses, rel=0.01)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"optimizer": {"in_backward": True, "max_grad_norm": 1.0}}, "beside max_grad_norm"),
        ({"optimizer": {"in_backward": True}, "norms_every": 1}, "beside norms_every"),
        (
            {"optimizer": {"momentum_dtype": "bfloat16", "momentum": 0, "nesterov": False}},
            "momentum_dtype needs a momentum",
        ),
    ],
)
def test_what_needs_all_gradients_at_once_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        whole_stage("sgd", **changes)


@pytest.mark.parametrize("changes", [{"optimizer": {"max_grad_norm": 1.0}}, {"norms_every": 1}])
def test_steps_wait_where_all_gradients_are_looked_at(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    *_, trainer = train_whole(whole_stage("sgd", **changes), tmp_path, 1)

    assert trainer.in_backward is None


@pytest.mark.parametrize(
    ("schedule", "shape"),
    [
        ({"name": "cosine"}, lambda t: 0.5 * (1 + math.cos(math.pi * t))),
        ({"name": "cosine", "min_ratio": 0.1}, lambda t: 0.1 + 0.45 * (1 + math.cos(math.pi * t))),
        ({"name": "linear"}, lambda t: 1 - t),
        ({"name": "constant"}, lambda t: 1.0),
    ],
)
@pytest.mark.parametrize("warmup", [0.0, 0.25, 1.0])
def test_learning_rates_follow_the_schedule(
    schedule: dict[str, Any], shape: Callable[[float], float], warmup: float, tmp_path: Path
) -> None:
    settings = stage(epochs=10, schedule={**schedule, "warmup": warmup})
    trainer, *_ = build_trainer(settings, tmp_path)
    trainer.create_optimizer_and_scheduler(20)
    warm = int(20 * warmup)

    for step in range(20):
        expected = step / warm if step < warm else shape((step - warm) / (20 - warm))
        for group in trainer.optimizer.param_groups:
            assert group["lr"] == pytest.approx(group["initial_lr"] * expected, abs=1e-9), step
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
    rates = {group["initial_lr"] for group in trainer.optimizer.param_groups}
    assert rates == {0.01, 0.001}


def test_every_epoch_reads_every_item_in_its_own_order(tmp_path: Path) -> None:
    trainer, _, dataset, _ = build_trainer(stage(), tmp_path)
    trainer.train()

    sampler = EpochSampler(6, 7)
    expected = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        expected += list(sampler)
    assert dataset.asked == expected


def test_loss_of_a_step_is_the_mean_over_its_tokens(tmp_path: Path) -> None:
    settings = stage(epochs=1, batch_size=6, label_smoothing=0.2)
    trainer, model, dataset, recorder = build_trainer(settings, tmp_path)
    for module in model.modules():
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.0
    batch = Collator(PROCESSOR)([dataset[0, index] for index in range(6)])
    with torch.no_grad():
        logits = model(**batch).logits
    trainer.train()

    expected = float(text_loss(logits, batch["labels"], label_smoothing=0.2))
    losses = [row["loss"] for row in recorder.rows if "loss" in row]
    assert losses == [pytest.approx(expected, rel=1e-4)]


def train_without_dropout(
    settings: StageSettings, folder: Path
) -> tuple[list[float], dict[str, torch.Tensor], list[int]]:
    """Losses of the epochs, the weights in the end, and the rows of each forward pass."""
    trainer, model, _, recorder = build_trainer(settings, folder)
    num_rows: list[int] = []
    model.adapter.register_forward_pre_hook(lambda _, inputs: num_rows.append(len(inputs[0])))
    for module in model.modules():
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.0
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    trainer.train()
    losses = [row["loss"] for row in recorder.rows if "loss" in row]
    return losses, weights_of(model), num_rows


def test_a_batch_in_parts_trains_like_a_whole_one(tmp_path: Path) -> None:
    settings = {"batch_size": 6, "optimizer": {"name": "sgd"}}
    whole, theirs, rows = train_without_dropout(stage(**settings), tmp_path / "whole")
    assert rows == [6] * 3
    parted, mine, rows = train_without_dropout(
        stage(**settings, frame_budget=1), tmp_path / "parts"
    )
    assert rows == [1] * 18

    assert parted == pytest.approx(whole, rel=1e-4)
    for name, value in mine.items():
        torch.testing.assert_close(value, theirs[name], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize(
    ("precision", "sizes", "plain"),
    [
        ("bfloat16", {"features": (2, 128, 24), "labels": (2, 9)}, True),
        ("bfloat16", {"features": (2, 129, 24), "labels": (2, 9)}, False),
        ("bfloat16", {"input_ids": (2, 9), "labels": (2, 129)}, False),
        ("bfloat16", {"frames": (140, 8, 8, 3), "labels": (2, 9)}, True),
        ("float32", {"features": (2, 5, 24), "labels": (2, 9)}, False),
    ],
)
def test_attention_over_short_rows_is_plain_in_bfloat16(
    precision: str, sizes: dict[str, tuple[int, ...]], plain: bool, tmp_path: Path
) -> None:
    settings = stage(precision=precision)
    arguments = stage_arguments(settings, tmp_path, steps_per_epoch=1, seed=0, num_workers=0)
    inputs = {name: torch.zeros(size) for name, size in sizes.items()}
    if "frames" in inputs:
        inputs["lengths"] = torch.tensor([60, 80])
    query = torch.randn(2, 1, 5, 8, requires_grad=True)

    with attention_for(arguments, inputs), profile(activities=[ProfilerActivity.CPU]) as seen:
        scaled_dot_product_attention(query, query, query)

    assert any("flash" in event.key for event in seen.key_averages()) is not plain


class SlowFeatures(RandomFeatures):
    """Takes its time."""

    def __getitem__(self, item: EpochIndex) -> dict[str, Any]:
        time.sleep(0.2)
        return super().__getitem__(item)


def test_the_share_of_the_time_that_waits_for_data_is_logged(tmp_path: Path) -> None:
    shares = []
    for kind in (RandomFeatures, SlowFeatures):
        trainer, _, _, recorder = build_trainer(
            stage(), tmp_path / kind.__name__, slow_scores, kind()
        )
        trainer.train()
        rows = [row for row in recorder.rows if "loss" in row]
        assert len(rows) == 3
        shares.append([row["data_wait"] for row in rows])

    assert max(shares[0]) < 0.5 < min(shares[1]) <= 1


def slow_scores(model: Translator) -> dict[str, float]:
    """Scores that take long, which is no part of training."""
    del model
    time.sleep(3)
    return {"bleu4": 0.0}


def test_training_leaves_a_frozen_encoder_alone_and_moves_the_rest(tmp_path: Path) -> None:
    trainer, model, _, _ = build_trainer(stage(), tmp_path)
    before = weights_of(model)
    trainer.train()

    moved = {name for name, value in model.state_dict().items() if not value.equal(before[name])}
    assert {name.partition(".")[0] for name in moved} == {"adapter", "language_model"}
    assert {name for name, _ in model.adapter.named_parameters(prefix="adapter")} <= moved


@pytest.mark.parametrize(
    ("evaluate_every", "scores", "best"),
    [
        (1, [1.0, 3.0, 2.0], 1),
        (1, [3.0, 2.0, 1.0], 0),
        (1, [0.0, 0.0, 1.0], 2),
        (2, [1.0, 2.0], 1),  # after the second epoch and at the end
        (3, [1.0], 0),
    ],
)
def test_the_best_checkpoint_on_dev_is_what_remains(
    evaluate_every: int, scores: list[float], best: int, tmp_path: Path
) -> None:
    settings = stage(evaluate_every=evaluate_every)
    seen: list[dict[str, torch.Tensor]] = []

    def dev_scores(model: Translator) -> dict[str, float]:
        seen.append(weights_of(model))
        return {"bleu4": scores[len(seen) - 1]}

    trainer, model, _, recorder = build_trainer(settings, tmp_path, dev_scores)
    trainer.train()

    assert len(seen) == len(scores)
    assert_equal(weights_of(model), seen[best])
    assert [row["eval_bleu4"] for row in recorder.rows if "eval_bleu4" in row] == scores
    steps = [row["step"] for row in recorder.rows if "eval_bleu4" in row]
    assert steps == [min(6, 2 * evaluate_every * (i + 1)) for i in range(len(scores))]


@pytest.mark.parametrize("score", [0.0, None, math.nan, 7.5])
def test_where_the_score_says_nothing_the_lowest_loss_on_dev_decides(
    score: float | None, tmp_path: Path
) -> None:
    losses, seen = [3.0, 1.0, 2.0, 4.0], []

    def dev_scores(model: Translator) -> dict[str, Any]:
        seen.append(weights_of(model))
        return {"bleu4": score, "loss": losses[len(seen) - 1]}

    trainer, model, *_ = build_trainer(stage(epochs=4), tmp_path, dev_scores)
    trainer.train()

    assert_equal(weights_of(model), seen[1])


def test_a_resumed_run_breaks_ties_as_one_that_was_never_interrupted(tmp_path: Path) -> None:
    losses, seen = [3.0, 1.0, 2.0, 4.0], []

    def dev_scores(model: Translator) -> dict[str, Any]:
        if len(seen) == 3 and "killed" not in losses:
            losses.append("killed")
            raise KeyboardInterrupt
        seen.append(weights_of(model))
        return {"bleu4": 0.0, "loss": losses[len(seen) - 1]}

    with pytest.raises(KeyboardInterrupt):
        build_trainer(stage(epochs=4), tmp_path, dev_scores)[0].train()
    trainer, model, *_ = build_trainer(stage(epochs=4), tmp_path, dev_scores)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))

    assert len(seen) == 4
    assert trainer.state.best_global_step == 4
    assert_equal(weights_of(model), seen[1])


@pytest.mark.parametrize(
    ("objective", "best", "greater"),
    [
        ("translation", "bleu4", True),
        ("gloss_ctc", "word_error_rate", False),
        ("vlp", "loss", False),
        ("denoising", None, None),
    ],
)
def test_each_objective_has_its_own_best(
    objective: str, best: str | None, greater: bool | None, tmp_path: Path
) -> None:
    arguments = stage_arguments(
        OTHER_STAGES.get(objective, stage()), tmp_path, steps_per_epoch=3, seed=0, num_workers=0
    )

    assert arguments.metric_for_best_model == best
    assert arguments.greater_is_better == greater
    assert arguments.load_best_model_at_end == (best is not None)
    assert arguments.eval_strategy == ("steps" if best else "no")


def test_of_lowest_scores_the_lowest_is_kept(tmp_path: Path) -> None:
    scores = iter([60.0, 40.0, 50.0])
    seen = []
    settings = OTHER_STAGES["gloss_ctc"]
    torch.manual_seed(0)
    model = Recogniser(RecogniserConfig(encoder=tiny.ENCODER, symbols=["A", "B"]))

    def dev_scores() -> dict[str, float]:
        seen.append(weights_of(model))
        return {"word_error_rate": next(scores)}

    class Glosses(RandomFeatures):
        def __getitem__(self, item: EpochIndex) -> dict[str, Any]:
            return {**super().__getitem__(item), "labels": [1 + item[1] % 2]}

    trainer = StageTrainer(
        settings,
        model,
        Glosses(),
        Collator(PROCESSOR),
        stage_arguments(settings, tmp_path, steps_per_epoch=3, seed=7, num_workers=0),
        dev_scores,
        [],
    )
    trainer.train()

    assert len(seen) == 3
    assert_equal(weights_of(model), seen[1])
    assert not torch.equal(seen[1]["ctc_head.weight"], seen[2]["ctc_head.weight"])


def test_the_parts_that_an_objective_adds_have_rates_of_their_own() -> None:
    settings = OTHER_STAGES["vlp"]
    config = tiny.tiny_model(PROCESSOR).config
    text = {"model_type": "mbart", "d_model": 32, "vocab_size": 120, "encoder_layers": 1}
    model = VisualLanguageModel(
        VisualLanguageConfig(
            encoder=config.encoder,
            adapter=config.adapter,
            language_model=config.language_model,
            text_encoder=text,
        )
    )

    groups = build_optimizer(settings, model).param_groups

    found = {id(weight): group for group in groups for weight in group["params"]}
    assert len(found) == sum(1 for _ in model.parameters())
    for part, rate in settings.learning_rates.items():
        for name, weight in model.get_submodule(part).named_parameters():
            assert found[id(weight)]["lr"] == rate, name
    # Neither the temperature nor the clip's token is pulled to zero.
    for weight in (model.alignment.log_scale, model.alignment.clip_token):
        assert found[id(weight)]["weight_decay"] == 0.0


def test_scoring_on_dev_changes_nothing_in_the_training(tmp_path: Path) -> None:
    def quiet(model: Translator) -> dict[str, float]:
        return {"bleu4": 1.0}

    def noisy(model: Translator) -> dict[str, float]:
        torch.rand(100)
        model.eval()  # as real scoring does: the next step has to train again
        return {"bleu4": 1.0}

    settings = stage(evaluate_every=1)
    finals = []
    for name, scores in (("quiet", quiet), ("noisy", noisy)):
        trainer, model, _, _ = build_trainer(settings, tmp_path / name, scores)
        trainer.args.load_best_model_at_end = False
        trainer.train()
        finals.append(weights_of(model))

    assert_equal(*finals)


def test_a_loss_that_is_no_number_ends_the_stage_and_leaves_what_was_good(tmp_path: Path) -> None:
    class Damaged(RandomFeatures):
        def __getitem__(self, item: EpochIndex) -> dict[str, Any]:
            found = super().__getitem__(item)
            return found | {"features": found["features"] * float("nan")} if item[0] else found

    trainer, _, _, recorder = build_trainer(stage(), tmp_path, dataset=Damaged())
    with pytest.raises(
        InputError, match=r"^stages\.stage: the loss became NaN .* \(epoch 2\), on text"
    ):
        trainer.train()
    assert [row["epoch"] for row in recorder.rows if "loss" in row] == [1.0]
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-2"]


def test_checkpoints_are_marked_whole_and_the_last_two_and_the_best_stay(tmp_path: Path) -> None:
    scores = iter([9.0, 1.0, 2.0, 3.0])
    trainer, *_ = build_trainer(stage(epochs=4), tmp_path, lambda model: {"bleu4": next(scores)})
    trainer.train()

    checkpoints = sorted(tmp_path.glob("checkpoint-*"))
    assert [path.name for path in checkpoints] == ["checkpoint-2", "checkpoint-6", "checkpoint-8"]
    assert all((path / MARK).is_file() and find_fault(path) is None for path in checkpoints)


def train_with_scores(
    scores: list[float], folder: Path, checkpoint: Path | None = None, epochs: int = 4
) -> tuple[dict[str, torch.Tensor], list[dict[str, torch.Tensor]]]:
    """The weights in the end, and those that were scored."""
    seen: list[dict[str, torch.Tensor]] = []

    def dev_scores(model: Translator) -> dict[str, float]:
        if len(seen) == len(scores):
            raise KeyboardInterrupt
        seen.append(weights_of(model))
        return {"bleu4": scores[len(seen) - 1]}

    trainer, model, *_ = build_trainer(stage(epochs=epochs), folder, dev_scores)
    with suppress(KeyboardInterrupt):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return weights_of(model), seen


@pytest.mark.parametrize("damage", ["flipped", "missing"])
def test_a_best_checkpoint_that_is_damaged_is_no_model(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_with_scores([9.0, 1.0], tmp_path)
    best = tmp_path / "checkpoint-2" / "model.safetensors"
    data = bytearray(best.read_bytes())
    data[-5] ^= 16
    best.unlink()
    if damage == "flipped":
        best.write_bytes(data)

    last, seen = train_with_scores([3.0, 2.0], tmp_path, tmp_path / "checkpoint-4")

    (line,) = (line for line in capsys.readouterr().err.splitlines() if "best" in line)
    assert line.startswith(f"note: {best}: ")
    assert line.endswith("the best one is chosen among the epochs that follow, or the last")
    assert_equal(last, seen[0])


def test_patience_begins_anew_where_the_best_checkpoint_is_lost(tmp_path: Path) -> None:
    settings = stage(epochs=8, patience=3)
    scores = iter([1.0, 2.0, 9.0, 4.0, 3.0])

    def dev_scores(_: Translator) -> dict[str, float]:
        score = next(scores, None)
        if score is None:
            raise KeyboardInterrupt
        return {"bleu4": score}

    with suppress(KeyboardInterrupt):
        build_trainer(settings, tmp_path, dev_scores)[0].train()
    (tmp_path / "checkpoint-6" / "model.safetensors").unlink()
    later = [3.5, 3.4, 3.3, 3.2, 3.1]
    scores = iter(later)
    trainer = build_trainer(settings, tmp_path, dev_scores)[0]
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-10"))

    assert trainer.state.global_step == 2 * 8  # five and three epochs: none was for nothing
    assert trainer.state.best_global_step == 12


@pytest.mark.parametrize("later", [[3.0, 2.0], [10.0, 2.0]])
def test_the_best_of_all_epochs_is_the_model_where_more_are_trained(
    later: list[float], tmp_path: Path
) -> None:
    best, seen = train_with_scores([9.0, 1.0], tmp_path, epochs=2)
    model = tiny.tiny_model(PROCESSOR)
    model.load_state_dict(best)
    model.save_pretrained(tmp_path / "model")
    put_away(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"last", "model"}

    reopen(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-2", "checkpoint-4"}
    best, more = train_with_scores(later, tmp_path, tmp_path / "checkpoint-4")

    assert_equal(best, max([(9.0, 0, seen[0]), (later[0], 1, more[0])])[2])


def test_the_best_checkpoint_of_a_run_that_was_moved_is_found(tmp_path: Path) -> None:
    _, first = train_with_scores([9.0, 1.0], tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")

    last, _ = train_with_scores([3.0, 2.0], tmp_path / "new", tmp_path / "new" / "checkpoint-4")

    assert_equal(last, first[0])


def test_gradients_are_clipped_to_their_norm(tmp_path: Path) -> None:
    moves = {}
    for norm in (0.0, 1e-3):
        settings = stage(
            epochs=1,
            batch_size=6,
            optimizer={"name": "sgd", "momentum": 0.0, "nesterov": False, "max_grad_norm": norm},
            schedule={"name": "constant"},
            learning_rates={"adapter": 1.0, "language_model": 1.0},
        )
        trainer, model, _, _ = build_trainer(settings, tmp_path / str(norm))
        before = [weight.detach().clone() for weight in model.parameters()]
        trainer.train()
        pairs = zip(model.parameters(), before, strict=True)
        moves[norm] = math.sqrt(
            sum(float((now.detach() - then).pow(2).sum()) for now, then in pairs)
        )

    assert moves[1e-3] == pytest.approx(1e-3, rel=1e-2)
    assert moves[0.0] > 1e-2


def test_canary_the_trainers_hooks_are_where_we_hang_on() -> None:
    assert "train_dataset" in inspect.signature(Seq2SeqTrainer._get_train_sampler).parameters
    assert list(inspect.signature(Seq2SeqTrainer._save_checkpoint).parameters)[1:] == [
        "model",
        "trial",
    ]
    assert list(inspect.signature(Seq2SeqTrainer._determine_best_metric).parameters)[1:] == [
        "metrics",
        "trial",
    ]
    assert list(inspect.signature(Seq2SeqTrainer._load_best_model).parameters) == ["self"]
    for hook in (Seq2SeqTrainer.compute_loss, Seq2SeqTrainer.training_step):
        assert "num_items_in_batch" in inspect.signature(hook).parameters
    assert list(inspect.signature(Seq2SeqTrainer.get_batch_samples).parameters)[1:3] == [
        "epoch_iterator",
        "num_batches",
    ]


def test_canary_the_trainer_counts_the_tokens_of_an_accumulated_batch(tmp_path: Path) -> None:
    trainer, _, dataset, _ = build_trainer(stage(), tmp_path)
    batches = [Collator(PROCESSOR)([dataset[0, i], dataset[0, i + 1]]) for i in (0, 2)]

    _, num_tokens = trainer.get_batch_samples(iter(batches), 2, torch.device("cpu"))

    assert int(num_tokens) == sum(int((batch["labels"] >= 0).sum()) for batch in batches)
