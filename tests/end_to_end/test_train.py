"""Training from a recipe on a corpus, to the end: what is learnt, frozen, cached and resumed."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch.nn.modules.module import register_module_forward_hook
from torch.optim.optimizer import register_optimizer_step_post_hook

import tiny
from processes import run_python
from unglossed.config import write_settings
from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError
from unglossed.files import verify_checksums
from unglossed.inference.translator import SignTranslator
from unglossed.models.frozen import FastEncoder
from unglossed.models.processing import TranslatorProcessor
from unglossed.models.visual import VisualEncoder
from unglossed.training.callbacks import read_metrics
from unglossed.training.extract import extract_features
from unglossed.training.recipe import load_recipe
from unglossed.training.train import train_recipe

pytestmark = pytest.mark.slow

RECIPE = Path(__file__).with_name("tiny.yaml")
STAGES = ("1-pretraining", "2-visual_initialing", "3-llm_fine_tuning")

# Trains as the command line does and kills itself, as `kill -9` would, after so many steps.
KILLED_RUN = """
import os, signal, sys
from pathlib import Path
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
from unglossed.training.extract import extract_features
from unglossed.training.train import train_recipe

torch.set_num_threads(1)
recipe, corpus, output, resume, last_step = sys.argv[1:]
steps = 0

def count(*_):
    global steps
    steps += 1
    if steps == int(last_step):
        os.kill(os.getpid(), signal.SIGKILL)

register_optimizer_step_post_hook(count)
train_recipe(recipe, corpus, Path(output), resume=resume == "resume")
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.write_corpus(tmp_path_factory.mktemp("corpus"), num_train=8, num_dev=2)


@pytest.fixture(scope="module")
def run(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run that nobody killed. Tests do not change it."""
    output = tmp_path_factory.mktemp("runs") / "whole"
    assert train_recipe(RECIPE, corpus, output) == output / "model"
    return output


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def assert_same_weights(folder: Path, other: Path) -> None:
    mine, theirs = weights_of(folder), weights_of(other)
    assert mine.keys() == theirs.keys()
    different = [name for name, value in mine.items() if not torch.equal(value, theirs[name])]
    assert not different


def train_until_killed(
    corpus: str, output: Path, mode: str, last_step: int, recipe: Path = RECIPE
) -> None:
    arguments = [str(recipe), corpus, str(output), mode, str(last_step)]
    source = Path(__file__).parents[2] / "src"
    finished = run_python(
        ["-c", KILLED_RUN, *arguments], env={**os.environ, "PYTHONPATH": str(source)}
    )
    assert finished.returncode == -signal.SIGKILL, finished.stderr[-2000:]


@contextmanager
def counted_frames() -> Iterator[list[int]]:
    """Number of frames of each call of a visual encoder."""
    calls: list[int] = []

    def count(module: torch.nn.Module, arguments: Any, output: Any) -> None:
        if isinstance(module, (VisualEncoder, FastEncoder)):
            calls.append(len(arguments[0]))

    handle = register_module_forward_hook(count)
    try:
        yield calls
    finally:
        handle.remove()


def train_third_stage(run: Path, corpus: str, output: Path, overrides: list[str]) -> None:
    """Go on from a run's first two stages, with changes of the third."""
    output.mkdir()
    for name in (*STAGES[:2], "processor", "run.json"):
        source = run / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, output / name)
    write_settings(load_recipe(RECIPE, overrides), output / "recipe.yaml")
    train_recipe(RECIPE, corpus, output, resume=True, overrides=overrides)


def logged(folder: Path) -> list[dict[str, float]]:
    return read_metrics(folder / "metrics.jsonl")


def test_a_run_leaves_models_metrics_and_its_recipe(run: Path) -> None:
    names = {path.name for path in run.iterdir()}

    files = {"recipe.yaml", "run.json", "corpus.json", "lock"}
    assert names == {*files, "processor", "features", "model", *STAGES}
    for stage in STAGES:
        assert not list((run / stage).glob("checkpoint-*"))
        assert list((run / stage / "tensorboard").glob("events*"))
    assert_same_weights(run / "model", run / STAGES[2] / "model")
    rows = logged(run / STAGES[1])
    assert [row["step"] for row in rows if "loss" in row] == [4, 8, 12]
    assert [row["step"] for row in rows if "eval_bleu4" in row] == [4, 8, 12]
    assert {"eval_loss", "eval_bleu1", "eval_rouge_l"} <= {key for row in rows for key in row}


def test_the_frozen_encoder_is_bit_equal_after_the_second_stage(run: Path) -> None:
    first = weights_of(run / STAGES[1] / "model")
    second = weights_of(run / STAGES[2] / "model")

    encoder = {name for name in first if name.startswith("encoder.")}
    assert encoder == {name for name in second if name.startswith("encoder.")}
    assert any("running_var" in name for name in encoder)
    assert any("num_batches_tracked" in name for name in encoder)
    for name in encoder:
        assert first[name].dtype == second[name].dtype
        assert torch.equal(first[name], second[name]), name


