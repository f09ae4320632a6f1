"""Stages with a token-level alignment beside the translation, and stages that end early."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.optim.optimizer import register_optimizer_step_post_hook

import tiny
from shrinking import shrink, stand_in
from unglossed.errors import InputError
from unglossed.files import read_checksums
from unglossed.inference.translator import SignTranslator
from unglossed.models.kept_alignment import CONFIG, FOLDER, WEIGHTS
from unglossed.training.callbacks import read_metrics
from unglossed.training.recipe import load_recipe
from unglossed.training.train import train_recipe

pytestmark = pytest.mark.slow

RECIPE = Path(__file__).with_name("tiny.yaml")
STAGE_1, STAGE_2 = "stages.visual_initialing", "stages.llm_fine_tuning"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.write_corpus(tmp_path_factory.mktemp("corpus"), num_train=8, num_dev=2)


def aligned(stage: str, more: str = "", batch_size: int = 4) -> list[str]:
    """Changes that give a stage an alignment."""
    setting = f"{{kind: tokens{more}}}" if more else "tokens"
    return [
        *(f"{stage}.alignment={setting}", f"{stage}.learning_rates.alignment=0.01"),
        f"{stage}.batch_size={batch_size}",
    ]


def train(corpus: str, output: Path, *changes: str, begun: Path | None = None) -> Path:
    """Train; the pre-training, if a run that has done it is given, is taken from there."""
    if begun is not None:
        shutil.copytree(begun, output)
    return train_recipe(RECIPE, corpus, output, overrides=list(changes), resume=begun is not None)


@pytest.fixture(scope="module")
def pretrained(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose first stage alone is trained. Tests do not change it."""
    output = tmp_path_factory.mktemp("runs") / "begun"

    class Begun(Exception):
        pass

    steps = 0

    def stop(*_: object) -> None:
        nonlocal steps
        steps += 1
        if steps == 9:  # the first of the second stage
            raise Begun

    handle = register_optimizer_step_post_hook(stop)
    try:
        with pytest.raises(Begun):
            train_recipe(RECIPE, corpus, output)
    finally:
        handle.remove()
    shutil.rmtree(output / "2-visual_initialing")
    return output


def weights(run: Path, stage: str = "2-visual_initialing") -> dict[str, torch.Tensor]:
    return load_file(run / stage / "model" / "model.safetensors")


