"""What a stage is trained on: glosses, clips that may be too short for them, masked texts."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.progress import Progress
from safetensors.torch import load_file

import tiny
from shrinking import shrink
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Corpus, Sample
from unglossed.errors import InputError
from unglossed.models.processing import TranslatorProcessor
from unglossed.models.tuning import is_lora
from unglossed.training.data import Collator
from unglossed.training.job import Job
from unglossed.training.objectives import Task, build_task
from unglossed.training.recipe import load_recipe
from unglossed.training.run import Run
from unglossed.training.train import train_recipe

LORA = {"r": 2, "alpha": 8.0, "dropout": 0.0}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Clips of 6 to 9 kept frames with five glosses."""
    return read_corpus(tiny.write_corpus(tmp_path_factory.mktemp("corpus"), 4, 2, num_frames=24))


def change(corpus: Corpus, split: str, changed: Callable[[Sample], Sample]) -> Corpus:
    samples = tuple(changed(sample) for sample in corpus.split(split))
    return replace(corpus, splits={**corpus.splits, split: samples})


def first_task(recipe: str, corpus: Corpus, models: Path, folder: Path, *changes: str) -> Task:
    settings = load_recipe(recipe, [*shrink(recipe, models), *changes])
    run = Run(settings, corpus, folder)
    return build_task(Job(run, settings.stages[0], 1, {}, Progress()))


