"""A model on a split of a corpus: predictions and scores, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unglossed.corpora.languages import tokenisation
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Sample
from unglossed.errors import InputError, note
from unglossed.evaluation.metrics import Scores, note_blank, score
from unglossed.evaluation.normalisation import DEFAULT_NORMALISATION
from unglossed.files import write_text
from unglossed.inference.translate import SignTranslator


@dataclass(frozen=True)
class Prediction:
    """One row of `predictions.jsonl`, before any normalisation.

    Attributes:
        id: Name of the clip.
        reference: Sentence as the corpus has it.
        hypothesis: Sentence as the model wrote it.
        score: The model's own, see `Hypothesis`.
    """

    id: str
    reference: str
    hypothesis: str
    score: float


def evaluate(
    model: str | Path,
    corpus: str,
    split: str,
    output: Path | str,
    *,
    batch_size: int = 8,
    precision: str = "float32",
    progress: bool = False,
    **decoding: Any,
) -> Scores:
    """Translate a split, score it, and write `predictions.jsonl` and `metrics.json`.

    Scoring normalises the texts as the corpus says; the written predictions are raw. What the
    corpus's reader left out is noted on standard error.

    Args:
        model: a run folder, a model folder or a name on the hub.
        corpus: a corpus spec, `kind:path`.
        split: which of its splits.
        output: folder to write to; it is made if need be.
        batch_size: clips that are translated at a time.
        precision: see `SignTranslator.from_pretrained`.
        progress: show a progress bar on standard error.
        decoding: fields of `DecodingSettings` that shall differ from the model's own.

    Raises:
        InputError: model, corpus or split are not there, a clip cannot be read, the model writes
            another language than the corpus has, scoring does not know it, or a setting is unknown
            or out of range.
    """
    if Path(output).exists() and not Path(output).is_dir():
        raise InputError(f"{output}: found a file, expected a folder to write the scores to")
    read = read_corpus(corpus, only=split)
    samples = read.split(split)
    tokenisation(read.language)  # refused now, not after an hour of translating
    translator = SignTranslator.from_pretrained(model, precision=precision)
    if translator.processor.language != read.language:
        raise InputError(
            f"{corpus}: found texts in {read.language!r}, expected"
            f" {translator.processor.language!r}, which the model {model} writes"
        )
    for line in read.notes:
        note(line)
    predictions = predict(translator, samples, batch_size=batch_size, progress=progress, **decoding)
    if blank := note_blank([prediction.hypothesis for prediction in predictions]):
        note(blank)
    return write_evaluation(Path(output), predictions, read.language, read.normalisation)


def predict(
    translator: SignTranslator,
    samples: Sequence[Sample],
    *,
    batch_size: int = 8,
    progress: bool = False,
    **decoding: Any,
) -> list[Prediction]:
    """Translate samples, in their order; references stay as the corpus has them.

    Raises:
        InputError: a clip cannot be read (the message names it), or see `evaluate`.
    """
    translations = translator.translate(
        samples, batch_size=batch_size, progress=progress, **decoding
    )
    return [
        Prediction(sample.id, sample.text, translation.text, translation.score)
        for sample, translation in zip(samples, translations, strict=True)
    ]


def write_evaluation(
    output: Path,
    predictions: Sequence[Prediction],
    language: str,
    normalisation: str = DEFAULT_NORMALISATION,
) -> Scores:
    """Score predictions and write them: `predictions.jsonl` first, `metrics.json` last.

    Raises:
        InputError: no predictions, or an unknown language or normalisation.
    """
    scores = score(
        [prediction.hypothesis for prediction in predictions],
        [prediction.reference for prediction in predictions],
        language,
        normalisation,
    )
    rows = [
        json.dumps(asdict(prediction), ensure_ascii=False, allow_nan=False)
        for prediction in predictions
    ]
    write_text(output / "predictions.jsonl", "".join(row + "\n" for row in rows))
    write_text(
        output / "metrics.json", json.dumps(scores.to_dict(), indent=2, allow_nan=False) + "\n"
    )
    return scores
