"""One model that writes German, English and Chinese against three models of the same total time.

Run by `python -m experiments.languages` after the demo, whose clips and whose stage 1 it takes.
Each clip has a text in each language; each of the three models sees those in its own, the one model
all of them for as many epochs, which is as many steps as the three have together; with unlikelihood
it begins from the same language model that has read all texts. A call that is interrupted goes on
when it is repeated.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from experiments.common import (
    PRETRAINING,
    SPLITS,
    folder_of,
    mistakes_told,
    stage_facts,
    stage_models,
)
from unglossed.evaluation.evaluate import evaluate
from unglossed.evaluation.metrics import Scores, format_score
from unglossed.files import write_text
from unglossed.training.train import train_recipe
from unglossed_synth.tables import write_table

LANGUAGES = ("de", "en", "zh")
STAGE = "llm_fine_tuning"
_ONE = "languages=[de, en, zh]"
ONE = "one"
SYSTEMS: dict[str, tuple[str, tuple[str, ...]]] = {
    **{code: (code, ()) for code in LANGUAGES},
    ONE: ("*", (_ONE,)),
    "one, unlikelihood": ("*", (_ONE, f"stages.{STAGE}.unlikelihood=0.05")),
}
"""What each system reads of the table, and what it changes in the recipe."""


def run(
    corpus: Path,
    encoder: str,
    output: Path,
    seed: int,
    overrides: Sequence[str],
    num_train: int | None = None,
) -> dict[str, dict[str, Any]]:
    """Train and score all systems: the recipe `demo` on top of an encoder that is there.

    Args:
        corpus: folder of a generated corpus in the layout of PHOENIX14T.
        encoder: model folder of a stage 1.
        output: folder of runs and scores.
        seed: of the trainings.
        overrides: further changes of the recipe.
        num_train: clips of train that are used; None: all.

    Returns:
        For each system its seconds of training, and by split the scores of each language.
    """
    table = output / "languages.jsonl"
    common = (
        *(f"seed={seed}", "stages.visual_initialing.skip=true", "extra_texts=null"),
        f"stages.{STAGE}.encoder.source={encoder}",
        f"stages.{STAGE}.language_model.source=language_pretraining",
        f"stages.{STAGE}.adapter={{config: {{hidden_dim: 256}}}}",
        f"stages.{STAGE}.learning_rates={{adapter: 1.0e-3, language_model: 3.0e-4}}",
        f"stages.{STAGE}.batch_size=32",
        *(f"stages.{STAGE}.epochs=4", f"stages.{STAGE}.evaluate_every=2"),
    )
    if not table.is_file():
        write_table(corpus, table, LANGUAGES, num_train=num_train)
    found: dict[str, dict[str, Any]] = {}
    for name, (language, changes) in SYSTEMS.items():
        spec = f"table:{table}?language={language}"
        folder = output / folder_of(name.replace(",", ""))
        trained = {}
        if language == "*" and name != ONE:
            (trained[PRETRAINING],) = stage_models(output / ONE, PRETRAINING)
        train_recipe(
            *("demo", spec, folder),
            resume=True,
            overrides=(*common, *changes, *overrides),
            features=output / "features",
            trained=trained,
        )
        scored = {split: evaluate(folder, spec, split, folder / split) for split in SPLITS}
        found[name] = {"seconds": sum(stage["seconds"] for stage in stage_facts(folder))} | {
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
    corpus: Annotated[Path, typer.Option(help="Generated corpus.")] = Path("runs/demo/corpus"),
    encoder: Annotated[
        str, typer.Option(help="Model of stage 1.")
    ] = "runs/demo/run/2-visual_initialing/model",
    output: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("runs/languages"),
    seed: Annotated[int, typer.Option(help="Of the trainings.")] = 0,
    clips: Annotated[int | None, typer.Option(help="Of train; all by default.")] = None,
) -> None:
    """Compare one model for three languages with three models."""
    began = time.monotonic()
    with mistakes_told():
        found = run(corpus, encoder, output, seed, overrides or (), clips)
    Console(soft_wrap=True).print(tell(found))
    typer.echo(f"{time.monotonic() - began:.0f} seconds in all", err=True)


if __name__ == "__main__":
    typer.run(main)
