"""Fits a model's confidence on dev: `unglossed calibrate`.

Dev's clips are translated as they are, and once more with each thing taken away that leaves nothing
to understand: `corruption` blanks, freezes, shuffles them or makes noise of them, and their
features are shuffled in time. Two small logistic regressions, by Newton's method, then tell clips
from such clips, and good sentences from others. Dev's own figures are out of fold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unglossed.config import check_count
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Corpus, Sample
from unglossed.errors import InputError, note
from unglossed.evaluation.corruption import OF_AUDIO, Corruption
from unglossed.evaluation.evaluate import load_for
from unglossed.evaluation.metrics import each_language
from unglossed.evaluation.reliability import Reliability, sentence_chrf
from unglossed.files import add_checksums, drop_checksums, write_text
from unglossed.hub import find_model
from unglossed.inference.confidence import (
    CONFIDENCE_FILE,
    EVIDENCE,
    Confidence,
    Logistic,
    Scale,
    mean_feature,
    oddness_of,
    with_squares,
)
from unglossed.inference.output import Translation
from unglossed.inference.reading import read_clip
from unglossed.inference.translator import SignTranslator, translate_features
from unglossed.media.augment import generator_for
from unglossed.media.signal import signal_of

REAL = "real"
SHUFFLED_FEATURES = "shuffled features"
_CORRUPTIONS = {"video": ("blank", "noise", "freeze", "shuffle"), "audio": OF_AUDIO}
LEAST_CLIPS = 20
FOLDS = 5
_STEPS = 50
_PENALTY = 1.0
_SEED = 0


@dataclass(frozen=True)
class Shown:
    """A clip as a model was shown it, and what came of it.

    Attributes:
        clip: Number of the clip of dev.
        kind: `REAL`, or what was taken away.
        evidence: See `Translation.evidence`.
        features: (time, dim) of the encoder.
        good: Whether the sentence is good.
    """

    clip: int
    kind: str
    evidence: Mapping[str, float]
    features: Tensor
    good: bool


def calibrate(
    model: str | Path,
    corpus: str,
    *,
    split: str = "dev",
    least_chrf: float = 50.0,
    coverage: float = 0.98,
    most_clips: int = 500,
    batch_size: int = 8,
    progress: bool = False,
    **decoding: Any,
) -> Confidence:
    """Calibrate a model's confidence, and write it into the model's folder.

    A model of several languages is asked for that of each clip's text.

    Args:
        model: a run folder or a model folder.
        corpus: a corpus spec, `kind:path`.
        split: of the corpus, which the model was not trained on.
        least_chrf: a sentence is good from this chrF with its reference on.
        coverage: share of the split's clips whose sentence is to be given, at least.
        most_clips: so many clips, drawn at random, are used at most.
        batch_size: clips that are translated at a time.
        progress: show a progress bar on stderr.
        decoding: fields of `DecodingSettings` that shall differ from the model's own.

    Raises:
        InputError: there are too few clips, all sentences are good or none is, the model is on the
            hub, texts are drawn, or see `evaluate`.
    """
    check_count("batch_size", batch_size)
    if not 0 < least_chrf <= 100:
        raise InputError(f"least_chrf: found {least_chrf}, expected above 0 and at most 100")
    if not 0.5 <= coverage <= 1:
        raise InputError(f"coverage: found {coverage}, expected 0.5 to 1")
    if most_clips < LEAST_CLIPS:
        raise InputError(f"most_clips: found {most_clips}, expected {LEAST_CLIPS} at least")
    folder = Path(find_model(model))
    if not folder.is_dir():
        raise InputError(f"{model}: is on the hub, expected a folder, into which its confidence is")
    read = read_corpus(corpus, only=split)
    translator = load_for(model, corpus, read, split, "float32")
    settings = translator.decoding.change(**decoding)
    if settings.sample:
        raise InputError("decoding.sample: found true, but drawn texts have no confidence")
    translator.beside = replace(translator.beside, confidence=None, collects=True)
    translator.beside.check(settings)
    samples = _drawn(read.split(split), most_clips)
    unread: list[str] = []
    clips = list(_encoded(translator, read, samples, unread))
    if unread:
        note(f"{len(unread):,} of {len(samples):,} clips are left out: {unread[0]}")
    if (found := len({number for number, *_ in clips})) < LEAST_CLIPS:
        raise InputError(f"{corpus}, {split}: found {found} clips, expected {LEAST_CLIPS} at least")

    def translate(language: str | None, rows: Sequence[int]) -> list[Translation]:
        return translate_features(
            translator.model,
            translator.processor,
            [clips[row][2] for row in rows],
            settings.change(to=language) if language else settings,
            batch_size=batch_size,
            progress=progress,
            beside=translator.beside,
        )

    languages = [samples[number].language for number, *_ in clips]
    texts = each_language(languages, translate, translator.processor.languages)
    shown = []
    for (number, kind, features), text in zip(clips, texts, strict=True):
        sample = samples[number]
        nearest = (sample.text, *sample.references)
        good = kind == REAL and (
            sentence_chrf(text.text, nearest, read.normalisation) >= least_chrf
        )
        assert text.evidence is not None
        shown.append(Shown(number, kind, text.evidence, features, good))
    try:
        made = fit(shown, least_chrf, coverage, settings.model_dump(mode="json"))
    except InputError as error:
        raise InputError(f"{corpus}, {split}: {error}") from None
    write_text(folder / CONFIDENCE_FILE, made.to_json())
    add_checksums(folder, [CONFIDENCE_FILE])
    return made


def undo_calibration(model: str | Path) -> Path:
    """Take the confidence away from a model's folder: it gives every sentence again.

    Killed on the way it leaves the model as it was, or without its confidence.

    Args:
        model: a run folder or a model folder.

    Returns:
        The file that was removed.

    Raises:
        InputError: the model has no confidence, or it cannot be removed.
    """
    path = Path(find_model(model), CONFIDENCE_FILE)
    if not path.is_file():
        raise InputError(f"{path}: not found, expected the confidence of a calibrated model")
    try:
        drop_checksums(path.parent, [CONFIDENCE_FILE])
        path.unlink()
    except OSError as error:
        raise InputError(f"{path}: cannot be removed: {error.strerror}") from error
    return path


def _drawn(samples: Sequence[Sample], most: int) -> list[Sample]:
    """So many of the samples at most, in their order."""
    rng = np.random.default_rng(_SEED)
    chosen = rng.permutation(len(samples))[:most]
    return [samples[index] for index in sorted(chosen)]


def _encoded(
    translator: SignTranslator, corpus: Corpus, samples: Sequence[Sample], unread: list[str]
) -> Iterator[tuple[int, str, Tensor]]:
    """Each clip's number, what was taken away from it, and its features, (time, dim)."""
    signal = signal_of(translator.processor)
    ways = [Corruption(name, signal, corpus, samples) for name in _CORRUPTIONS.get(signal.kind, ())]
    for number, sample in enumerate(samples):
        try:
            read = read_clip(translator.model, translator.processor, sample)
        except InputError as error:
            unread.append(str(error))
            continue
        features = translator.encode(read.content)
        yield number, REAL, features
        rng = generator_for(_SEED, 0, f"{SHUFFLED_FEATURES} {sample.id}")
        order = torch.from_numpy(rng.permutation(len(features)))
        yield number, SHUFFLED_FEATURES, features[order]
        for way in ways:
            yield number, way.name, translator.encode(way.change(sample, read.content))


