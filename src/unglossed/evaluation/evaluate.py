"""A model on a split of a corpus: predictions and scores, written whole or not at all."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from unglossed.config import check_count
from unglossed.corpora.faults import most_unreadable
from unglossed.corpora.languages import tokenisation
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Corpus, Sample
from unglossed.errors import InputError, note
from unglossed.evaluation.corruption import Corruption
from unglossed.evaluation.metrics import (
    DEFAULT_NORMALISATION,
    Scores,
    each_language,
    note_blank,
    score_by_language,
)
from unglossed.evaluation.off_target import why_unknown
from unglossed.evaluation.regions import TooFewRegions
from unglossed.evaluation.reliability import Reliability, sentence_chrf
from unglossed.evaluation.text_files import METRICS, PREDICTIONS, note_look_alikes
from unglossed.files import as_path, whole_file
from unglossed.inference.confidence import Confidence
from unglossed.inference.output import Translation
from unglossed.inference.reading import ClipContent, Media, read_clip
from unglossed.inference.translator import SignTranslator
from unglossed.media.signal import signal_of
from unglossed.media.two_streams import LACKS
from unglossed.plots import draw_reliability
from unglossed.ranks import here, joined

RELIABILITY = "reliability.svg"
"""How confidences and sentences fit, and risk against coverage, where the model is calibrated."""
UNREADABLE = "cannot be read"
"""Begin of the note on a clip that could not be translated."""


@dataclass(frozen=True)
class Prediction:
    """One row of `predictions.jsonl`, before any normalisation.

    Attributes:
        id: Name of the clip.
        reference: Sentence as the corpus has it.
        hypothesis: Sentence as the model wrote it.
        score: The model's own, see `Hypothesis`.
        references: Further references of the clip, see `Sample`.
        language: Of the references; None: that of all others.
        notes: What there is to know of the clip, see `Translation`.
        confidence: Calibrated, see `Translation`; None: the model is not.
    """

    id: str
    reference: str
    hypothesis: str
    score: float | None
    references: tuple[str, ...] = ()
    language: str | None = None
    notes: tuple[str, ...] = ()
    confidence: float | None = None

    @property
    def is_unreadable(self) -> bool:
        """Whether the clip could not be read, so that nothing was translated."""
        return bool(self.notes) and self.notes[0].startswith(UNREADABLE)

    def to_dict(self) -> dict[str, Any]:
        """The row of `predictions.jsonl`; what is empty or None beyond the score is left out."""
        content = asdict(self)
        for key in ("references", "language", "notes"):
            if not content[key]:
                del content[key]
        if self.confidence is None:
            del content["confidence"]
        return content


def evaluate(
    model: str | Path,
    corpus: str,
    split: str,
    output: Path | str,
    *,
    batch_size: int = 8,
    precision: str = "float32",
    progress: bool = False,
    corrupt: str | None = None,
    regions: str | Path | None = None,
    **decoding: Any,
) -> Scores:
    """Translate a split, score it, and write `predictions.jsonl` and `metrics.json`.

        >>> scores = unglossed.evaluate(model, corpus, "test", output / "scores")
        >>> scores.num_samples, scores.normalisation
        (2, 'nfc.v1')
        >>> sorted(path.name for path in (output / "scores").iterdir())
        ['metrics.json', 'predictions.jsonl']

    Scoring normalises the texts as the corpus says; the written predictions are raw. Every clip is
    translated, also one with nothing in it, so that scores stay comparable. What the corpus's
    reader left out, and what there is to know of clips and texts, is noted on stderr.

    Where the split has texts of several languages, each is scored by itself.

    Started by `torchrun`, several processes share the clips; the first one writes.

    Args:
        model: a run folder, a model folder or a name on the hub.
        corpus: a corpus spec, `kind:path`.
        split: which of its splits.
        output: folder to write to; it is made if need be.
        batch_size: clips that are translated at a time.
        precision: see `SignTranslator.from_pretrained`.
        progress: show a progress bar on stderr.
        corrupt: what to take away from every clip, one of `corruption.CORRUPTIONS`; then scores and
            predictions go to `corrupt-NAME` in the folder, and the scores tell what was done.
        regions: where hands and face are, for the corruptions that cover them: a file of boxes or
            landmarks, or `estimate`; None: `regions.jsonl` in the corpus's folder, files beside the
            media, or else the estimate.
        decoding: fields of `DecodingSettings` that shall differ from the model's own.

    Raises:
        InputError: model, corpus or split are not there, the model writes
            another language than the corpus has, scoring does not know it, or a setting is unknown
            or out of range; for clips that cannot be read see `predict`.
    """
    folder = as_path(output, "output")
    check_count("batch_size", batch_size)
    if regions is not None and corrupt is None:
        raise InputError(
            f"--regions: found {str(regions)!r} alone: --regions needs --corrupt hands, face or"
            " both"
        )
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{output}: found a file, expected a folder to write the scores to")
    with joined() as ranks:
        read = ranks.in_turn(lambda: read_corpus(corpus, only=split))
        read.require_media("`evaluate`")
        translator = load_for(model, corpus, read, split, precision)
        samples = read.split(split)
        corruption = None
        if corrupt is not None:
            signal = signal_of(translator.processor)
            corruption = Corruption(corrupt, signal, read, samples, regions)
            folder /= f"corrupt-{corrupt}"
        settings = {"batch_size": batch_size, "progress": progress, **decoding}
        predictions = predict(translator, samples, corruption=corruption, **settings)
        record = {"corruption": corruption.record(ranks)} if corruption else {}
        for told in [*_notes_on(predictions), *map(_told, record.values())]:
            note(told)
        trust = reliability_of(predictions, translator.beside.confidence, read.normalisation)
        if trust is not None:
            record["confidence"] = trust.to_dict()
            note(
                f"{trust.abstained} of {len(trust.good)} sentences have less than the confidence of"
                f" {trust.threshold:.2f} below which translate gives none"
            )
            ranks.first(lambda: draw_reliability(folder / RELIABILITY, trust))
        else:  # one of an earlier evaluation would seem to be of this one
            ranks.first(lambda: (folder / RELIABILITY).unlink(missing_ok=True))
        return ranks.first(
            lambda: _write(
                *(folder, predictions, read.language, read.normalisation, record),
                translator.processor.languages,
            )
        )


def load_for(
    model: str | Path, corpus: str, read: Corpus, split: str, precision: str
) -> SignTranslator:
    """The model, which writes a language of the split's texts.

    Raises:
        InputError: it writes another, or cannot be loaded.
    """
    samples = read.split(split)
    languages = Counter(sample.language for sample in samples)
    for language in languages:
        tokenisation(language)  # refused now, not after an hour of translating
    translator = SignTranslator.from_pretrained(model, precision=precision)
    written = translator.processor.languages
    several = len(written) > 1
    strange = languages.keys() - set(written)
    if strange and (several or len(strange) == len(languages)):
        raise InputError(
            f"{corpus}: found texts in {', '.join(map(repr, languages))}, expected"
            f" {', '.join(map(repr, written))}, which the model {model} writes"
        )
    if several and (why := why_unknown(written)):
        note(f"off-target texts are not told: {why}")
    for line in read.notes:
        note(line)
    if len(languages) > 1:
        told = ", ".join(f"{code}: {count}" for code, count in languages.items())
        note(f"{split} has texts of several languages ({told}), each is scored by itself")
    return translator


def _write(
    folder: Path,
    predictions: Sequence[Prediction],
    language: str,
    normalisation: str,
    record: Mapping[str, Any],
    known: Sequence[str],
) -> Scores:
    """Score and write predictions."""
    scores = write_evaluation(folder, predictions, language, normalisation, record, known=known)
    if signs := note_look_alikes(*_texts(predictions, language), scores):
        note(signs)
    return scores


def predict(
    translator: SignTranslator,
    samples: Sequence[Sample],
    *,
    batch_size: int = 8,
    progress: bool = False,
    corruption: Corruption | None = None,
    **decoding: Any,
) -> list[Prediction]:
    """Translate samples, in their order; references stay as the corpus has them.

    A clip that cannot be read has an empty hypothesis, which counts as nothing right, and a note
    that says why: it is no less a sample of the split.

    Raises:
        InputError: more than one in a hundred clips, and more than five, or all cannot be read (the
            message names the last of them), or see `evaluate`.
    """
    ranks = here()
    batches = [samples[at : at + batch_size] for at in range(0, len(samples), batch_size)]
    own = [sample for batch in ranks.share(batches) for sample in batch]
    most = min(most_unreadable(len(samples)), len(samples) - 1)
    several = len({sample.language for sample in samples}) > 1
    progress = progress and ranks.is_first
    most_of = most, len(samples)
    settings = {"batch_size": batch_size, "progress": progress, **decoding}
    if corruption is not None:
        settings["reader"] = _corrupting(translator, corruption)
    mine = _predict(translator, own, several, most_of, **settings) if own else []
    found = [*chain.from_iterable(ranks.all(mine))]
    unreadable = [one for one in found if one.is_unreadable]
    if len(unreadable) > most:
        raise _too_many(unreadable[-1].notes[0], unreadable[-1].id, len(unreadable), most_of)
    return found


def reliability_of(
    predictions: Sequence[Prediction], confidence: Confidence | None, normalisation: str
) -> Reliability | None:
    """Confidences of the predictions that have one, and which are good; None: none has any.

    Args:
        predictions: of a split.
        confidence: by which they were judged.
        normalisation: of the texts before they are compared.
    """
    known = [(one, one.confidence) for one in predictions if one.confidence is not None]
    if confidence is None or not known:
        return None
    good = [
        sentence_chrf(one.hypothesis, (one.reference, *one.references), normalisation)
        >= confidence.least_chrf
        for one, _ in known
    ]
    sure = np.array([value for _, value in known])
    return Reliability(sure, np.array(good), confidence.threshold, confidence.least_chrf)


def _corrupting(
    translator: SignTranslator, corruption: Corruption
) -> Callable[[Media], ClipContent]:
    """Reads clips as the translator does, and corrupts them."""

    def read(clip: Media) -> ClipContent:
        assert isinstance(clip, Sample), clip
        return corruption.apply(clip, read_clip(translator.model, translator.processor, clip))

    return read


def _told(record: Mapping[str, Any]) -> str:
    """What was done to the clips, in words."""
    if "regions" not in record:
        return f"clips corrupted: {record['name']}"
    how = ", ".join(f"{kind} for {count} clips" for kind, count in record["regions"].items())
    late = record.get("frames_without_regions", 0)
    return (
        f"clips corrupted: {record['name']} covered, {100 * record['covered']:.1f} % of the"
        f" picture, by {how}"
        + (f"; {late} frames come after the last whose regions are known" if late else "")
    )


def _too_many(told: str, clip: str, count: int, most_of: tuple[int, int]) -> InputError:
    most, total = most_of
    return InputError(
        f"{told} (clip {clip!r}): found {count:,} of {total:,} clips that cannot be read, expected"
        f" at most {most:,}"
    )


def _predict(
    translator: SignTranslator,
    samples: Sequence[Sample],
    several: bool,
    most_of: tuple[int, int],
    **settings: Any,
) -> list[Prediction]:
    """Translate some of the samples.

    Args:
        translator: The model.
        samples: The ones.
        several: Whether to note their language.
        most_of: How many may be unreadable, of how many in all.
        settings: Of `SignTranslator.translate`.
    """
    unreadable: dict[str, str] = {}

    def note_down(name: str, error: InputError) -> None:
        if isinstance(error, TooFewRegions):  # the clip can be read, what was asked for cannot
            raise error
        unreadable[name] = f"{UNREADABLE}: {error}"
        if len(unreadable) > most_of[0]:
            raise _too_many(str(error), name, len(unreadable), most_of)

    def translate(language: str | None, rows: Sequence[int]) -> list[Translation | None]:
        chosen = [samples[row] for row in rows]
        found = iter(
            translator.translate(
                chosen,
                on_error=note_down,
                on_note=lambda name, text: None,  # there can be many: they are in the predictions
                translate_empty=True,
                least_confidence=0.0,  # all texts are scored; see `reliability_of`
                **settings | ({"to": language} if language else {}),
            )
        )
        return [None if sample.id in unreadable else next(found) for sample in chosen]

    languages = [sample.language for sample in samples]
    translations = each_language(languages, translate, translator.processor.languages)
    predictions = []
    for sample, translation in zip(samples, translations, strict=True):
        predictions.append(
            Prediction(
                sample.id,
                sample.text,
                translation.text if translation else "",
                translation.score if translation else None,
                sample.references,
                sample.language if several else None,
                translation.notes if translation else (unreadable[sample.id],),
                translation.confidence if translation else None,
            )
        )
    return predictions


def _notes_on(predictions: Sequence[Prediction]) -> Iterator[str]:
    """What there is to know of the clips and the texts that were written."""
    noted = [prediction for prediction in predictions if prediction.notes]
    unreadable = [one for one in noted if one.is_unreadable]
    if unreadable:
        yield (
            f"{len(unreadable)} of {len(predictions)} clips cannot be read and count as nothing"
            f" right (first: {unreadable[0].id}: {unreadable[0].notes[0]})"
        )
    for name, begin in LACKS.items():
        lacking = [one for one in noted if any(told.startswith(begin) for told in one.notes)]
        if lacking:
            yield (
                f"{len(lacking)} of {len(predictions)} clips have no {name} and are translated"
                f" without it (first: {lacking[0].id})"
            )
    begins = (*LACKS.values(), UNREADABLE)
    noted = [one for one in noted if not all(told.startswith(begins) for told in one.notes)]
    if noted:
        yield (
            f"{len(noted)} of {len(predictions)} clips are empty or longer than those of"
            " training, see `notes` in predictions.jsonl (first:"
            f" {noted[0].id}: {noted[0].notes[0]})"
        )
    if blank := note_blank([prediction.hypothesis for prediction in predictions]):
        yield blank


def _texts(
    predictions: Sequence[Prediction], language: str
) -> tuple[list[str], list[tuple[str, ...]], list[str]]:
    """Hypotheses, the references of each, and their languages."""
    return (
        [one.hypothesis for one in predictions],
        [(one.reference, *one.references) for one in predictions],
        [one.language or language for one in predictions],
    )


def write_evaluation(
    output: Path,
    predictions: Sequence[Prediction],
    language: str,
    normalisation: str = DEFAULT_NORMALISATION,
    more: Mapping[str, Any] | None = None,
    *,
    known: Sequence[str] = (),
) -> Scores:
    """Score predictions and write `predictions.jsonl` and `metrics.json`.

    Killed on the way it leaves the old files, the new ones, or predictions without scores: never
    scores of other predictions.

    Args:
        output: folder to write to.
        predictions: of a split.
        language: of those that do not tell their own.
        normalisation: see `metrics.score`.
        more: what else to say in `metrics.json` of how they came about.
        known: all languages that the system writes, see `score_by_language`.

    Raises:
        InputError: no predictions, or an unknown language or normalisation.
    """
    if not predictions:
        raise InputError("predictions: found none, expected at least one")
    scores = score_by_language(*_texts(predictions, language), normalisation, known=known)
    rows = [
        json.dumps(prediction.to_dict(), ensure_ascii=False, allow_nan=False)
        for prediction in predictions
    ]
    record = {**scores.to_dict(), "language": language, **(more or {})}
    told = json.dumps(record, indent=2, allow_nan=False) + "\n"
    with whole_file(output / METRICS) as scored:
        scored.write_text(told, encoding="utf-8", newline="\n")
        with whole_file(output / PREDICTIONS) as translated:
            content = "".join(row + "\n" for row in rows)
            translated.write_text(content, encoding="utf-8", newline="\n")
            (output / METRICS).resolve().unlink(missing_ok=True)
    return scores