def test_the_second_stage_trains_the_inherited_language_model(run: Path) -> None:
    before = weights_of(run / STAGES[0] / "model")
    after = weights_of(run / STAGES[2] / "model")

    prefix = "language_model.model."
    after = {name[len(prefix) :]: value for name, value in after.items() if name.startswith(prefix)}
    assert before.keys() == after.keys()
    moves = {name: float((after[name] - before[name]).abs().max()) for name in before}
    # Twelve steps of AdamW at 0.001, falling: an inherited weight cannot be far from where it was.
    assert max(moves.values()) < 0.012
    assert sum(move > 0 for move in moves.values()) > 0.8 * len(moves)


def test_the_final_model_translates(run: Path, corpus: str) -> None:
    translator = SignTranslator.from_pretrained(run)

    results = translator.translate(read_corpus(corpus).split("test"), max_new_tokens=8)

    assert len(results) == 2
    assert all(result.text for result in results)


def test_training_twice_gives_the_same(run: Path, corpus: str, tmp_path: Path) -> None:
    """Also where another process reads the clips, over several epochs with dropout."""
    again = tmp_path / "again"
    train_recipe(RECIPE, corpus, again, overrides=["num_workers=1"])
    for stage in STAGES:
        assert_same_weights(run / stage / "model", again / stage / "model")


def test_a_killed_and_resumed_run_ends_like_one_never_killed(
    run: Path, corpus: str, tmp_path: Path
) -> None:
    output = tmp_path / "killed"
    # 8 steps of the first stage, then 10 of the second: two into its third epoch.
    train_until_killed(corpus, output, "new", 18)
    second = output / STAGES[1]
    assert sorted(path.name for path in second.glob("checkpoint-*")) == [
        "checkpoint-4",
        "checkpoint-8",
    ]
    broken = second / "checkpoint-10"
    shutil.copytree(second / "checkpoint-8", broken)
    (broken / "complete").unlink()
    (broken / "model.safetensors").write_bytes(b"half of the weights")

    # The last epoch of the second stage anew, then 7 steps of the third: in its second epoch.
    train_until_killed(corpus, output, "resume", 4 + 7)
    assert not broken.exists()
    assert (second / "model").is_dir()
    third = output / STAGES[2]
    assert [path.name for path in third.glob("checkpoint-*")] == ["checkpoint-4"]
    assert not (third / "model").exists()
    assert not (output / "model").exists()

    with counted_frames() as calls:
        train_recipe(RECIPE, corpus, output, resume=True)

    assert calls == []  # the features were stored before the kill
    for stage in STAGES:
        assert_same_weights(output / stage / "model", run / stage / "model")
        rows = logged(output / stage)
        assert rows == logged(run / stage)
        keys = [(row["step"], *sorted(row)) for row in rows]
        assert len(keys) == len(set(keys))
    assert_same_weights(output / "model", run / "model")


