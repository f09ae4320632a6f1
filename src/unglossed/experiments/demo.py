"""The demo: a generated corpus, FLa-LLM's stages trained on it, scores, and a translated video.

Run by `make demo`, or `python -m unglossed.experiments.demo --output runs/demo --seed 0`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Corpus, Sample
from unglossed.errors import InputError
from unglossed.evaluation.evaluate import Prediction, write_evaluation
from unglossed.evaluation.report import (
    ClipCard,
    ReportData,
    ScoreRow,
    StageCurve,
    TimeRow,
    write_report,
)
from unglossed.experiments.common import (
    HEIGHT,
    LEVEL,
    NUM_SENTENCES,
    SPLITS,
    WIDTH,
    TestSplit,
    read_test_split,
)
from unglossed.files import write_text
from unglossed.inference.translate import SignTranslator, Translation, translate_features
from unglossed.media.video import FRAME_RATE
from unglossed.synthetic.corpus import write_clip, write_corpus
from unglossed.synthetic.grammar import draw_meaning
from unglossed.synthetic.saying import say
from unglossed.training.callbacks import METRICS_FILE, read_metrics
from unglossed.training.recipe import load_recipe
from unglossed.training.train import train_recipe

NUM_CARDS = 10
NOTES = (
    "test_seen: unseen sentences by the signers of train. test: unseen sentences by signers that"
    " train has not.",
    "Ceiling: another saying of the same meaning, as a perfect translator might choose it, scored"
    " against the reference; typical saying: the one most like all others, which a translator that"
    " prefers the likely comes closer to. Slot F1: the hypothesis parsed back into its meaning.",
    "Videos shuffled: each sentence is scored against the translation of another clip of the split."
    " Videos blank: the encoder's features are all zero. Text alone: a sentence of train, drawn at"
    " random. What lies above these rows was read from the video.",
)
STAGE_1, STAGE_2 = "stage 1 alone", "stage 1 + stage 2"


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


def run_demo(
    output: Path,
    seed: int,
    *,
    num_sentences: int = NUM_SENTENCES,
    recipe: str = "demo",
    overrides: Sequence[str] = (),
) -> list[ScoreRow]:
    """Run the whole demo into `output`, going on where an interrupted one stopped.

    Args:
        output: folder for corpus, run, scores and report.
        seed: of the corpus and of the training.
        num_sentences: clips of the generated corpus, all splits together.
        recipe: what is trained; its last two stages are compared.
        overrides: `key=value` changes of the recipe.

    Returns:
        The rows of its score table.
    """
    console = Console()
    clock = Clock({})
    corpus_folder, run_folder = output / "corpus", output / "run"
    console.rule("1. a corpus is generated")
    with clock.step("corpus"):
        if not corpus_folder.is_dir():
            write_corpus(
                corpus_folder, num_sentences, seed, width=WIDTH, height=HEIGHT, level=LEVEL
            )
    spec = f"phoenix14t:{corpus_folder}"
    corpus = read_corpus(spec)
    console.print(corpus)

    console.rule("2. the stages are trained")
    with clock.step("training"):
        train_recipe(recipe, spec, run_folder, resume=True, overrides=[f"seed={seed}", *overrides])
    _split_training_time(clock, run_folder)

    console.rule("3. scores on unseen sentences")
    with clock.step("evaluation"):
        stages = sorted(run_folder.glob("[0-9]-*"))
        systems = {
            STAGE_1: SignTranslator.from_pretrained(stages[-2] / "model"),
            STAGE_2: SignTranslator.from_pretrained(run_folder),
        }
        splits = [read_test_split(corpus, corpus_folder, name) for name in SPLITS]
        limit = load_recipe(recipe, list(overrides)).decoding.max_new_tokens
        rows, cards = _evaluate(systems, splits, corpus, output, seed, limit)
    console.print(score_table(rows))

    console.rule("4. a video that is in no split")
    with clock.step("one video"):
        video, said = _new_video(output / "new.mp4", corpus, seed)
        translation = systems[STAGE_2].translate([video], n_best=3, max_new_tokens=limit)[0]
    console.print(f"{video}\n  signed:     {said}\n  translated: {translation.text}")

    report = ReportData(
        title="unglossed: the demo",
        summary=_summary(corpus, recipe, seed),
        language=corpus.language,
        scores=rows,
        curves=[
            StageCurve.from_metrics(stage.name, read_metrics(stage / METRICS_FILE))
            for stage in stages
        ],
        times=[TimeRow(step, seconds) for step, seconds in clock.seconds.items()],
        held_out=_card(systems[STAGE_2], video, said, translation),
        clips=[_card(systems[STAGE_2], sample, sample.text, told) for sample, told in cards],
        notes=NOTES,
    )
    write_report(output / "report.html", report)
    write_facts(output / "demo.json", rows, clock, seed)
    clock.show(console)
    console.print(f"report: {output / 'report.html'}")
    return rows


def _card(
    translator: SignTranslator, clip: Path | Sample, said: str, told: Translation
) -> ClipCard:
    frames = translator.read(clip)
    rate = FRAME_RATE * translator.processor.sampling_rate
    title = clip.id if isinstance(clip, Sample) else clip.name
    return ClipCard(
        title, list(frames), said, told.text, told.score, told.attention, len(frames) / rate
    )


def _summary(corpus: Corpus, recipe: str, seed: int) -> str:
    counts = ", ".join(f"{len(rows)} {name}" for name, rows in corpus.splits.items())
    return (
        f"Recipe {recipe}, seed {seed}, on a generated corpus ({counts} clips at level {LEVEL},"
        f" {WIDTH}x{HEIGHT} pixels, {corpus.language}). The signing is made up by a program:"
        " it is no sign language."
    )


def score_table(rows: list[ScoreRow]) -> Table:
    """The scores as a table for the terminal."""
    table = Table(caption=rows[0].scores.settings)
    for title in ("system", "split", "BLEU-1", "BLEU-4", "chrF", "ROUGE-L", "slot F1"):
        table.add_column(title, justify="left" if title in ("system", "split") else "right")
    for row in rows:
        values = (row.scores.bleu1, row.scores.bleu4, row.scores.chrf, row.scores.rouge_l)
        table.add_row(
            row.system, row.split, *(f"{value:.2f}" for value in values), f"{row.slot_f1:.3f}"
        )
    return table


def _evaluate(
    systems: dict[str, SignTranslator],
    splits: list[TestSplit],
    corpus: Corpus,
    output: Path,
    seed: int,
    max_new_tokens: int,
) -> tuple[list[ScoreRow], list[tuple[Sample, Translation]]]:
    """Every row of the table, and the clips with attention that the report shows."""

    def written(
        system: str, features: Sequence[Tensor], *, attention: bool = False
    ) -> list[Translation]:
        translator = systems[system]
        return translate_features(
            translator.model,
            translator.processor,
            features,
            translator.decoding.change(max_new_tokens=max_new_tokens),
            attention=attention,
        )

    rows = []
    rng = np.random.default_rng(seed)
    said_in_train = [sample.text for sample in corpus.split("train")]
    cards: list[tuple[Sample, Translation]] = []
    for split in splits:
        rows += split.ceilings(seed)
        # The encoder is the same in both systems: it was frozen in stage 2.
        final = systems[STAGE_2]
        features = [final.encode(final.read(sample)) for sample in split.samples]
        for number, system in enumerate(systems, start=1):
            translations = written(system, features)
            predictions = [
                Prediction(sample.id, sample.text, translation.text, translation.score)
                for sample, translation in zip(split.samples, translations, strict=True)
            ]
            folder = output / "evaluation" / f"{split.name}-stage-{number}"
            write_evaluation(folder, predictions, split.language)
            rows.append(split.row(system, [translation.text for translation in translations]))
        order = derangement(len(features), rng)
        shuffled = [translations[index].text for index in order]
        rows.append(split.row("stage 2, videos shuffled", shuffled, yardstick=True))
        blank = written(STAGE_2, [torch.zeros_like(row) for row in features])
        told = [one.text for one in blank]
        rows.append(split.row("stage 2, videos blank", told, yardstick=True))
        drawn = [said_in_train[i] for i in rng.integers(len(said_in_train), size=len(features))]
        rows.append(split.row("text alone", drawn, yardstick=True))
        if not cards:
            shown = slice(0, NUM_CARDS)
            seen = written(STAGE_2, features[shown], attention=True)
            cards = list(zip(split.samples[shown], seen, strict=True))
    return rows, cards


def derangement(size: int, rng: np.random.Generator) -> list[int]:
    """An order in which nothing stays in its place: a random cycle through all."""
    cycle = rng.permutation(size)
    order = np.empty(size, dtype=int)
    order[cycle] = np.roll(cycle, 1)
    return [int(index) for index in order]


def _new_video(path: Path, corpus: Corpus, seed: int) -> tuple[Path, str]:
    """Make a clip of a sentence that is in no split; returns it with one saying of its meaning."""
    rng = np.random.default_rng([seed, 4])
    said = {sample.text for samples in corpus.splits.values() for sample in samples}
    while True:
        meaning = draw_meaning(rng, LEVEL)
        text = say(meaning, corpus.language, rng)
        if text not in said:
            break
    write_clip(path, meaning, signer_seed=seed, seed=seed, width=WIDTH, height=HEIGHT)
    return path, text


def _split_training_time(clock: Clock, run_folder: Path) -> None:
    """Put the stages' own times in the place of the training's whole."""
    whole = clock.seconds.pop("training")
    for path in sorted(run_folder.glob("[0-9]-*/model/stage.json")):
        stage: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        clock.seconds[f"stage {stage['name']}"] = stage["seconds"]
        whole -= stage["seconds"]
    clock.seconds["training, around the stages"] = max(whole, 0.0)


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


def main(
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value of the recipe.")] = None,
    output: Annotated[Path, typer.Option(help="Folder of the demo.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="Of the corpus and of the training.")] = 0,
    sentences: Annotated[int, typer.Option(help="Clips of the corpus.")] = NUM_SENTENCES,
    recipe: Annotated[str, typer.Option(help="Recipe to train.")] = "demo",
) -> None:
    """Generate a corpus, train FLa-LLM's stages on it, score them and translate a video."""
    try:
        run_demo(output, seed, num_sentences=sentences, recipe=recipe, overrides=overrides or ())
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    typer.run(main)