def test_clips_are_cut_where_the_language_model_has_no_more_positions(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = read_corpus(tiny.write_corpus(tmp_path / "corpus", 2, 1, num_frames=64))
    config = "stages.visual_initialing.language_model.config"
    whole = first_task("fla_llm", corpus, models, tmp_path / "whole")
    lengths = [len(whole.dataset[0, index]["frames"]) for index in range(len(whole.dataset))]
    assert min(lengths) > 12
    assert "truncated" not in capsys.readouterr().err

    task = first_task(
        "fla_llm", corpus, models, tmp_path / "cut", f"{config}.max_position_embeddings=12"
    )

    assert [len(task.dataset[0, index]["frames"]) for index in range(len(lengths))] == [
        12 for _ in lengths
    ]
    batch = Collator(TranslatorProcessor.from_pretrained(tmp_path / "cut" / "processor"))(
        [task.dataset[0, index] for index in range(len(lengths))]
    )
    assert task.model(**batch).logits.isfinite().all()
    told = capsys.readouterr().err
    assert "note: stages.visual_initialing: 2 clips truncated at 1.9 seconds: the model has" in told


@pytest.mark.parametrize("split", ["train", "dev"])
@pytest.mark.parametrize("gloss", [None, " "])
def test_a_corpus_without_glosses_is_one_line(
    split: str, gloss: str | None, corpus: Corpus, models: Path, tmp_path: Path
) -> None:
    def strip(sample: Sample) -> Sample:
        return replace(sample, gloss=gloss) if sample.id == f"{split}-1" else sample

    with pytest.raises(InputError) as caught:
        first_task("gloss_based", change(corpus, split, strip), models, tmp_path)

    message = str(caught.value)
    assert message.startswith(f"{corpus.spec}: found 1 of ")
    assert f"{split} clips without glosses (first: {split}-1)" in message
    assert message.endswith("expected glosses for stages.gloss_recognition")


def test_the_vocabulary_is_that_of_train(corpus: Corpus, models: Path, tmp_path: Path) -> None:
    def add(sample: Sample) -> Sample:
        return replace(sample, gloss=f"{sample.gloss} HAGEL")

    task = first_task("gloss_based", change(corpus, "dev", add), models, tmp_path)

    glosses = task.model.config.symbols
    assert glosses == sorted(glosses)
    assert {"REGEN", "NORDEN", "TRAIN"} <= set(glosses)
    assert not {"HAGEL", "DEV"} & set(glosses)
    said = (corpus.split("train")[2].gloss or "").split()
    assert [glosses[number - 1] for number in task.dataset[0, 2]["labels"]] == said
    assert task.scores is not None
    assert task.scores()["word_error_rate"] >= 100 * 2 / 6  # of HAGEL and DEV at the least


def test_clips_that_are_too_short_for_their_glosses_are_counted(
    corpus: Corpus, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first_task("gloss_based", corpus, models, tmp_path / "all")
    assert "note" not in capsys.readouterr().err

    def repeat(sample: Sample) -> Sample:
        return replace(sample, gloss="REGEN REGEN REGEN REGEN")  # seven frames, for the blanks

    first_task("gloss_based", change(corpus, "train", repeat), models, tmp_path / "repeated")
    found = capsys.readouterr().err
    assert (
        "note: 1 of 4 train clips have fewer kept frames than their glosses need"
        " (first: train-0); they add nothing to the loss\n"
    ) in found

    first_task("gloss_based", corpus, models, tmp_path / "cut", "video.max_frames=4")
    assert "note: 4 of 4 " in capsys.readouterr().err


@pytest.mark.parametrize(("letters", "told"), [(50, ""), (51, "note: 1 of 2 train clips")])
def test_clips_that_are_too_short_for_their_letters_are_counted(
    letters: int, told: str, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    transcript = ("ab" * 30)[:letters]
    lines = ["id,media,text,split,language,start,end,transcript"]
    for number, split in enumerate(["train", "train", "dev"]):
        said = transcript if number else "ab"
        lines.append(f"a{number},a.wav,{tiny.SENTENCES[0]},{split},de,{number},{number + 1},{said}")
    (tmp_path / "a.wav").write_bytes(b"")
    (tmp_path / "own.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    corpus = read_corpus(f"table:{tmp_path / 'own.csv'}")

    first_task("lst_demo", corpus, models, tmp_path / "run")  # a second has 50 positions

    found = capsys.readouterr().err
    assert told in found
    assert ("fewer positions than their letters need (first: a1)" in found) is bool(told)


def test_stage_1_of_gfslt_vlp_reads_clips_and_masked_sentences(
    corpus: Corpus, models: Path, tmp_path: Path
) -> None:
    task = first_task("gfslt_vlp", corpus, models, tmp_path, "stages.0.masking.share=0.5")

    item = task.dataset[0, 1]

    mask_id = tiny.tiny_processor().tokenizer.mask_token_id
    hidden = len(item["labels"]) - sum(token != mask_id for token in item["input_ids"])
    assert item["frames"].dtype == torch.uint8
    assert hidden / (len(item["labels"]) - 1) == pytest.approx(0.5, abs=0.1)


def test_denoising_goes_on_with_the_language_model_of_an_earlier_stage(
    corpus: Corpus, models: Path, tmp_path: Path
) -> None:
    """One stage trains the whole of it, the next LoRA beside it; the third is given both."""
    first = load_recipe("demo", shrink("demo", models)).stages[0].model_dump_json()
    second = {"name": "more", "language_model": {"source": "language_pretraining", "lora": LORA}}
    third = {"name": "last", "language_model": {"source": "more"}}
    stages = [json.loads(first) | changes for changes in ({}, second, third)]
    overrides = [*shrink("demo", models), f"stages={json.dumps(stages)}"]

    train_recipe("demo", corpus.spec, tmp_path / "run", overrides=overrides)

    weights = [
        load_file(next((tmp_path / "run").glob(f"{number}-*")) / "model" / "model.safetensors")
        for number in (1, 2, 3)
    ]
    assert not any(is_lora(name) for name in weights[0])
    for name, value in weights[1].items():
        if not is_lora(name):
            assert torch.equal(value, weights[0][name.replace(".base_layer", "")])
            assert torch.equal(value, weights[2][name])
    matrices = [name for name in weights[1] if ".lora_B." in name]
    assert matrices
    assert all(weights[1][name].any() for name in matrices)
    assert not any(torch.equal(weights[1][name], weights[2][name]) for name in matrices)