@pytest.mark.parametrize("momentum", ["float32", "bfloat16"])
def test_a_run_killed_within_a_backward_pass_that_moves_weights_resumes_alike(
    momentum: str, corpus: str, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.yaml"
    optimizer = f"{{momentum_dtype: {momentum}, weight_decay: 0.1}}"  # gradients are not clipped
    overrides = [f"stages.visual_initialing.optimizer={optimizer}"]
    overrides.append("stages.llm_fine_tuning.skip=true")
    write_settings(load_recipe(RECIPE, overrides), recipe)
    steps: list[str] = []
    handle = register_optimizer_step_post_hook(lambda own, *_: steps.append(type(own).__name__))
    train_recipe(recipe, corpus, tmp_path / "whole")
    handle.remove()
    later = [name for name in steps if name == "_AdamW"]
    assert len(later) > 100  # of single weights

    # Late in the second of three epochs, or early in the third.
    train_until_killed(
        corpus, tmp_path / "killed", "new", len(steps) - len(later) * 3 // 10, recipe
    )
    assert [*(tmp_path / "killed" / STAGES[1]).glob("checkpoint-*")]
    train_recipe(recipe, corpus, tmp_path / "killed", resume=True)

    assert_same_weights(tmp_path / "killed" / "model", tmp_path / "whole" / "model")
    name = STAGES[1]
    assert logged(tmp_path / "killed" / name) == logged(tmp_path / "whole" / name)


def test_a_run_stopped_while_it_writes_its_model_trains_no_step_again(
    run: Path, corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "late"
    shutil.copytree(run, output)
    third = output / STAGES[2]
    shutil.rmtree(output / "model")
    shutil.rmtree(third / "model")
    steps: list[torch.optim.Optimizer] = []
    handle = register_optimizer_step_post_hook(lambda optimizer, *_: steps.append(optimizer))

    def fail(processor: TranslatorProcessor, folder: Path) -> None:
        raise OSError("no space left on device")

    with counted_frames() as calls:
        with monkeypatch.context() as patch:
            patch.setattr(TranslatorProcessor, "save_pretrained", fail)
            with pytest.raises(OSError, match="no space left"):
                train_recipe(RECIPE, corpus, output, resume=True)
        assert len(steps) == 12
        assert (third / "checkpoint-12" / "complete").is_file()
        assert not (third / "model").exists()

        train_recipe(RECIPE, corpus, output, resume=True)
    handle.remove()

    assert len(steps) == 12
    assert calls == []  # the features were there
    assert_same_weights(output / "model", run / "model")
    assert not (third / ".model.partial").exists()
    assert logged(third) == logged(run / STAGES[2])


def test_features_are_computed_once_a_clip_and_view(run: Path, corpus: str, tmp_path: Path) -> None:
    output = tmp_path / "anew"
    shutil.copytree(run, output)
    shutil.rmtree(output / "model")
    shutil.rmtree(output / STAGES[2])
    shutil.rmtree(output / "features")

    with counted_frames() as calls:
        train_recipe(RECIPE, corpus, output, resume=True)

    kept = [-(-(6 + index) // 2) for index in range(8)]
    assert sorted(calls) == sorted([*kept, *kept, *kept[:2]])  # two views, and dev once
    assert_same_weights(output / "model", run / "model")


def test_training_from_stored_features_equals_encoding_in_every_epoch(
    run: Path, corpus: str, tmp_path: Path
) -> None:
    """With as many views as epochs both see the same, and float32 losses are bit-equal."""
    finals, losses = [], []
    for views in (3, 0):
        output = tmp_path / f"{views}-views"
        settings = [f"stages.llm_fine_tuning.feature_views={views}"]
        train_third_stage(run, corpus, output, settings)
        finals.append(output / "model")
        losses.append(logged(output / STAGES[2]))

    assert not (tmp_path / "0-views" / "features").exists()
    assert losses[0] == losses[1]
    assert_same_weights(*finals)


def test_runs_and_stages_share_features_and_encode_no_clip_twice(
    run: Path, corpus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    features = tmp_path / "features"
    with counted_frames() as calls:
        extract_features(RECIPE, corpus, features, trained=run)
    assert len(calls) == 2 * 8 + 2
    assert {path.name for path in tmp_path.iterdir()} == {"features"}

    # Another language model on the same encoder, in two stages that train from its features.
    third = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))["stages"][2]
    third["encoder"]["source"] = str(run / STAGES[1] / "model")
    third["language_model"] = {
        "config": {"light_t": {"layers": 1, "heads": 2, "width": 32, "ffn_dim": 64}}
    }
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    recipe["stages"] = [third, {**third, "name": "again"}]
    path = tmp_path / "ablation.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    with counted_frames() as calls:
        train_recipe(path, corpus, tmp_path / "run", features=features)
        train_recipe(path, corpus, tmp_path / "run", resume=True)
        extract_features(path, corpus, features)
    assert calls == []
    assert not (tmp_path / "run" / "features").exists()
    assert "anew" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "llm_fine_tuning.encoder.source: visual_initialing is yet to be trained"),
        (["stages.llm_fine_tuning.feature_views=0"], "no stage has feature_views"),
        (
            ["stages.llm_fine_tuning.encoder={config: {backbone: {model_type: resnet}}}"],
            "weights (as encoder.backbone",
        ),
    ],
)
def test_features_of_an_encoder_that_is_not_known_are_not_extracted(
    overrides: list[str], message: str, corpus: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        extract_features(RECIPE, corpus, tmp_path / "features", overrides=overrides)

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "features").exists()


def test_eight_clips_are_learnt_by_heart(corpus: str, tmp_path: Path) -> None:
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    recipe["stages"] = [stage for stage in recipe["stages"] if stage["name"] == "visual_initialing"]
    path = tmp_path / "heart.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    rates = "{encoder: 0.003, adapter: 0.003, language_model: 0.003}"
    changes = [
        "video.augmentation=null",
        "stages.0.adapter.config.dropout=0",
        "stages.0.language_model.config.dropout=0",
        f"stages.0.learning_rates={rates}",
        "stages.0.batch_size=8",
        "stages.0.epochs=120",
        "stages.0.evaluate_every=120",
    ]

    model = train_recipe(path, corpus, tmp_path / "run", overrides=changes)

    rows = logged(tmp_path / "run" / "1-visual_initialing")
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[0] > 3
    assert losses[-1] < 0.05
    samples = read_corpus(corpus).split("train")
    results = SignTranslator.from_pretrained(model).translate(samples, beams=3)
    assert [result.text for result in results] == [sample.text for sample in samples]


