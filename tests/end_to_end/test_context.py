"""Stages that read a draft and retrieved texts beside the features, up to translating."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.optim.optimizer import register_optimizer_step_post_hook

import tiny
from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError
from unglossed.evaluation.evaluate import evaluate
from unglossed.inference.translator import SignTranslator
from unglossed.models.context import DRAFT, RETRIEVED
from unglossed.training.train import train_recipe

pytestmark = pytest.mark.slow

RECIPE = Path(__file__).with_name("tiny.yaml")
STAGE_1, STAGE_2 = "stages.visual_initialing", "stages.llm_fine_tuning"
LIGHT_T = "{config: {light_t: {layers: 1, heads: 2, width: 32, ffn_dim: 64}}}"
LLAMA = (
    "{config: {model_type: llama, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1,"
    " num_attention_heads: 2, num_key_value_heads: 2, max_position_embeddings: 128}}"
)
BASE = (
    "stages.pretraining.skip=true",
    *(f"{STAGE_1}.alignment=tokens", f"{STAGE_1}.learning_rates.alignment=0.01"),
    *(f"{STAGE_1}.epochs=2", f"{STAGE_2}.epochs=1", f"{STAGE_2}.learning_rates.context=0.01"),
    f"{STAGE_2}.language_model={LIGHT_T}",
)
CONTEXT = f"{STAGE_2}.context={{source: visual_initialing, retrieved: {{number: 2}}, folds: 2}}"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Eight clips, of which the first and the fifth, and the second and the sixth, say the same."""
    root = tmp_path_factory.mktemp("corpus")
    spec = tiny.write_corpus(root, num_train=8, num_dev=2)
    for first, second in ((0, 4), (1, 5)):
        path = next(root.rglob("PHOENIX-2014-T.train.corpus.csv"))
        tiny.edit(path, f"train {second}\n", f"train {first}\n")
    return spec


def train(corpus: str, output: Path, *changes: str, resume: bool = False) -> Path:
    return train_recipe(RECIPE, corpus, output, resume=resume, overrides=[*BASE, *changes])


