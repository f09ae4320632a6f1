"""Whether two systems differ by more than chance: paired tests of all scores on the same swaps.

The systems translated the same sentences. It reads no files and makes no tables; what the scores
mean is the business of `metrics`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from unglossed.config import check_count
from unglossed.corpora.languages import has_spaces, tokenisation
from unglossed.errors import InputError
from unglossed.evaluation.metrics import (
    DEFAULT_NORMALISATION,
    ROUGE_BETA,
    Reference,
    blank_lines,
    edit_distance,
    have_words,
    normalise,
    read_references,
    read_texts,
    rouge_l,
)

Array = NDArray[np.float64]

TRIALS = 10_000
SEED = 12345
"""sacreBLEU's default, so that the swaps are the same as those of its own command."""

LOWER_IS_BETTER = frozenset({"WER"})
"""Metrics that count faults."""

_TIE = 1e-9
_CONFIDENCE = 95
_ORDERS = 4
_CHRF_ORDERS, _CHRF_BETA = CHRF.CHAR_ORDER, CHRF.BETA
_MOST_CELLS = 2**21
_ROWS = 32
"""Swaps are drawn by blocks of this many trials, or a multiple: then blocks change no draw."""


@dataclass(frozen=True)
class Difference:
    """How a system differs from a baseline in one metric.

    Attributes:
        metric: Its name, such as `BLEU-4`.
        signature: How it and the test were computed, in sacreBLEU's form.
        baseline: The baseline's score.
        system: The system's score.
        difference: `system - baseline`.
        low: Lower end of the difference's 95 % confidence interval (percentiles of the paired
            bootstrap).
        high: Its upper end.
        p: How probable a difference at least as large is, up or down, where the systems could
            change places.
    """

    metric: str
    signature: str
    baseline: float
    system: float
    difference: float
    low: float
    high: float
    p: float

    @property
    def is_better(self) -> bool:
        """Whether the system's score is better than the baseline's, be it by chance."""
        return self.difference < 0 if self.metric in LOWER_IS_BETTER else self.difference > 0


@dataclass(frozen=True)
class Measure:
    """Metrics that are functions of the same numbers, summed over the sentences.

    Attributes:
        signature: How they are computed, in sacreBLEU's form.
        statistics: Of hypotheses: (sentences, numbers), one row a sentence.
        scores: By the name of a metric the score of each row of sums: (rows, numbers) -> (rows,).
    """

    signature: str
    statistics: Callable[[Sequence[str]], Array]
    scores: Mapping[str, Callable[[Array], Array]]


