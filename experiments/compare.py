"""Factorized training against joint and gloss-based training on the generated corpus.

Run by `make results-generated`, or `python -m experiments.compare --output runs/compare`;
docs/results/generated.md has what it gave. A call that is interrupted goes on when it is repeated.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from experiments.common import (
    HEIGHT,
    LEVEL,
    NUM_SENTENCES,
    SPLITS,
    WIDTH,
    read_test_split,
    write_extra_texts,
)
from experiments.comparison import Run, write_results
from experiments.processes import Processes
from experiments.systems import (
    FACTORIZED,
    GLOSS_BASED,
    JOINT,
    SYSTEMS,
    language_model_recipe,
    split_stages,
    system_recipe,
)
from unglossed.config import read_settings, write_settings
from unglossed.corpora.parallel import num_cores
from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError
from unglossed.evaluation.report import ScoreRow
from unglossed.files import exclusive
from unglossed.training.recipe import Recipe, load_recipe
from unglossed_synth.corpus import write_corpus

STAGE_1 = "stage 1 alone"
NORMS_EVERY = 4


@dataclass(frozen=True)
class Condition:
    """A corpus and what is changed in the recipe for it.

    Attributes:
        num_sentences: clips of the corpus, all splits together.
        level: of its grammar.
        overrides: `key=value` changes of the recipe.
    """

    num_sentences: int = NUM_SENTENCES
    level: int = LEVEL
    overrides: tuple[str, ...] = ()


_THRICE_THE_EPOCHS = (  # with a third of the clips: about as many steps
    *("stages.1.epochs=24", "stages.1.evaluate_every=3"),
    *("stages.2.epochs=18", "stages.2.evaluate_every=6"),
)
_THREE_EPOCHS = ("stages.1.epochs=3",)
_NO_CONTRAST = (
    "stages.1.alignment=null",
    "stages.1.learning_rates={encoder: 1.0e-3, adapter: 1.0e-3, language_model: 1.0e-3}",
)
_LONG = tuple(
    f"stages.{stage}.{key}" for stage in (1, 2) for key in ("epochs=12", "evaluate_every=3")
)
_LARGE_LANGUAGE_MODEL = tuple(
    f"stages.0.language_model.config.{key}={value}"
    for key, value in {
        "d_model": 512,
        "encoder_layers": 4,
        "decoder_layers": 4,
        "encoder_attention_heads": 8,
        "decoder_attention_heads": 8,
        "encoder_ffn_dim": 2048,
        "decoder_ffn_dim": 2048,
        "init_std": 0.0442,
    }.items()
)

CONDITIONS = {
    "demo": Condition(),
    "few_clips": Condition(num_sentences=600, overrides=_THRICE_THE_EPOCHS),
    "few_epochs": Condition(overrides=_THREE_EPOCHS),
    "no_contrast": Condition(overrides=_NO_CONTRAST),
    "no_contrast_long": Condition(overrides=(*_NO_CONTRAST, *_LONG)),  # the demo of version 0.1
    "long_text": Condition(level=3),
    "large_language_model": Condition(overrides=_LARGE_LANGUAGE_MODEL),
    "all_three": Condition(
        num_sentences=600,
        level=3,
        overrides=(*_THRICE_THE_EPOCHS, *_LARGE_LANGUAGE_MODEL),
    ),
}


class Comparison:
    """One comparison: its folder, and what is in it.

    OUTPUT/seed-<n>/corpus/        what is trained and tested on
    OUTPUT/seed-<n>/<run>/         of `language_model` and each system; <run>.yaml, <run>.log
    OUTPUT/seed-<n>/evaluation/    predictions and scores of each system and split
    OUTPUT/results.*, *.svg        see `comparison.py`

    Args:
        output: the folder.
        condition: the corpora.
        recipe: resolved, with two stages and perhaps a pre-training.
        processes: run the commands.
        tell: is given a line for each step.
        has_extra_texts: train the language model on more than the texts of the clips.
    """

    def __init__(
        self,
        output: Path,
        condition: Condition,
        recipe: Recipe,
        processes: Processes,
        tell: Callable[[str], None],
        *,
        has_extra_texts: bool = False,
    ) -> None:
        self.output = output.resolve()
        self.condition = condition
        self.recipe = recipe
        self.processes = processes
        self.tell = tell
        self.has_extra_texts = has_extra_texts

    def make_corpus(self, seed: int) -> None:
        """Generate the corpus of a seed, or check that the one that is there is the same."""
        folder = self._corpus(seed)
        busy = f"waiting: another process draws {folder}"
        with exclusive(folder.with_name(".corpus.lock"), lambda: self.tell(busy)):
            self._make_corpus(seed, folder)

    def _make_corpus(self, seed: int, folder: Path) -> None:
        wanted = {"num_sentences": self.condition.num_sentences, "level": self.condition.level}
        if not folder.is_dir():
            self.tell(f"seed {seed}: the corpus is generated")
            write_corpus(
                folder,
                wanted["num_sentences"],
                seed,
                width=WIDTH,
                height=HEIGHT,
                level=wanted["level"],
            )
            return
        facts = json.loads((folder / "generated.json").read_text(encoding="utf-8"))
        found = {name: facts[name] for name in wanted}
        if found != wanted:
            raise InputError(f"{folder}: found {found}, expected {wanted}; choose another --output")

    def train_language_model(self, seed: int) -> None:
        """Train the language model that all systems of a seed start from."""
        recipe = language_model_recipe(self.recipe)
        if recipe is not None:
            if self.has_extra_texts:
                path = self._seed(seed) / "extra_texts.txt"
                write_extra_texts(read_corpus(self._spec(seed)), path, self.condition.level)
                recipe = recipe.model_copy(update={"extra_texts": str(path)})
            self._train(seed, "language_model", recipe)

    def run_system(self, seed: int, system: str) -> None:
        """Train a system and translate the test splits with it."""
        corpus = read_corpus(self._spec(seed))
        recipe = system_recipe(
            system, self.recipe, corpus.language, self._run(seed, "language_model"), NORMS_EVERY
        )
        self._train(seed, system, recipe)
        for name, model in self._models(seed, system).items():
            for split in SPLITS:
                self._evaluate(seed, name, split, model)

    def is_finished(self, seed: int, system: str) -> bool:
        """Whether a system of a seed is trained and its translations are scored."""
        return all(
            (self._evaluation(seed, name, split) / "metrics.json").is_file()
            for name in self._models(seed, system)
            for split in SPLITS
        )

    def rows(self, seed: int, systems: Sequence[str]) -> list[ScoreRow]:
        """Scores of yardsticks and systems of a seed."""
        corpus = read_corpus(self._spec(seed))
        rows = []
        for split in SPLITS:
            read = read_test_split(corpus, self._corpus(seed), split)
            rows += read.ceilings(seed)
            for system in systems:
                for name in self._models(seed, system):
                    path = self._evaluation(seed, name, split) / "predictions.jsonl"
                    told = [json.loads(line) for line in path.open(encoding="utf-8")]
                    by_id = {row["id"]: row["hypothesis"] for row in told}
                    rows.append(read.row(name, [by_id[sample.id] for sample in read.samples]))
        return rows

    def run_of(self, seed: int, system: str) -> Run:
        """A finished run."""
        return Run(system, seed, self._run(seed, system))

    def _train(self, seed: int, name: str, recipe: Recipe) -> None:
        folder = self._run(seed, name)
        recipe = Recipe.model_validate({**recipe.model_dump(mode="json"), "seed": seed})
        path = folder.with_name(f"{name}.yaml")
        if (folder / "recipe.yaml").is_file():
            if read_settings(Recipe, folder / "recipe.yaml") != recipe:
                raise InputError(
                    f"{folder}: was trained with another recipe; choose another --output"
                )
        else:
            shutil.rmtree(folder, ignore_errors=True)  # killed before its first file was whole
            write_settings(recipe, path)
        arguments = ["train", str(path), "--corpus", self._spec(seed), "--output", str(folder)]
        self._command(
            f"seed {seed}, {name}: trained", [*arguments, "--resume"], folder / "model", folder
        )

    def _evaluate(self, seed: int, name: str, split: str, model: Path) -> None:
        folder = self._evaluation(seed, name, split)
        arguments = ["evaluate", str(model), "--corpus", self._spec(seed), "--split", split]
        self._command(
            f"seed {seed}, {name}: {split} translated",
            [*arguments, "--output", str(folder)],
            folder / "metrics.json",  # which is written last
            folder,
        )

    def _command(self, title: str, arguments: list[str], made: Path, folder: Path) -> None:
        if made.exists():
            return
        started = time.monotonic()
        log = folder.with_name(f"{folder.name}.log")
        self.processes.run(arguments, log, made.exists)
        self.tell(f"{title} in {time.monotonic() - started:.0f} s")

    def _models(self, seed: int, system: str) -> dict[str, Path]:
        """Folders of the models of a run that are scored, by the name in the tables."""
        folder = self._run(seed, system)
        models = {system: folder / "model"}
        if system == FACTORIZED:
            _, first, _ = split_stages(self.recipe)
            models = {STAGE_1: folder / f"1-{first['name']}" / "model", **models}
        return models

    def _seed(self, seed: int) -> Path:
        return self.output / f"seed-{seed}"

    def _corpus(self, seed: int) -> Path:
        return self._seed(seed) / "corpus"

    def _spec(self, seed: int) -> str:
        return f"phoenix14t:{self._corpus(seed)}"

    def _run(self, seed: int, name: str) -> Path:
        return self._seed(seed) / name

    def _evaluation(self, seed: int, name: str, split: str) -> Path:
        return self._seed(seed) / "evaluation" / f"{name.replace(' ', '_')}-{split}"


def run_comparison(
    output: Path,
    condition: Condition,
    *,
    recipe: str = "demo",
    seeds: Sequence[int] = (0, 1, 2),
    systems: Sequence[str] = (FACTORIZED, JOINT, GLOSS_BASED),
    num_jobs: int = 2,
) -> Path:
    """Train and score systems, whatever of it is not done yet, and gather the results.

    The results are of all systems that are finished for the seeds, trained now or earlier.

    Args:
        output: folder of corpora, runs and results.
        condition: the corpus, and changes of the recipe.
        recipe: what all systems are made from.
        seeds: of corpora and trainings.
        systems: keys of `SYSTEMS`.
        num_jobs: trainings side by side, which share the processor's cores.

    Returns:
        The page of tables.

    Raises:
        InputError: a system is unknown, the recipe has other stages than it must, `output` holds a
            comparison under another condition, or a command failed.
    """
    unknown = [name for name in systems if name not in SYSTEMS]
    if unknown:
        raise InputError(f"--only: found {unknown[0]!r}, expected one of {', '.join(SYSTEMS)}")
    settings = load_recipe(recipe, list(condition.overrides))
    split_stages(settings)
    console = Console(soft_wrap=True)
    tell = partial(console.print, markup=False, highlight=False)
    processes = Processes(num_jobs, max(1, num_cores() // num_jobs), tell)
    comparison = Comparison(
        output, condition, settings, processes, tell, has_extra_texts=recipe == "demo"
    )
    for seed in seeds:
        comparison.make_corpus(seed)
    processes.side_by_side([partial(comparison.train_language_model, seed) for seed in seeds])
    processes.side_by_side(
        [partial(comparison.run_system, seed, system) for seed in seeds for system in systems]
    )
    finished = [
        system for system in SYSTEMS if all(comparison.is_finished(seed, system) for seed in seeds)
    ]
    facts = {
        "recipe": recipe,
        "num_sentences": condition.num_sentences,
        "level": condition.level,
        "overrides": list(condition.overrides),
        "seeds": list(seeds),
        "systems": finished,
    }
    page = write_results(
        output,
        facts,
        {seed: comparison.rows(seed, finished) for seed in seeds},
        [comparison.run_of(seed, system) for system in finished for seed in seeds],
    )
    tell(page)
    return output / "results.md"


def main(
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value of the recipe.")] = None,
    output: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs/compare"),
    seeds: Annotated[str, typer.Option(help="Of corpora and trainings.")] = "0 1 2",
    only: Annotated[
        list[str] | None, typer.Option(help=f"A system, of {', '.join(SYSTEMS)}; may be repeated.")
    ] = None,
    condition: Annotated[str, typer.Option(help=f"One of {', '.join(CONDITIONS)}.")] = "demo",
    sentences: Annotated[int | None, typer.Option(help="Clips, all splits together.")] = None,
    level: Annotated[int | None, typer.Option(help="Of the grammar.")] = None,
    recipe: Annotated[str, typer.Option(help="What all systems are made from.")] = "demo",
    jobs: Annotated[int, typer.Option(min=1, help="Trainings side by side.")] = 2,
) -> None:
    """Train factorized, joint and gloss-based systems on generated corpora and compare them."""
    try:
        if condition not in CONDITIONS:
            known = ", ".join(CONDITIONS)
            raise InputError(f"--condition: found {condition!r}, expected one of {known}")
        named = CONDITIONS[condition]
        chosen = Condition(
            named.num_sentences if sentences is None else sentences,
            named.level if level is None else level,
            (*named.overrides, *(overrides or ())),
        )
        run_comparison(
            output,
            chosen,
            recipe=recipe,
            seeds=_read_seeds(seeds),
            systems=only or (FACTORIZED, JOINT, GLOSS_BASED),
            num_jobs=jobs,
        )
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None


def _read_seeds(text: str) -> list[int]:
    numbers = text.replace(",", " ").split()
    if not numbers or not all(number.isdecimal() for number in numbers):
        raise InputError(f"--seeds: found {text!r}, expected numbers such as '0 1 2'")
    return [int(number) for number in numbers]


if __name__ == "__main__":
    typer.run(main)