@pytest.fixture(scope="module")
def run(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "run"
    train(corpus, output, CONTEXT)
    return output


def files(run: Path) -> list[Path]:
    return sorted(run.glob("context/*/fold-*.jsonl"))


def texts(run: Path) -> list[dict[str, Any]]:
    """For each fold the texts of its clips by their ids."""
    return [
        {row["id"]: row["texts"] for row in map(json.loads, path.read_text("utf-8").splitlines())}
        for path in files(run)
    ]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@contextmanager
def stopped_at(step: int) -> Iterator[None]:
    """Ends the block with a KeyboardInterrupt at an optimiser's step, counted over all stages."""
    steps = 0

    def stop(*_: object) -> None:
        nonlocal steps
        steps += 1
        if steps == step:
            raise KeyboardInterrupt

    handle = register_optimizer_step_post_hook(stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        handle.remove()


def test_a_clip_is_drafted_by_a_model_that_was_not_trained_on_it(
    corpus: str, run: Path, tmp_path: Path
) -> None:
    """Other frames of one clip change the drafts of the other fold, and no other of its own."""
    root = tmp_path / "corpus"
    shutil.copytree(corpus.partition(":")[2], root)
    (folder,) = root.rglob("train-3")
    shutil.rmtree(folder)
    tiny.write_frames(folder, 9, seed=99)
    train(f"phoenix14t:{root}", tmp_path / "run", CONTEXT)

    before, after = texts(run), texts(tmp_path / "run")
    own = next(number for number, fold in enumerate(before) if "train-3" in fold)
    assert before[own].keys() == after[own].keys()
    assert len(before[own]) > 1
    for name, found in before[own].items():
        if name != "train-3":
            assert found == after[own][name]
    for name, found in before[1 - own].items():
        assert found != after[1 - own][name]


def test_each_clip_has_a_draft_and_texts_of_others(corpus: str, run: Path) -> None:
    found = {name: row for fold in texts(run) for name, row in fold.items()}
    samples = {one.id: one.text for one in read_corpus(corpus).split("train")}

    assert found.keys() == samples.keys()
    assert len(set(samples.values())) == 6
    for name, row in found.items():
        assert [one["kind"] for one in row] == [DRAFT, RETRIEVED, RETRIEVED]
        assert samples[name] not in [one["text"] for one in row[1:]]
        assert all(0 <= one["confidence"] <= 1 for one in row)
    fold_of = {samples[name]: number for number, f in enumerate(texts(run)) for name in f}
    assert all(fold_of[samples[name]] == n for n, f in enumerate(texts(run)) for name in f)
    assert not list(run.glob("context/*/fold-?"))  # the models of the folds are gone


def test_the_models_folder_is_all_that_translating_takes(
    corpus: str, run: Path, tmp_path: Path
) -> None:
    samples = read_corpus(corpus).split("test")
    before = SignTranslator.from_pretrained(run)
    assert before.model.context is not None
    expected = before.translate(samples)
    shutil.copytree(run / "model", tmp_path / "elsewhere")

    found = SignTranslator.from_pretrained(tmp_path / "elsewhere").translate(samples)

    assert found == expected
    first = weights(run)
    stage_1 = load_file(run / "1-visual_initialing" / "model" / "model.safetensors")
    kept = [name for name in stage_1 if not name.startswith("encoder.")]
    assert kept
    assert all(torch.equal(first[f"context.{name}"], stage_1[name]) for name in kept)
    assert first["context.marks"].abs().sum() > 0
    scores = evaluate(tmp_path / "elsewhere", corpus, "test", tmp_path / "scores")
    assert scores


def test_an_interrupted_fold_goes_on_and_finished_ones_stay(
    corpus: str, run: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    # Two epochs of four steps; the folds' clips take two steps, or one, an epoch.
    with stopped_at(8 + 4 + 2):
        train(corpus, output, CONTEXT)
    (done,) = files(output)
    written = done.stat().st_mtime_ns
    train(corpus, output, CONTEXT, resume=True)

    assert files(output)[0].stat().st_mtime_ns == written
    assert texts(output) == texts(run)
    assert same(weights(output), weights(run))


def test_other_folds_are_found_anew_and_a_damaged_file_is_named(
    corpus: str, run: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    shutil.copytree(run, output)
    for name in ("2-llm_fine_tuning", "model"):
        shutil.rmtree(output / name)
    path = files(output)[0]
    path.write_text(path.read_text("utf-8")[:-20], encoding="utf-8")
    with pytest.raises(InputError, match=r"fold-1\.jsonl, line"):
        train(corpus, output, CONTEXT, resume=True)

    train(corpus, output, CONTEXT.replace("folds: 2", "folds: 3"), resume=True)

    assert len(list(output.glob("context/*"))) == 2
    assert len(files(output)) == 5


def test_a_decoder_only_model_reads_them_in_its_prompt(corpus: str, tmp_path: Path) -> None:
    context = CONTEXT.replace("folds: 2", "folds: 2, dropped: 0, draft: {lead: 'norden '}")
    changes = (f"{STAGE_2}.language_model={LLAMA}", context)
    train(corpus, tmp_path / "run", *changes)

    translator = SignTranslator.from_pretrained(tmp_path / "run")
    samples = read_corpus(corpus).split("test")
    together = translator.translate(samples, attention=True)
    assert translator.model.context is not None
    assert [one.text for one in together] == [translator.translate(s)[0].text for s in samples]
    with torch.no_grad():
        translator.model.context.marks += 9.0
    assert [one.score for one in translator.translate(samples)] != [one.score for one in together]


def test_without_folds_the_stage_itself_retrieves(corpus: str, run: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    shutil.copytree(run, output)
    for name in ("2-llm_fine_tuning", "model", "context"):
        shutil.rmtree(output / name)
    alone = "{source: visual_initialing, draft: null, retrieved: {number: 9}, folds: 0}"
    train(corpus, output, f"{STAGE_2}.context={alone}", resume=True)

    (found,) = texts(output)
    samples = {one.id: one.text for one in read_corpus(corpus).split("train")}
    for name, row in found.items():
        assert {one["text"] for one in row} == set(samples.values()) - {samples[name]}
    assert not any(name.startswith("context.language_model.") for name in weights(output))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            ["context={source: visual_initialing, folds: 9}"],
            "stages.llm_fine_tuning.context.folds: found 9, expected at most the 6 different",
        ),
        (
            [
                "context={source: visual_initialing, retrieved: {number: 100}}",
                f"language_model={LLAMA}",
            ],
            "stages.llm_fine_tuning.context: found up to ",
        ),
    ],
)
def test_what_cannot_be_is_told_before_the_first_stage(
    corpus: str, tmp_path: Path, changes: list[str], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        train(corpus, tmp_path / "run", *(f"{STAGE_2}.{change}" for change in changes))
    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_stage_without_its_alignment_file_is_named(
    corpus: str, run: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    shutil.copytree(run, output)
    for name in ("2-llm_fine_tuning", "model"):
        shutil.rmtree(output / name)
    model = output / "1-visual_initialing" / "model"
    (model / "alignment" / "trained.safetensors").unlink()
    with pytest.raises(InputError, match=r"alignment/trained\.safetensors") as caught:
        train(corpus, output, CONTEXT, resume=True)
    assert "\n" not in str(caught.value)
