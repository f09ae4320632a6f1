"""From FLa-LLM to the recipe `demo`, one addition after the other, on the generated corpus.

Run by `python -m experiments.ladder`. All rows of a seed have one pre-trained language model; each
has what the rows before it have, and the last ones try an option on top of row `motion`. A row is
compared with the one before it, or with that row, by paired approximate randomisation over the
clips of all seeds together, slot F1 on the same swaps as the other metrics. A call that is
interrupted goes on when it is repeated.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from experiments.common import (
    FURTHER_STAGES,
    PREDICTIONS,
    PRETRAINING,
    SHORT_STAGE_2,
    SPLITS,
    chosen,
    folder_of,
    make_corpus,
    mean_told,
    mistakes_told,
    pretrain,
    read_test_split,
    refuse_seed,
    stage_facts,
    stage_models,
    write_extra_texts,
)
from unglossed.cli.reproduce import seed_numbers
from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError
from unglossed.evaluation.evaluate import evaluate
from unglossed.evaluation.metrics import score
from unglossed.evaluation.significance import Difference, format_p, paired_differences
from unglossed.evaluation.text_files import read_hypotheses
from unglossed.files import write_text
from unglossed.training.train import train_recipe
from unglossed_synth.meaning import Meaning
from unglossed_synth.parsing import parse, slot_f1_meanings, slot_f1_measure

STAGE_1, STAGE_2 = FURTHER_STAGES
SLOT_F1 = "slot F1"
FIRST, LAST = "first", "last"
"""Stages whose translations are scored."""
_FIRST, _SECOND = f"stages.{STAGE_1}.", f"stages.{STAGE_2}."
_NO_CONTRAST = (
    f"{_FIRST}alignment=null",
    f"{_FIRST}learning_rates={{encoder: 1.0e-3, adapter: 1.0e-3, language_model: 1.0e-3}}",
)
_NO_WORDS = f"{_FIRST}alignment={{weight: 0.5}}"
_NO_MOTION = f"{_FIRST}encoder.config.motion=false"
_FOUR_STAGES = (
    f"{_FIRST}encoder.config.backbone.hidden_sizes=[16, 32, 64, 128]",
    f"{_FIRST}encoder.config.backbone.depths=[1, 1, 1, 1]",
    f"{_FIRST}encoder.config.grid=2",
)
_SHORT = (*SHORT_STAGE_2, f"{_SECOND}epochs=4", f"{_SECOND}evaluate_every=2")
_TEXTS = f"{_SECOND}learning_rates.context=1.0e-3"
_REWARD = {
    "name": "reward",
    "objective": "reward",
    **{part: {"source": STAGE_2} for part in ("encoder", "adapter", "language_model")},
    "frozen": ["encoder"],
    "reward": {"metric": "bleu", "group": 8, "kl": 0.04},
    "learning_rates": {"adapter": 3.0e-5, "language_model": 3.0e-5},
    "batch_size": 16,
    "epochs": 1,
    "feature_views": 1,
}
_LLAMA = {
    "config": {
        "model_type": "llama",
        "hidden_size": 256,
        "intermediate_size": 768,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
    },
    "prompt": {"before": "<s>", "after": "<s>"},
}
_DECODER = (
    f"{_SECOND}adapter={{config: {{hidden_dim: 256}}}}",
    f"{_SECOND}language_model={json.dumps(_LLAMA)}",
    f"{_SECOND}batch_size=32",
    f"{_SECOND}learning_rates={{adapter: 1.0e-3, language_model: 1.0e-3}}",
    f"{_SECOND}epochs=12",
    f"{_SECOND}evaluate_every=4",
)
MOTION = "motion"
"""Row whose stage 1 the others take over; its own stage 2 is short."""
DECODER = "decoder-only"
"""Row whose stage 2 has a decoder-only model that has read nothing, as some options want one."""


@dataclass(frozen=True)
class Row:
    """A system of the ladder.

    Attributes:
        recipe: That it begins with: `demo`, or `fla_llm_small` behind which stage 2 has a new
            adapter in front of the pre-trained language model.
        changes: Of the recipe.
        behind: Row whose stage 1 it takes over, and which it is compared with; None: it trains a
            stage 1, and is compared with the row before it.
        against: Row that it is compared with instead.
        last: A stage behind the others; None: there is none.
    """

    recipe: str = "demo"
    changes: tuple[str, ...] = ()
    behind: str | None = None
    against: str | None = None
    last: Mapping[str, Any] | None = None


ROWS = {
    "FLa-LLM": Row("fla_llm_small", _NO_CONTRAST),
    "contrast": Row("fla_llm_small"),
    "the light model has read": Row(changes=(*_SHORT, *_FOUR_STAGES, _NO_MOTION, _NO_WORDS)),
    "words and grid": Row(changes=(*_SHORT, _NO_MOTION)),
    MOTION: Row(changes=_SHORT),
    "high rates": Row(behind=MOTION),
    "retrieved texts": Row(
        changes=(
            f"{_SECOND}context={{source: {STAGE_1}, draft: null, retrieved: {{}}, folds: 0}}",
            *(*_SHORT, _TEXTS),
        ),
        behind=MOTION,
    ),
    "drafts": Row(
        changes=(f"{_SECOND}context={{source: {STAGE_1}, folds: 2}}", *_SHORT, _TEXTS),
        behind=MOTION,
    ),
    "reward": Row(changes=_SHORT, behind=MOTION, last=_REWARD),
    DECODER: Row(changes=_DECODER, behind=MOTION),
    "masked features": Row(
        changes=(*_DECODER, f"{_SECOND}masked_features={{}}"), behind=MOTION, against=DECODER
    ),
}
"""Each of the first six has what those before it have; the others are tried on top of `motion`."""


def train(
    corpus: Path, output: Path, seed: int, names: Sequence[str], overrides: Sequence[str]
) -> None:
    """Train rows with a seed and write both stages' translations of both test splits.

    Args:
        corpus: folder of a generated corpus.
        output: folder of the seed's runs.
        seed: of the trainings.
        names: of the rows; one that takes over a stage comes after the one that trains it.
        overrides: further changes of the recipe.
    """
    refuse_seed(overrides)
    spec = f"phoenix14t:{corpus}"
    texts = write_extra_texts(read_corpus(spec), output / "extra_texts.txt")
    common = [f"seed={seed}", texts, *overrides]
    model = pretrain(spec, output, common)
    for name in names:
        row, folder = ROWS[name], output / folder_of(name)
        changes = [*common, f"stages.{PRETRAINING}.skip=true", *row.changes]
        stage = STAGE_1 if row.recipe == "demo" else STAGE_2
        changes.append(f"stages.{stage}.language_model.source={model}")
        train_recipe(
            *(_recipe(row, output / f"{folder_of(name)}.yaml"), spec, folder),
            resume=True,
            overrides=changes,
            trained={STAGE_1: _model(output / folder_of(row.behind), STAGE_1)}
            if row.behind
            else {},
        )
        for told, trained in ((FIRST, _model(folder, STAGE_1)), (LAST, folder)):
            for split in SPLITS:
                scores = folder / "scores" / told / split
                if not _is_newer(scores / PREDICTIONS, folder):
                    evaluate(trained, spec, split, scores)


def _recipe(row: Row, path: Path) -> str | Path:
    """The row's recipe, written to `path` where it is none that is shipped."""
    if row.last is None:
        return row.recipe
    stages = [{"name": STAGE_2}, row.last]
    write_text(path, json.dumps({"base": row.recipe, "stages": stages}, indent=1) + "\n")
    return path