def paired_differences(
    baseline: Sequence[str],
    system: Sequence[str],
    references: Sequence[Reference],
    language: str,
    trials: int = TRIALS,
    seed: int = SEED,
    *,
    normalisation: str = DEFAULT_NORMALISATION,
    more: Sequence[Measure] = (),
) -> dict[str, Difference]:
    """Compare two systems on the same sentences, in every metric.

    Paired approximate randomisation (Riezler and Maxwell, "On some pitfalls in automatic evaluation
    and significance testing for MT", 2005): in each trial every sentence's two outputs change
    places with probability 1/2. p = (c + 1) / (trials + 1), where c counts the trials that
    differ at least as much as the systems do. Trials that differ as much count, so that equal
    outputs have p = 1 (sacreBLEU 2.6 counts only those that differ more). The swaps are drawn once,
    for all metrics, and as sacreBLEU draws them.

    The interval is that of the paired bootstrap (Koehn, "Statistical significance tests for machine
    translation evaluation", 2004), with as many resamples, drawn once as well.

    Args:
        baseline: the sentences of the system that is compared with.
        system: those of the other one, in the same order.
        references: see `metrics.score`.
        language: see `metrics.score`.
        trials: swaps, and resamples, that are drawn.
        seed: of both.
        normalisation: see `metrics.score`.
        more: measures beside BLEU-1 to BLEU-4, chrF, ROUGE-L and, where a sentence has one
            reference and words are spaced, the word error rate.

    Returns:
        By the name of a metric. BLEU-n is not there where it is not defined, see `metrics.Scores`.

    Raises:
        InputError: the lists differ in length, or see `metrics.score`.
    """
    check_count("trials", trials)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed: found {seed!r}, expected a whole number from 0")
    first = normalise(read_texts(baseline, "baseline"), normalisation)
    second = normalise(read_texts(system, "system"), normalisation)
    wanted = [normalise(texts, normalisation) for texts in read_references(references)]
    if not len(first) == len(second) == len(wanted) > 0:
        raise InputError(
            f"baseline, system and references: found {len(first)}, {len(second)} and {len(wanted)}"
            " sentences, expected as many in each, and at least one"
        )
    if blank := [number for number, texts in enumerate(wanted, start=1) if blank_lines(texts)]:
        raise InputError(f"references: found no text in sentence {blank[0]}, expected one in each")
    measures = [*_measures(wanted, language), *more]
    pairs = [(one.statistics(first), one.statistics(second)) for one in measures]
    spans = np.cumsum([0, *(own.shape[1] for own, _ in pairs)])
    ours = np.hstack([own for own, _ in pairs])
    theirs = np.hstack([other for _, other in pairs])
    how = f"normalisation:{normalisation}|ar:{trials}|bs:{trials}|seed:{seed}|ties:counted"

    names = [(number, name) for number, one in enumerate(measures) for name in one.scores]

    def scores(sums: Array) -> Array:
        """(rows, numbers) -> (rows, metrics)."""
        return np.stack(
            [
                measures[number].scores[name](sums[:, spans[number] : spans[number + 1]])
                for number, name in names
            ],
            axis=1,
        )

    whole = scores(np.stack([ours.sum(axis=0), theirs.sum(axis=0)]))
    real = whole[1] - whole[0]
    counts = _count_as_large(ours, theirs, np.abs(real), scores, trials, seed)
    resampled = [
        scores(weights @ theirs) - scores(weights @ ours)
        for weights in _resamples(len(first), trials, seed)
    ]
    tail = (100 - _CONFIDENCE) / 2
    low, high = np.percentile(np.concatenate(resampled), [tail, 100 - tail], axis=0)
    return {
        name: Difference(
            metric=name,
            signature=f"{measures[number].signature}|{how}",
            baseline=float(whole[0, column]),
            system=float(whole[1, column]),
            difference=float(real[column]),
            low=float(low[column]),
            high=float(high[column]),
            p=float((counts[column] + 1) / (trials + 1)),
        )
        for column, (number, name) in enumerate(names)
    }