def fit(
    shown: Sequence[Shown], least_chrf: float, coverage: float, decoding: dict[str, Any]
) -> Confidence:
    """Fit a confidence to clips as they are and corrupted; its threshold is chosen out of fold.

    Args:
        shown: of at least `FOLDS` clips.
        least_chrf: noted in the result.
        coverage: share of the clips, as they are, that the threshold keeps at least.
        decoding: noted in the result.

    Raises:
        InputError: all sentences are good, or none is.
    """
    real = np.array([one.kind == REAL for one in shown])
    good = np.array([one.good for one in shown])
    share = float(good[real].mean())
    if share in (0, 1):
        raise InputError(
            f"found {'all' if share else 'none'} of {real.sum():,} sentences with a chrF of"
            f" {least_chrf:g} or more, expected some with and some without: choose another"
            " --least-chrf, or train the model longer"
        )
    whole = {"least_chrf": least_chrf, "coverage": coverage, "decoding": decoding}
    clips = np.unique([one.clip for one in shown])
    folds = dict(zip(clips, np.random.default_rng(_SEED).permutation(len(clips)), strict=True))
    fold = np.array([folds[one.clip] % FOLDS for one in shown])
    confidences = np.zeros(len(shown))
    for number in range(FOLDS):
        others = [one for one, held in zip(shown, fold == number, strict=True) if not held]
        made = _fit(others, whole)
        for index in map(int, np.flatnonzero(fold == number)):
            one = shown[index]
            confidences[index] = made.of_clip(one.evidence, one.features)
    ranked = np.sort(confidences[real])
    threshold = float(ranked[int((1 - coverage) * len(ranked) + 1e-9)])
    seen = Reliability(confidences[real], good[real], threshold, least_chrf)
    kinds = sorted({one.kind for one in shown} - {REAL})
    below = confidences < threshold
    abstained = {
        kind: round(float(below[[one.kind == kind for one in shown]].mean()), 4) for kind in kinds
    }
    dev = {"clips": int(real.sum()), **seen.to_dict(), "abstained_corrupted": abstained}
    return _fit(shown, {**whole, "threshold": threshold, "dev": dev})


