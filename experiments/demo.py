"""The demo: a generated corpus, FLa-LLM's stages trained on it, scores, and a translated video.

Run by `make demo`, or `python -m experiments.demo --output runs/demo --seed 0`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from torch import Tensor

from experiments.common import (
    HEIGHT,
    LEVEL,
    NUM_SENTENCES,
    SPLITS,
    WIDTH,
    Clock,
    TestSplit,
    derangement,
    mistakes_told,
    read_test_split,
    score_table,
    write_extra_texts,
    write_facts,
)
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Corpus, Sample
from unglossed.evaluation.evaluate import Prediction, write_evaluation
from unglossed.evaluation.report import (
    ClipCard,
    ReportData,
    ScoreRow,
    StageCurve,
    TimeRow,
    write_report,
)
from unglossed.inference.output import Translation
from unglossed.inference.translator import SignTranslator, translate_features
from unglossed.media.signal import signal_of
from unglossed.training.callbacks import METRICS_FILE, read_metrics
from unglossed.training.train import train_recipe
from unglossed_synth.corpus import write_clip, write_corpus
from unglossed_synth.grammar import draw_meaning
from unglossed_synth.meaning import Meaning
from unglossed_synth.saying import say

NUM_CARDS = 10
BATCH_SIZE = 48
STAGE_1, STAGE_2 = "stage 1 alone", "stage 1 + stage 2"
ONE_STAGE = "one stage"


@dataclass(frozen=True)
class DemoKind:
    """What a demo is about: signing, or speech as in `demo_speech`.

    Attributes:
        name: Of the file of its scores and times.
        title: Of its report.
        recipe: What is trained unless told otherwise; its last two stages are compared.
        reader: Kind of its corpus, see `read_corpus`.
        clips: What its clips are.
        verb: What was done with a clip's meaning.
        origin: Where the clips come from, a sentence.
        precision: In which it translates, see `SignTranslator`.
        write_corpus: Makes a corpus: its folder, number of sentences, seed.
        write_clip: Makes a clip that is in no corpus: its folder, meaning, seed; tells where it is.
    """

    name: str
    title: str
    recipe: str
    reader: str
    clips: str
    verb: str
    origin: str
    precision: str
    write_corpus: Callable[[Path, int, int], None]
    write_clip: Callable[[Path, Meaning, int], Path]

    @property
    def notes(self) -> tuple[str, ...]:
        """What its scores mean."""
        return (
            "test_seen: unseen sentences by the people of train. test: unseen sentences by people"
            " that train has not.",
            "Ceiling: another saying of the same meaning, as a perfect translator might choose it,"
            " scored against the reference; typical saying: the one most like all others, which a"
            " translator that prefers the likely comes closer to. Slot F1: the hypothesis parsed"
            " back into its meaning.",
            f"{self.clips.capitalize()} shuffled: each sentence is scored against the translation"
            f" of another clip of the split. {self.clips.capitalize()} blank: the encoder's"
            " features are all zero. Text alone: a sentence of train, drawn at random. What lies"
            " above these rows was read from the clip.",
        )


def _write_signing(folder: Path, num_sentences: int, seed: int) -> None:
    write_corpus(folder, num_sentences, seed, width=WIDTH, height=HEIGHT, level=LEVEL)


def _write_signed_clip(folder: Path, meaning: Meaning, seed: int) -> Path:
    path = folder / "new.mp4"
    write_clip(path, meaning, signer_seed=seed, seed=seed, width=WIDTH, height=HEIGHT)
    return path


SIGNING = DemoKind(
    name="demo",
    title="unglossed: the demo",
    recipe="demo",
    reader="phoenix14t",
    clips="videos",
    verb="signed",
    origin=f"The signing ({WIDTH}x{HEIGHT} pixels) is made up by a program: no sign language.",
    precision="float32",
    write_corpus=_write_signing,
    write_clip=_write_signed_clip,
)


def run_demo(
    output: Path,
    seed: int,
    *,
    kind: DemoKind = SIGNING,
    num_sentences: int = NUM_SENTENCES,
    recipe: str | None = None,
    overrides: Sequence[str] = (),
) -> list[ScoreRow]:
    """Run the whole demo into `output`, going on where an interrupted one stopped.

    Args:
        output: folder for corpus, run, scores and report.
        seed: of the corpus and of the training.
        kind: what it is about.
        num_sentences: clips of the generated corpus, all splits together.
        recipe: what is trained in the place of the kind's; its last two stages are compared, and
            what has one stage is scored alone.
        overrides: `key=value` changes of the recipe.

    Returns:
        The rows of its score table.
    """
    recipe = recipe or kind.recipe
    console = Console()
    clock = Clock({})
    corpus_folder, run_folder = output / "corpus", output / "run"
    console.rule("1. a corpus is generated")
    with clock.step("corpus"):
        if not corpus_folder.is_dir():
            kind.write_corpus(corpus_folder, num_sentences, seed)
    spec = f"{kind.reader}:{corpus_folder}"
    corpus = read_corpus(spec)
    console.print(corpus)

    console.rule("2. the stages are trained")
    with clock.step("training"):
        changes = [f"seed={seed}", *overrides]
        if recipe == SIGNING.recipe:
            changes.insert(0, write_extra_texts(corpus, output / "extra_texts.txt"))
        train_recipe(recipe, spec, run_folder, resume=run_folder.is_dir(), overrides=changes)
    _split_training_time(clock, run_folder)

    console.rule("3. scores on unseen sentences")
    with clock.step("evaluation"):
        stages = sorted(run_folder.glob("[0-9]-*"))
        folders = {ONE_STAGE: run_folder}
        if len(stages) > 1:
            folders = {STAGE_1: stages[-2] / "model", STAGE_2: run_folder}
        systems = {
            name: SignTranslator.from_pretrained(folder, precision=kind.precision)
            for name, folder in folders.items()
        }
        final = systems[list(systems)[-1]]
        splits = [read_test_split(corpus, corpus_folder, name) for name in SPLITS]
        rows, cards = _evaluate(kind, systems, splits, corpus, output, seed)
    console.print(score_table(rows))

    console.rule("4. a clip that is in no split")
    with clock.step("one clip"):
        clip, said = _new_clip(kind, output, corpus, seed)
        translation = final.translate([clip], n_best=3)[0]
    label = f"{kind.verb}:"
    console.print(f"{clip}\n  {label:<12}{said}\n  {'translated:':<12}{translation.text}")

    report = ReportData(
        title=kind.title,
        summary=_summary(kind, corpus, recipe, seed),
        language=corpus.language,
        scores=rows,
        curves=[
            StageCurve.from_metrics(stage.name, read_metrics(stage / METRICS_FILE))
            for stage in stages
        ],
        times=[TimeRow(step, seconds) for step, seconds in clock.seconds.items()],
        held_out=_card(final, clip, said, translation),
        clips=[_card(final, sample, sample.text, told) for sample, told in cards],
        notes=kind.notes,
    )
    write_report(output / "report.html", report)
    write_facts(output / f"{kind.name}.json", rows, clock, seed)
    clock.show(console)
    console.print(f"report: {output / 'report.html'}")
    return rows


def _card(
    translator: SignTranslator, clip: Path | Sample, said: str, told: Translation
) -> ClipCard:
    signal = signal_of(translator.processor)
    read = translator.read(clip)
    title = clip.id if isinstance(clip, Sample) else clip.name
    return ClipCard(
        title,
        signal.pictures(read),
        said,
        told.text,
        told.score,
        told.attention,
        len(read) / signal.units_per_second,
        f"{len(read):,} {signal.unit}",
    )


def _summary(kind: DemoKind, corpus: Corpus, recipe: str, seed: int) -> str:
    counts = ", ".join(f"{len(rows)} {name}" for name, rows in corpus.splits.items())
    return (
        f"Recipe {recipe}, seed {seed}, on a generated corpus ({counts} clips at level {LEVEL},"
        f" {corpus.language}). {kind.origin}"
    )


def _evaluate(
    kind: DemoKind,
    systems: dict[str, SignTranslator],
    splits: list[TestSplit],
    corpus: Corpus,
    output: Path,
    seed: int,
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
            translator.decoding,
            batch_size=BATCH_SIZE,
            attention=attention,
        )

    rows = []
    last = list(systems)[-1]
    title = "stage 2" if last == STAGE_2 else last
    rng = np.random.default_rng(seed)
    said_in_train = [sample.text for sample in corpus.split("train")]
    cards: list[tuple[Sample, Translation]] = []
    for split in splits:
        rows += split.ceilings(seed)
        # The encoder is the same in both systems: it was frozen in stage 2.
        final = systems[last]
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
        rows.append(split.row(f"{title}, {kind.clips} shuffled", shuffled, yardstick=True))
        blank = written(last, [torch.zeros_like(row) for row in features])
        told = [one.text for one in blank]
        rows.append(split.row(f"{title}, {kind.clips} blank", told, yardstick=True))
        drawn = [said_in_train[i] for i in rng.integers(len(said_in_train), size=len(features))]
        rows.append(split.row("text alone", drawn, yardstick=True))
        if not cards:
            shown = slice(0, NUM_CARDS)
            seen = written(last, features[shown], attention=True)
            cards = list(zip(split.samples[shown], seen, strict=True))
    return rows, cards


def _new_clip(kind: DemoKind, output: Path, corpus: Corpus, seed: int) -> tuple[Path, str]:
    """Make a clip of a sentence that is in no split; returns it with one saying of its meaning."""
    rng = np.random.default_rng([seed, 4])
    said = {sample.text for samples in corpus.splits.values() for sample in samples}
    while True:
        meaning = draw_meaning(rng, LEVEL)
        text = say(meaning, corpus.language, rng)
        if text not in said:
            break
    return kind.write_clip(output, meaning, seed), text


def _split_training_time(clock: Clock, run_folder: Path) -> None:
    """Put the stages' own times in the place of the training's whole."""
    whole = clock.seconds.pop("training")
    for path in sorted(run_folder.glob("[0-9]-*/model/stage.json")):
        stage: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        clock.seconds[f"stage {stage['name']}"] = stage["seconds"]
        whole -= stage["seconds"]
    clock.seconds["training, around the stages"] = max(whole, 0.0)


def main(
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value of the recipe.")] = None,
    output: Annotated[Path, typer.Option(help="Folder of the demo.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="Of the corpus and of the training.")] = 0,
    sentences: Annotated[int, typer.Option(help="Clips of the corpus.")] = NUM_SENTENCES,
    recipe: Annotated[str, typer.Option(help="Recipe to train.")] = SIGNING.recipe,
) -> None:
    """Generate a corpus, train FLa-LLM's stages on it, score them and translate a video."""
    with mistakes_told():
        run_demo(output, seed, num_sentences=sentences, recipe=recipe, overrides=overrides or ())


if __name__ == "__main__":
    typer.run(main)