def differ(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return any(not torch.equal(one[name], other[name]) for name in one)


def test_the_saved_model_has_no_weight_more_than_without(
    corpus: str, pretrained: Path, tmp_path: Path
) -> None:
    skip = f"{STAGE_2}.skip=true"
    with_it, without = tmp_path / "with", tmp_path / "without"
    train(corpus, with_it, *aligned(STAGE_1), skip, begun=pretrained)
    train(corpus, without, f"{STAGE_1}.batch_size=4", skip, begun=pretrained)

    mine, theirs = weights(with_it), weights(without)
    assert {name: value.shape for name, value in mine.items()} == {
        name: value.shape for name, value in theirs.items()
    }
    assert differ(mine, theirs)
    config = "2-visual_initialing/model/config.json"
    assert (with_it / config).read_bytes() == (without / config).read_bytes()
    assert SignTranslator.from_pretrained(with_it).translate([tiny_clip(corpus)])


def tiny_clip(corpus: str) -> Path:
    root = Path(corpus.partition(":")[2])
    return next(root.rglob("test-0"))


def test_an_interrupted_stage_ends_like_one_never_interrupted(
    corpus: str, pretrained: Path, tmp_path: Path
) -> None:
    changes = [*aligned(STAGE_1), f"{STAGE_2}.skip=true"]
    train(corpus, tmp_path / "whole", *changes, begun=pretrained)
    steps = 0

    def stop(*_: object) -> None:
        nonlocal steps
        steps += 1
        if steps == 4:
            raise KeyboardInterrupt

    handle = register_optimizer_step_post_hook(stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(corpus, tmp_path / "stopped", *changes, begun=pretrained)
    finally:
        handle.remove()

    train_recipe(RECIPE, corpus, tmp_path / "stopped", overrides=changes, resume=True)

    assert not differ(weights(tmp_path / "whole"), weights(tmp_path / "stopped"))


@pytest.mark.parametrize("views", [0, 2])
def test_a_batch_cut_into_parts_has_the_same_loss(
    views: int, corpus: str, pretrained: Path, tmp_path: Path
) -> None:
    """On top of a frozen encoder, where a stage without an alignment cuts its batches."""
    losses = []
    for name, budget in (("whole", "null"), ("parts", "3")):
        changes = [*aligned(STAGE_2), f"{STAGE_2}.frame_budget={budget}"]
        more = [f"{STAGE_2}.feature_views={views}", f"{STAGE_1}.epochs=1"]
        train(corpus, tmp_path / name, *changes, *more, begun=pretrained)
        rows = read_metrics(tmp_path / name / "3-llm_fine_tuning" / "metrics.jsonl")
        losses.append([row["loss"] for row in rows if "loss" in row])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("more", [", source: pretraining", ", source: pretraining, states: true"])
def test_clips_resemble_what_another_model_reads(
    more: str, corpus: str, pretrained: Path, tmp_path: Path
) -> None:
    changes = [f"{STAGE_2}.skip=true"]
    train(corpus, tmp_path / "own", *aligned(STAGE_1), *changes, begun=pretrained)
    train(corpus, tmp_path / "other", *aligned(STAGE_1, more), *changes, begun=pretrained)

    own, other = weights(tmp_path / "own"), weights(tmp_path / "other")
    assert own.keys() == other.keys()
    assert differ(own, other)


def test_weight_temperature_smoothing_and_words_change_what_is_learnt(
    corpus: str, pretrained: Path, tmp_path: Path
) -> None:
    found = []
    settings = ("weight: 2", "temperature: 0.5", "smoothing: 0.2", "words: 0.5")
    for number, more in enumerate(("", *(f", {one}" for one in settings))):
        changes = [*aligned(STAGE_1, more), f"{STAGE_2}.skip=true", f"{STAGE_1}.epochs=1"]
        train(corpus, tmp_path / str(number), *changes, begun=pretrained)
        found.append(weights(tmp_path / str(number)))

    assert all(differ(found[i], found[j]) for i in range(5) for j in range(i))


def test_speech_is_aligned_as_well(tmp_path: Path) -> None:
    """The adapter alone learns by it: what is before it and behind it is frozen."""
    corpus = tiny.write_speech_corpus(tmp_path)
    stage = "stages.modality_adjustment"
    base = [*shrink("lst", tmp_path / "models"), "stages.downstream_tuning.skip=true"]
    base += [f"{stage}.epochs=3", f"{stage}.evaluate_every=3"]  # the last one is the best
    for name, changes in (("with", aligned(stage)), ("without", [f"{stage}.batch_size=4"])):
        train_recipe("lst", corpus, tmp_path / name, overrides=[*base, *changes])

    mine = load_file(tmp_path / "with" / "model" / "model.safetensors")
    theirs = load_file(tmp_path / "without" / "model" / "model.safetensors")
    assert mine.keys() == theirs.keys()
    assert differ(mine, theirs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            [f"{STAGE_1}.alignment=tokens"],
            "learning_rates must name what is trained: ['adapter', 'alignment', 'encoder',"
            " 'language_model']",
        ),
        ([f"{STAGE_1}.alignment=words"], "alignment.kind: found 'words': Input should be 'tokens'"),
        (
            aligned(STAGE_1, ", weight: 0"),
            "alignment.weight: found 0: Input should be greater than 0",
        ),
        (aligned(STAGE_1, ", states: true"), "states needs a source"),
        (aligned(STAGE_1, ", source: pretraining, both_ways: true"), "both_ways is for the states"),
        (
            aligned(STAGE_1, ", source: pretraining, states: true, words: 1"),
            "words does not go with states",
        ),
        (aligned(STAGE_1, batch_size=1), "batch_size: found 1, expected clips to compare"),
        (
            ["stages.pretraining.alignment=tokens"],
            "alignment means nothing to the objective denoising",
        ),
        (
            aligned(STAGE_1, ", source: llm_fine_tuning"),
            "stages.visual_initialing.alignment.source: found 'llm_fine_tuning', expected one of"
            " ['pretraining']",
        ),
        (
            aligned(STAGE_1, ", source: build"),
            "stages.visual_initialing.alignment.source: found 'build', expected one of",
        ),
        (
            [
                f"{STAGE_2}.alignment=tokens",
                f"{STAGE_2}.frozen=[encoder, adapter, language_model]",
                f"{STAGE_2}.learning_rates={{alignment: 0.1}}",
            ],
            "frozen: found all parts, expected one that is trained",
        ),
        (["stages.pretraining.patience=2"], "patience means nothing to the objective denoising"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes: list[str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        load_recipe(RECIPE, changes)

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_source_that_is_not_there_is_said_before_the_first_stage(
    corpus: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        train(corpus, tmp_path / "run", *aligned(STAGE_1, ", source: elsewhere/model"))

    assert "stages.visual_initialing.alignment.source: elsewhere/model" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_reader_with_another_tokenizer_is_refused(corpus: str, tmp_path: Path) -> None:
    source = stand_in("other", tmp_path / "models")
    with pytest.raises(InputError) as caught:
        train(corpus, tmp_path / "run", *aligned(STAGE_1, f", source: {source}"))

    assert "stages.visual_initialing.alignment.source: " in str(caught.value)
    assert "its tokenizer differs from the run's" in str(caught.value)


def test_a_misspelt_engine_is_said_before_the_first_stage(
    corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNGLOSSED_ENCODER", "open vino")
    with pytest.raises(InputError) as caught:
        train(corpus, tmp_path / "run")

    assert str(caught.value) == (
        "UNGLOSSED_ENCODER: found 'open vino', expected one of torch, folded, openvino"
    )
    assert not (tmp_path / "run").exists()


def test_states_of_a_model_whose_encoder_reads_no_words_are_refused(
    corpus: str, tmp_path: Path
) -> None:
    more = ", source: visual_initialing, states: true"
    with pytest.raises(InputError) as caught:
        train(corpus, tmp_path / "run", *aligned(STAGE_2, more))

    assert (
        "stages.llm_fine_tuning.alignment.source: found a model of the type 'light_t', expected an"
        " encoder-decoder whose encoder reads words"
    ) in str(caught.value)


def test_an_encoder_is_not_told_to_read_both_ways(corpus: str, tmp_path: Path) -> None:
    more = ", source: pretraining, states: true, both_ways: true"
    with pytest.raises(InputError) as caught:
        train(corpus, tmp_path / "run", *aligned(STAGE_2, more))

    assert (
        "stages.llm_fine_tuning.alignment.both_ways: found a source of the type 'mbart', expected a"
        " decoder-only one"
    ) in str(caught.value)


def test_a_stage_ends_where_dev_stops_rising(
    corpus: str, pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = [f"{STAGE_2}.skip=true", f"{STAGE_1}.epochs=40", f"{STAGE_1}.patience=3"]
    train(corpus, tmp_path / "run", *changes, begun=pretrained)

    rows = [
        row
        for row in read_metrics(tmp_path / "run" / "2-visual_initialing" / "metrics.jsonl")
        if "eval_bleu4" in row or "eval_loss" in row
    ]
    order = [(row.get("eval_bleu4", 0.0), -row["eval_loss"]) for row in rows]
    assert len(rows) < 40
    assert order.index(max(order)) == len(rows) - 4
    assert (
        "stages.visual_initialing: the scores on dev have not risen in the last 3: ends after"
        f" epoch {len(rows)} of 40"
    ) in capsys.readouterr().err


def test_the_alignment_of_stage_1_stays_beside_stage_2_while_the_encoder_does(
    corpus: str, pretrained: Path, tmp_path: Path
) -> None:
    settings = {"choice": "contrast", "beams": 3, "max_new_tokens": 8}
    train(corpus, tmp_path / "kept", *aligned(STAGE_1), begun=pretrained)
    own = tmp_path / "kept" / "2-visual_initialing" / "model" / FOLDER
    final = tmp_path / "kept" / "model"
    assert (final / WEIGHTS).read_bytes() == (own / "alignment.safetensors").read_bytes()
    assert {CONFIG, WEIGHTS} <= set(read_checksums(final) or {})
    assert SignTranslator.from_pretrained(final).translate([tiny_clip(corpus)], **settings)

    trained = [f"{STAGE_2}.frozen=[]", f"{STAGE_2}.learning_rates.encoder=0.01"]
    trained.append(f"{STAGE_2}.feature_views=0")
    train(corpus, tmp_path / "trained", *aligned(STAGE_1), *trained, begun=pretrained)
    assert not (tmp_path / "trained" / "model" / FOLDER).exists()
    translator = SignTranslator.from_pretrained(tmp_path / "trained")
    with pytest.raises(InputError, match="found contrast, but no alignment was kept beside"):
        translator.translate([tiny_clip(corpus)], **settings)
