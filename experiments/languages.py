"""One model that writes German, English and Chinese against three models of the same total time.

Run by `python -m experiments.languages --output runs/languages`; docs/results/languages.md has what
it gave. The clips of one generated corpus have a text in each language; each of the three models
sees those in its own, the one model all of them for as many epochs, which is as many steps as the
three have together. A call that is interrupted goes on when it is repeated.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from experiments.common import LEVEL, SPLITS
from unglossed.errors import InputError
from unglossed.evaluation.evaluate import evaluate
from unglossed.evaluation.metrics import Scores, format_score
from unglossed.files import write_text
from unglossed.training.train import train_recipe
from unglossed_synth.corpus import write_corpus
from unglossed_synth.tables import write_table

LANGUAGES = ("de", "en", "zh")
STAGE = "visual_initialing"
_STAGE_1_ALONE = (
    *("stages.language_pretraining.skip=true", "stages.llm_fine_tuning.skip=true"),
    "extra_texts=null",
)
_ONE = "languages=[de, en, zh]"
SYSTEMS: dict[str, tuple[str, tuple[str, ...]]] = {
    **{code: (code, ()) for code in LANGUAGES},
    "one": ("*", (_ONE,)),
    "one, unlikelihood": ("*", (_ONE, f"stages.{STAGE}.unlikelihood=0.05")),
}
"""What each system reads of the table, and what it changes in the recipe."""


def run(
    output: Path, seed: int, num_sentences: int, size: tuple[int, int], overrides: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Train and score all systems.

    Args:
        output: folder of corpus, runs and scores.
        seed: of the corpus and of the trainings.
        num_sentences: clips of the corpus.
        size: of its frames, width and height.
        overrides: further changes of the recipe `demo`.

    Returns:
        For each system its seconds of training, and by split the scores of each language.
    """
    corpus, table = output / "corpus", output / "languages.jsonl"
    if not corpus.is_dir():
        write_corpus(corpus, num_sentences, seed, level=LEVEL, width=size[0], height=size[1])
    if not table.is_file():
        write_table(corpus, table, LANGUAGES)
    found: dict[str, dict[str, Any]] = {}
    for name, (language, changes) in SYSTEMS.items():
        spec = f"table:{table}?language={language}"
        folder = output / name.replace(", ", "-")
        changes = (f"seed={seed}", *_STAGE_1_ALONE, *changes, *overrides)
        train_recipe("demo", spec, folder, resume=True, overrides=changes)
        stage = json.loads((folder / f"1-{STAGE}" / "model" / "stage.json").read_text("utf-8"))
        scored = {split: evaluate(folder, spec, split, folder / split) for split in SPLITS}
        found[name] = {"seconds": stage["seconds"]} | {
            split: {code: own.to_dict() for code, own in _by_language(scores, language).items()}
            for split, scores in scored.items()
        }
        write_text(output / "languages.json", json.dumps(found, indent=1) + "\n")
    return found


def _by_language(scores: Scores, language: str) -> dict[str, Scores]:
    return dict(scores.languages) or {language: scores}


def tell(found: dict[str, dict[str, Any]]) -> str:
    """The scores as a table in Markdown."""
    lines = ["| system | seconds | split | " + " | ".join(LANGUAGES) + " | off-target, % |"]
    lines.append("|" + "---|" * (len(LANGUAGES) + 4))
    for split in SPLITS:
        alone = {code: found[code][split][code]["bleu4"] for code in LANGUAGES}
        seconds = sum(found[code]["seconds"] for code in LANGUAGES)
        cells = " | ".join(format_score(value) for value in alone.values())
        lines.append(f"| three models | {seconds:.0f} | {split} | {cells} | |")
        for name in [name for name in SYSTEMS if name not in LANGUAGES]:
            rows = found[name][split]
            cells = " | ".join(
                f"{format_score(rows[code]['bleu4'])} ({rows[code]['bleu4'] - alone[code]:+.2f})"
                for code in LANGUAGES
            )
            away = [rows[code].get("off_target") for code in LANGUAGES]
            told = "n/a" if None in away else f"{sum(away) / len(away):.2f}"
            seconds = found[name]["seconds"]
            lines.append(f"| {name} | {seconds:.0f} | {split} | {cells} | {told} |")
    return "\n".join(lines)


def main(
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value of the recipe.")] = None,
    output: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("runs/languages"),
    seed: Annotated[int, typer.Option(help="Of corpus and trainings.")] = 0,
    sentences: Annotated[int, typer.Option(help="Clips of the corpus.")] = 1800,
    size: Annotated[str, typer.Option(metavar="WxH", help="Of a frame.")] = "84x104",
) -> None:
    """Compare one model for three languages with three models."""
    began = time.monotonic()
    try:
        width, height = map(int, size.split("x"))
        found = run(output, seed, sentences, (width, height), overrides or ())
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    Console(soft_wrap=True).print(tell(found))
    typer.echo(f"{time.monotonic() - began:.0f} seconds in all", err=True)


if __name__ == "__main__":
    typer.run(main)
