"""The card of a trained model: a README.md with metadata, as hubs of models show it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
import yaml
from huggingface_hub import ModelCardData

from unglossed import __version__
from unglossed.evaluation.metrics import format_score, score_by_language
from unglossed.training.callbacks import read_metrics
from unglossed.training.objectives import OBJECTIVES

if TYPE_CHECKING:
    from unglossed.training.run import Run
    from unglossed.training.settings import StageSettings

CARD = "README.md"
GENERATED = "generated.json"
"""Lies in the folder of a generated corpus."""
_NAMES = {
    "bleu4": "BLEU-4",
    "bleu1": "BLEU-1",
    "rouge_l": "ROUGE-L",
    "word_error_rate": "word error rate",
    "f1_50": "F1@.50 of segments",
    "f1_25": "F1@.25 of segments",
    "loss": "loss",
}
LIMITS = """\
- It is no interpreter. Do not use it where a mistake does harm: in medicine, in court, in an
  emergency.
- It translates what it was trained on: that language, those signers, that domain, that kind of
  picture. Elsewhere its sentences can be fluent and wrong. The score that it gives tells some of
  these cases.
- Whether Deaf people judged its translations is not stated here: whoever shares it should say so.
- Videos that are given to it stay on the machine that it runs on. Features and poses of a person
  are not anonymous.
"""
UNKNOWN = "not stated: to be filled in by whoever shares the model"


def write_card(folder: Path, run: Run, stages: Mapping[str, Path]) -> None:
    """Write the card of a run's model beside its weights.

    Paths of this machine are left out.

    Args:
        folder: of the model.
        run: that trained it.
        stages: folders of its stages by name.
    """
    corpus, recipe = run.corpus, run.recipe
    kinds = {"audio": "speech", "video": "sign language video", "array": "poses or features"}
    kinds["streams"] = f"{kinds['video']} and {kinds['array']} beside it"
    kind = kinds.get(recipe.kind_of_signal, recipe.kind_of_signal)
    last = recipe.stages[-1]
    finds = last.objective == "segmentation"
    task = "finds sentences in long videos" if finds else "writes text"
    told = "Dev chose the checkpoints. For a test split: `unglossed score-segments FOUND TRUE`."
    if not finds:
        told = (
            f"Dev chose the checkpoints. BLEU: {_settings(run)}. For a test split:"
            " `unglossed evaluate MODEL --corpus SPEC --split test --output DIR`."
        )
    data = ModelCardData(
        language=list(corpus.languages),
        library_name="unglossed",
        tags=["sign-language-translation" if recipe.audio is None else "speech-translation"],
        license="other",
        license_name="unknown",
        metrics=["f1" if finds else "bleu"],
    )
    lines = [
        f"---\n{data.to_yaml()}\n---",
        f"# {recipe.description or 'A model of unglossed'}",
        f"From {kind}: {task}. Made with unglossed {__version__}.",
        "## Data",
        _data(run),
        "## Scores",
        *(_scores(run, stage, stages[stage.name]) for stage in recipe.stages),
        told,
        "## Limits",
        LIMITS.rstrip(),
        "## Recipe",
        f"```yaml\n{_recipe(run)}```",
        "## Versions",
        f"unglossed {__version__}, torch {torch.__version__}, transformers"
        f" {transformers.__version__}, Python {sys.version.split()[0]}.",
    ]
    (folder / CARD).write_text("\n\n".join(lines) + "\n", encoding="utf-8")


def _data(run: Run) -> str:
    """What it was trained on."""
    corpus, lengths = run.corpus, run.processor.trained_seconds
    counts = ", ".join(f"{len(rows):,} {name}" for name, rows in corpus.splits.items())
    signers = {one.signer for one in run.train_samples if one.signer}
    rows = [
        f"- Corpus: {corpus.name}, texts in {', '.join(corpus.languages)}; clips: {counts}.",
        f"- Signers of train: {len(signers) or 'not told by the corpus'}.",
    ]
    if lengths is not None:
        rows.append(
            f"- Clips of train last {lengths['shortest']:g} to {lengths['longest']:g} seconds, half"
            f" of them at most {lengths['median']:g}."
        )
    if left_out := str(run.left_out):
        rows.append(f"- Left out, since they cannot be read: {left_out}.")
    if (corpus.root / GENERATED).is_file():
        rows.append("- The corpus is generated: its signs are invented, and no sign language.")
    rows += [
        f"- Sign language, variety and domain: {UNKNOWN}.",
        f"- Licence of the corpus, and consent of the people in it: {UNKNOWN}.",
    ]
    return "\n".join(rows)


def _scores(run: Run, stage: StageSettings, folder: Path) -> str:
    """The best scores of a stage on dev."""
    objective = OBJECTIVES[stage.objective]
    rows = [
        {key.removeprefix("eval_"): value for key, value in row.items() if key.startswith("eval_")}
        for row in read_metrics(folder / "metrics.jsonl")
    ]
    scored = [row for row in rows if row]
    if not scored:
        return f"- `{stage.name}`: not scored."
    best = objective.best
    chosen = scored[-1]
    if best is not None and any(row.get(best) is not None for row in scored):
        known = [row for row in scored if row.get(best) is not None]
        chosen = (min if objective.lowest else max)(known, key=lambda row: row[best])
    told = [
        f"{name} {format_score(chosen[key], 4 if key == 'loss' else 2)}"
        for key, name in _NAMES.items()
        if chosen.get(key) is not None
    ]
    return f"- `{stage.name}`, {len(run.dev_samples):,} clips of dev: {', '.join(told)}."


def _settings(run: Run) -> str:
    texts = {sample.language: sample.text for sample in run.dev_samples}
    own = [*texts.values()]
    return score_by_language(own, own, [*texts], run.normalisation).settings


def _recipe(run: Run) -> str:
    """The resolved recipe, without folders of this machine."""
    return yaml.safe_dump(
        _without_folders(run.recipe.model_dump(mode="json", exclude_defaults=True)),
        sort_keys=False,
        allow_unicode=True,
        width=88,
    )


def _without_folders(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_folders(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_folders(one) for one in value]
    if isinstance(value, str) and ("\\" in value or value.count("/") > 1 or value[:1] in "/.~"):
        return Path(value).name
    return value