@pytest.mark.parametrize(
    ("overrides", "pieces"),
    [
        (["seed=4"], ["recipe.yaml", "differs", "seed was 3, is 4"]),
        (["stages.0.epochs=9"], ["recipe.yaml", "differs", "stages.pretraining.epochs was"]),
    ],
)
def test_resuming_with_another_recipe_is_refused(
    run: Path, corpus: str, overrides: list[str], pieces: list[str]
) -> None:
    with pytest.raises(InputError) as caught:
        train_recipe(RECIPE, corpus, run, resume=True, overrides=overrides)

    assert all(piece in str(caught.value) for piece in [*pieces, str(run)])
    assert "\n" not in str(caught.value)


def test_a_finished_run_goes_on_from_stored_features(
    run: Path, corpus: str, tmp_path: Path
) -> None:
    """The last of three stages, whose best epoch may be any; the others stay as they are."""
    constant = ["stages.llm_fine_tuning.schedule={name: constant, warmup: 0}"]
    more = [*constant, "stages.llm_fine_tuning.epochs=5"]
    train_third_stage(run, corpus, tmp_path / "whole", more)
    train_third_stage(run, corpus, tmp_path / "more", constant)

    with counted_frames() as calls:
        train_recipe(RECIPE, corpus, tmp_path / "more", resume=True, overrides=more)

    assert calls == []
    assert_same_weights(tmp_path / "more" / "model", tmp_path / "whole" / "model")
    assert logged(tmp_path / "more" / STAGES[2]) == logged(tmp_path / "whole" / STAGES[2])
    assert (tmp_path / "more" / STAGES[2] / "last").is_dir()


def test_resuming_on_another_corpus_is_refused(run: Path, tmp_path: Path) -> None:
    other = tiny.write_corpus(tmp_path, 2, 1)

    with pytest.raises(InputError, match="was trained on"):
        train_recipe(RECIPE, other, run, resume=True)


@pytest.mark.parametrize("stage", [*STAGES, "processor"])
def test_a_damaged_model_of_a_stage_is_named_and_not_trained_on(
    stage: str, run: Path, corpus: str, tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    last = copy / STAGES[-1] / "model"
    assert verify_checksums(copy / "processor")
    for folder in (copy / "model", *(copy / name / "model" for name in STAGES)):
        assert verify_checksums(folder)
        assert str(run) not in (folder / "config.json").read_text(encoding="utf-8")
    if stage != STAGES[-1]:
        shutil.rmtree(last)
    path = copy / stage / ("tokenizer.json" if stage == "processor" else "model/model.safetensors")
    content = bytearray(path.read_bytes())
    content[-9] ^= 2
    path.write_bytes(content)

    with pytest.raises(InputError, match=f"{path}: differs from what was saved"):
        train_recipe(RECIPE, corpus, copy, resume=True)
    assert last.is_dir() is (stage == STAGES[-1])


def test_a_folder_with_something_in_it_is_not_trained_into(
    run: Path, corpus: str, tmp_path: Path
) -> None:
    (tmp_path / "holidays.jpg").touch()
    before = sorted(run.iterdir())

    with pytest.raises(InputError, match="--resume"):
        train_recipe(RECIPE, corpus, run)
    for resume in (False, True):
        with pytest.raises(InputError, match="not an empty folder"):
            train_recipe(RECIPE, corpus, tmp_path, resume=resume)
    with pytest.raises(InputError, match="not an empty folder"):
        train_recipe(RECIPE, corpus, tmp_path / "holidays.jpg")

    assert sorted(run.iterdir()) == before
    assert [path.name for path in tmp_path.iterdir()] == ["holidays.jpg"]


def test_a_stage_that_cannot_be_built_is_named(corpus: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"stages\.visual_initialing\.language_model\.config"):
        train_recipe(
            RECIPE,
            corpus,
            tmp_path / "run",
            overrides=["stages.1.language_model.config.light_t=huge", "stages.0.epochs=1"],
        )
    assert not (tmp_path / "run").exists()  # found before anything was trained, nothing left behind


def test_a_pretrained_model_that_is_not_there_is_named_before_anything_is_trained(
    corpus: str, tmp_path: Path
) -> None:
    missing = tmp_path / "no-such-model"
    with pytest.raises(
        InputError, match=r"llm_fine_tuning\.language_model\.source: .*no-such-model"
    ):
        train_recipe(
            RECIPE,
            corpus,
            tmp_path / "run",
            overrides=[f"stages.llm_fine_tuning.language_model.source={missing}"],
        )
    assert not (tmp_path / "run").exists()