def _fit(shown: Sequence[Shown], fields: Mapping[str, Any]) -> Confidence:
    """Fit a confidence without looking at its threshold."""
    real = np.array([one.kind == REAL for one in shown])
    good = np.array([one.good for one in shown])
    means = np.array([mean_feature(one.features) for one in shown])
    centre = means[real].mean(0)
    spread = np.maximum(means[real].std(0), 1e-6)
    rows = [{**one.evidence, "oddness": oddness_of(one.features, centre, spread)} for one in shown]
    names = [name for name in EVIDENCE if name in rows[0]]
    values = np.array([[row[name] for name in names] for row in rows])
    scales = {
        name: Scale(mean=float(column.mean()), spread=float(max(column.std(), 1e-6)))
        for name, column in zip(names, values[real].T, strict=True)
    }
    unfitted = Logistic(bias=0.0, weights=(0.0,) * len(names))
    twice = Logistic(bias=0.0, weights=(0.0,) * (2 * len(names)))
    made = Confidence(
        **{"threshold": 0.0, **fields},
        scales=scales,
        centre=tuple(centre.tolist()),
        spread=tuple(spread.tolist()),
        seen=twice,
        good=unfitted,
    )
    inputs = np.array([made.inputs(row) for row in rows])
    weights = np.where(real, 0.5 / real.sum(), 0.5 / max((~real).sum(), 1)) * 2 * real.sum()
    seen = fit_logistic(with_squares(inputs), real, weights)
    right = fit_logistic(inputs[real], good[real], np.ones(real.sum()))
    return made.model_copy(update={"seen": seen, "good": right})


def fit_logistic(
    inputs: NDArray[np.float64], labels: NDArray[np.bool_], weights: NDArray[np.float64]
) -> Logistic:
    """Logistic regression by Newton's method, with half a squared unit of penalty on each weight.

    Args:
        inputs: (rows, kinds).
        labels: (rows,).
        weights: (rows,) how much each row counts.
    """
    rows = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)
    penalty = np.full(rows.shape[1], _PENALTY)
    penalty[-1] = 1e-6
    found = np.zeros(rows.shape[1])
    for _ in range(_STEPS):
        sure = 0.5 * (1 + np.tanh(rows @ found / 2))
        slope = rows.T @ (weights * (sure - labels)) + penalty * found
        curve = (rows * (weights * sure * (1 - sure))[:, None]).T @ rows + np.diag(penalty)
        step = np.linalg.solve(curve, slope)
        # Where the steps are long a part of each is taken: the curve is flat far from the answer.
        found = found - step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        if float(np.abs(step).max()) < 1e-9:
            break
    return Logistic(bias=float(found[-1]), weights=tuple(found[:-1].tolist()))
