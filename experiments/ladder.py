"""From FLa-LLM to the recipe `demo`, one addition after the other, on the generated corpus.

Run by `python -m experiments.ladder`. All rows of a seed have one pre-trained language model; each
has what the rows before it have. A row is compared with the one before it by paired approximate
randomisation over the clips of all seeds together, slot F1 on the same swaps as the other metrics.
A call that is interrupted goes on when it is repeated.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from experiments.common import (
    FURTHER_STAGES,
    PREDICTIONS,
    PRETRAINING,
    SPLITS,
    make_corpus,
    pretrain,
    read_test_split,
    write_extra_texts,
)
from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError
from unglossed.evaluation.evaluate import evaluate
from unglossed.evaluation.metrics import score
from unglossed.evaluation.significance import Difference, paired_differences
from unglossed.evaluation.text_files import read_hypotheses
from unglossed.files import write_text
from unglossed.training.train import train_recipe
from unglossed_synth.meaning import Meaning
from unglossed_synth.parsing import parse, slot_f1_meanings, slot_f1_measure

STAGE_1, STAGE_2 = FURTHER_STAGES
SLOT_F1 = "slot F1"
_FIRST = f"stages.{STAGE_1}."
_ENCODER = (
    "{config: {backbone: {model_type: resnet, layer_type: basic, embedding_size: 16, hidden_sizes:"
    " [16, 32, 64, 128], depths: [1, 1, 1, 1]}, grid: 2, temporal_dim: 256}}"
)
_LIGHT_T = "{config: {light_t: {layers: 1, heads: 4, width: 256, ffn_dim: 1024}, dropout: 0.1}}"
_GRID = f"{_FIRST}encoder={_ENCODER}"
_NOTHING_READ = (
    f"{_FIRST}language_model={_LIGHT_T}",
    f"{_FIRST}learning_rates.language_model=1.0e-3",
)
_NO_WORDS = f"{_FIRST}alignment={{weight: 0.5}}"
_RATES = "{encoder: 1.0e-3, adapter: 1.0e-3, language_model: 1.0e-3}"
_NO_CONTRAST = (f"{_FIRST}alignment=null", f"{_FIRST}learning_rates={_RATES}")
ROWS: dict[str, tuple[str, ...]] = {
    "FLa-LLM": (_GRID, *_NOTHING_READ, *_NO_CONTRAST),
    "contrast": (_GRID, *_NOTHING_READ, _NO_WORDS),
    "the light model has read": (_GRID, _NO_WORDS),
    "words and grid": (f"{_FIRST}encoder.config.motion=false",),
    "motion": (),
}
"""What each row takes back of the recipe `demo`: the last one nothing."""
_NEW_ADAPTER = (
    "adapter={config: {hidden_dim: 256}}",
    "learning_rates={adapter: 1.0e-3, language_model: 3.0e-4}",
    "epochs=6",
)
OWN_MODEL = ("FLa-LLM", "contrast")
"""Rows whose stage 2 has the pre-trained language model, as their stage 1 has another."""


def train(
    corpus: Path, output: Path, seed: int, names: Sequence[str], overrides: Sequence[str]
) -> None:
    """Train rows with a seed and write both stages' translations of both test splits.

    Args:
        corpus: folder of a generated corpus.
        output: folder of the seed's runs.
        seed: of the trainings.
        names: of the rows.
        overrides: further changes of the recipe.
    """
    spec = f"phoenix14t:{corpus}"
    texts = write_extra_texts(read_corpus(spec), output / "extra_texts.txt")
    common = [f"seed={seed}", texts, *overrides]
    model = pretrain(spec, output, common)
    for name in names:
        folder = output / name.replace(" ", "-")
        changes = [*common, f"stages.{PRETRAINING}.skip=true"]
        changes += [f"{_FIRST}language_model.source={model}", *ROWS[name]]
        if name in OWN_MODEL:
            changes += [f"stages.{STAGE_2}.{change}" for change in _NEW_ADAPTER]
            changes.append(f"stages.{STAGE_2}.language_model.source={model}")
        train_recipe("demo", spec, folder, resume=True, overrides=changes)
        for stage in (STAGE_1, STAGE_2):
            (trained,) = folder.glob(f"*-{stage}/model")
            for split in SPLITS:
                told = folder / "scores" / stage / split
                if not (told / PREDICTIONS).is_file():
                    evaluate(trained, spec, split, told)


def compare(corpus: Path, output: Path, seeds: Sequence[int], names: Sequence[str]) -> str:
    """The rows as tables in Markdown, of each split: means over seeds, tests, what is read.

    Args:
        corpus: folder of a generated corpus.
        output: folder of the runs of all seeds, see `train`.
        seeds: that are there.
        names: of the rows, in their order.
    """
    read = read_corpus(f"phoenix14t:{corpus}")
    tables = []
    for split in SPLITS:
        test = read_test_split(read, corpus, split)
        references, meanings = test.references * len(seeds), test.meanings * len(seeds)
        measure = slot_f1_measure(meanings, test.language)
        lines = [
            f"### `{split}`",
            "",
            "| row | seconds of both stages | stage 1: BLEU-4, slot F1 | BLEU-4 | slot F1 |"
            " p, BLEU-4 | p, slot F1 | intensity | negation |",
            "|" + "---|" * 9,
        ]
        before: list[str] | None = None
        for name in names:
            folders = [output / f"seed-{seed}" / name.replace(" ", "-") for seed in seeds]
            first, both = (
                [
                    read_hypotheses(folder / "scores" / stage / split / PREDICTIONS)
                    for folder in folders
                ]
                for stage in (STAGE_1, STAGE_2)
            )
            facts = [
                json.loads(p.read_text()) for f in folders for p in f.glob("*/model/stage.json")
            ]
            seconds = sum(fact["seconds"] for fact in facts) / len(seeds)
            texts = [text for one in both for text in one]
            tests: Mapping[str, Difference] = {}
            if before is not None:
                tests = paired_differences(before, texts, references, test.language, more=[measure])
            cells = [
                name,
                f"{seconds:.0f}",
                f"{_mean(first, test.references, test.language)}, {_slots(first, test.meanings)}",
                _mean(both, test.references, test.language),
                _slots(both, test.meanings),
                *(_p(tests, metric) for metric in ("BLEU-4", SLOT_F1)),
                *_read(texts, meanings, test.language),
            ]
            lines.append("| " + " | ".join(cells) + " |")
            before = texts
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


def _mean(systems: Sequence[Sequence[str]], references: Sequence[str], language: str) -> str:
    found = [score(texts, references, language).bleu4 or 0.0 for texts in systems]
    return _told(found, 1)


def _slots(systems: Sequence[Sequence[str]], meanings: Sequence[Meaning]) -> str:
    return _told([slot_f1_meanings(texts, meanings, "de") for texts in systems], 3)


def _told(values: Sequence[float], digits: int) -> str:
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def _p(tests: Mapping[str, Difference], metric: str) -> str:
    if metric not in tests:
        return ""
    p = tests[metric].p
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _read(texts: Sequence[str], meanings: Sequence[Meaning], language: str) -> list[str]:
    """Share of right values of intensity and negation, where it is said or meant."""
    right, seen = Counter[str](), Counter[str]()
    for text, meaning in zip(texts, meanings, strict=True):
        said, meant = parse(text, language), meaning.slots()
        for slot in {*said, *meant}:
            seen[slot] += 1
            right[slot] += said.get(slot) == meant.get(slot)
    return [f"{right[slot] / max(seen[slot], 1):.2f}" for slot in ("intensity", "negated")]


def main(
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value of the recipe.")] = None,
    output: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("runs/ladder"),
    seeds: Annotated[str, typer.Option(help="With commas between.")] = "0,1,2",
    only: Annotated[str, typer.Option(help="Rows, with commas between.")] = ",".join(ROWS),
    corpus: Annotated[Path | None, typer.Option(help="Generated corpus; else it is made.")] = None,
) -> None:
    """Train, score and compare the rows."""
    names = only.split(",")
    place = corpus or output / "corpus"
    numbers = [int(seed) for seed in seeds.split(",")]
    try:
        if unknown := [name for name in names if name not in ROWS]:
            raise InputError(f"--only: found {unknown[0]!r}, expected some of {', '.join(ROWS)}")
        make_corpus(place)
        for seed in numbers:
            train(place, output / f"seed-{seed}", seed, names, overrides or ())
        told = compare(place, output, numbers, names)
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    write_text(output / "ladder.md", told + "\n")
    Console(soft_wrap=True).print(told)


if __name__ == "__main__":
    typer.run(main)