def format_p(value: float) -> str:
    """A p value as tables show it, to three places."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _count_as_large(
    ours: Array,
    theirs: Array,
    real: Array,
    scores: Callable[[Array], Array],
    trials: int,
    seed: int,
) -> NDArray[np.int64]:
    """For each metric the trials that differ at least as much as the systems do."""
    change = ours - theirs
    sum_ours, sum_theirs = ours.sum(axis=0), theirs.sum(axis=0)
    counts = np.zeros(len(real), dtype=np.int64)
    for swaps in _swaps(len(ours), trials, seed):
        moved = swaps @ change
        differs = np.abs(scores(sum_theirs + moved) - scores(sum_ours - moved))
        counts += (differs >= real - _TIE).sum(axis=0)
    return counts


def _blocks(size: int, trials: int) -> Iterator[int]:
    """How many trials to hold at a time, so that memory does not grow with their number."""
    rows = max(1, _MOST_CELLS // (size * _ROWS)) * _ROWS
    for start in range(0, trials, rows):
        yield min(rows, trials - start)


def _swaps(size: int, trials: int, seed: int) -> Iterator[Array]:
    """Blocks of (trials, sentences): 1 where the two outputs keep their places, else 0."""
    rng = np.random.default_rng(seed)
    for rows in _blocks(size, trials):
        yield rng.integers(2, size=(rows, size), dtype=bool).astype(np.float64)


def _resamples(size: int, trials: int, seed: int) -> Iterator[Array]:
    """Blocks of (trials, sentences): how often each sentence is in the resample."""
    rng = np.random.default_rng([seed, 1])
    for rows in _blocks(size, trials):
        drawn = rng.integers(size, size=(rows, size)) + size * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * size)
        yield counts.reshape(rows, size).astype(np.float64)


def _measures(references: Sequence[Sequence[str]], language: str) -> Iterator[Measure]:
    """Those of `metrics.score`, and the word error rate where it is defined."""
    streams = list(zip_longest(*references))
    bleu = BLEU(tokenize=tokenisation(language), force=True, references=streams)
    chrf = CHRF(references=streams)
    orders = [n for n in range(1, _ORDERS + 1) if have_words(references, n, bleu.tokenizer)]

    def of(metric: BLEU | CHRF) -> Callable[[Sequence[str]], Array]:
        return lambda texts: np.array(
            metric._extract_corpus_statistics(texts, None), dtype=np.float64
        )

    yield Measure(
        str(bleu.get_signature()),
        of(bleu),
        {f"BLEU-{n}": lambda sums, n=n: _bleu(sums, n) for n in orders},  # type: ignore[misc]
    )
    yield Measure(str(chrf.get_signature()), of(chrf), {"chrF": _chrf})

    def rouge(texts: Sequence[str]) -> Array:
        return np.array(
            [
                [max(rouge_l(text, other, language) for other in others), 1.0]
                for text, others in zip(texts, references, strict=True)
            ]
        )

    count = {len(texts) for texts in references}
    told = f"nrefs:{count.pop() if len(count) == 1 else 'var'}"
    yield Measure(f"{told}|beta:{ROUGE_BETA}|mean:sentences", rouge, {"ROUGE-L": _ratio})
    if len(streams) > 1 or not has_spaces(language):
        return

    def edits(texts: Sequence[str]) -> Array:
        pairs = [
            (text.split(), own[0].split()) for text, own in zip(texts, references, strict=True)
        ]
        return np.array([[100.0 * edit_distance(*pair), len(pair[1])] for pair in pairs])

    yield Measure(f"{told}|words:spaces", edits, {"WER": _ratio})


def _ratio(sums: Array) -> Array:
    return sums[:, 0] / sums[:, 1]


def _bleu(sums: Array, order: int) -> Array:
    """BLEU of each row, smoothed as sacreBLEU does by default.

    Args:
        sums: (rows, 10): words of hypotheses and references, n-grams found, n-grams in all.
        order: longest n-gram that counts.
    """
    length, wanted = sums[:, 0], sums[:, 1]
    found, total = sums[:, 2 : 2 + order], sums[:, 2 + _ORDERS : 2 + _ORDERS + order]
    missing = found == 0
    halvings = np.where(missing, np.cumsum(missing, axis=1), 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(missing, 0.5**halvings, found) / total
        brevity = np.exp(np.minimum(0.0, 1 - wanted / length))
        value = 100 * brevity * np.exp(np.log(precision).mean(axis=1))
    return np.where(found.any(axis=1) & (total > 0).all(axis=1), value, 0.0)


def _chrf(sums: Array) -> Array:
    """chrF of each row of `sums`.

    Args:
        sums: (rows, 18): of each order the n-grams in hypotheses, in references and in both.
    """
    found, wanted, both = np.moveaxis(sums.reshape(len(sums), _CHRF_ORDERS, 3), 2, 0)
    counts = (found > 0) & (wanted > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(counts, both / found, 0.0).sum(axis=1)
        recall = np.where(counts, both / wanted, 0.0).sum(axis=1)
        orders = np.maximum(counts.sum(axis=1), 1)
        precision, recall = precision / orders, recall / orders
        weight = _CHRF_BETA**2
        value = 100 * (1 + weight) * precision * recall / (weight * precision + recall)
    return np.where(precision + recall > 0, value, 0.0)