def _is_newer(file: Path, run: Path) -> bool:
    """Whether a file is there and none of the run's stages was trained after it."""
    stages = run.glob("*/model/stage.json")
    return file.is_file() and all(file.stat().st_mtime >= stage.stat().st_mtime for stage in stages)


def _model(run: Path, stage: str) -> Path:
    (model,) = stage_models(run, stage)
    return model


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
            "| row | seconds of its stages | stage 1: BLEU-4, slot F1 | BLEU-4 | slot F1 |"
            " p, BLEU-4 | p, slot F1 | intensity | negation |",
            "|" + "---|" * 9,
        ]
        written: dict[str, list[str]] = {}
        before = ""
        for name in names:
            folders = [output / f"seed-{seed}" / folder_of(name) for seed in seeds]
            first, both = (
                [read_hypotheses(f / "scores" / told / split / PREDICTIONS) for f in folders]
                for told in (FIRST, LAST)
            )
            facts = [fact for folder in folders for fact in stage_facts(folder)]
            seconds = sum(fact["seconds"] for fact in facts) / len(seeds)
            texts = [text for one in both for text in one]
            tests: Mapping[str, Difference] = {}
            other = written.get(ROWS[name].against or ROWS[name].behind or before)
            if other is not None:
                tests = paired_differences(other, texts, references, test.language, more=[measure])
            cells = [
                name,
                f"{seconds:.0f}",
                f"{_mean(first, test.references, test.language)},"
                f" {_slots(first, test.meanings, test.language)}",
                _mean(both, test.references, test.language),
                _slots(both, test.meanings, test.language),
                *(format_p(tests[one].p) if one in tests else "" for one in ("BLEU-4", SLOT_F1)),
                *_read(texts, meanings, test.language),
            ]
            lines.append("| " + " | ".join(cells) + " |")
            written[name], before = texts, name
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


def _mean(systems: Sequence[Sequence[str]], references: Sequence[str], language: str) -> str:
    found = [score(texts, references, language).bleu4 or 0.0 for texts in systems]
    return mean_told(found, 1)


def _slots(systems: Sequence[Sequence[str]], meanings: Sequence[Meaning], language: str) -> str:
    return mean_told([slot_f1_meanings(texts, meanings, language) for texts in systems], 3)


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
    place = corpus or output / "corpus"
    with mistakes_told():
        asked = chosen(only, ROWS)
        names = [name for name in ROWS if name in asked]
        for name in names:
            for needed, told in (
                (ROWS[name].behind, "whose stage 1 it takes over"),
                (ROWS[name].against, "which it is compared with"),
            ):
                if needed and needed not in names:
                    raise InputError(f"--only: {name}: found no {needed}, {told}")
        numbers = seed_numbers(seeds) or []
        make_corpus(place)
        for seed in numbers:
            train(place, output / f"seed-{seed}", seed, names, overrides or ())
        told = compare(place, output, numbers, names)
    write_text(output / "ladder.md", told + "\n")
    Console(soft_wrap=True).print(told)


if __name__ == "__main__":
    typer.run(main)
